#include "client/edge/connection.h"

#include <grpcpp/create_channel.h>

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "client/edge/explain.h"
#include "core/transport/chunk.h"

namespace muster::edge {
namespace {

using Clock = Connection::Clock;
using Seconds = std::chrono::duration<double>;

constexpr uint32_t kProtocol = 1;
constexpr double kJoinSeconds = 20;   // for the connection and the coordinator's welcome
constexpr double kSilentPeriods = 3;  // of heartbeats
constexpr std::chrono::seconds kGoodbyePatience{2};

int64_t NowMs() {
  using std::chrono::milliseconds;
  return std::chrono::duration_cast<milliseconds>(std::chrono::system_clock::now().time_since_epoch())
      .count();
}

Clock::time_point After(double seconds) {
  return Clock::now() + std::chrono::duration_cast<Clock::duration>(Seconds(seconds));
}

// What tells this client's jitter from its neighbours'.
std::string JitterKey(const EdgeOptions& options) {
  return absl::StrCat(options.tls ? options.tls->identity.common_name : options.identity, "/",
                      options.client.value_or(-1), "/", options.token, "/", options.state_dir);
}

}  // namespace

Connection::Connection(const EdgeOptions& options, std::function<v1::Join()> join,
                       std::function<void(StreamEvent)> post)
    : options_(options),
      join_(std::move(join)),
      post_(std::move(post)),
      last_joined_(Clock::now()),
      backoff_(JitterKey(options), options.first_backoff_seconds, options.most_backoff_seconds) {}

Clock::time_point Connection::next_timer() const {
  if (session_ == nullptr) return connect_at_;
  return joined_ ? std::min(heartbeat_at_, silent_at_) : silent_at_;
}

void Connection::Tick() {
  const auto now = Clock::now();
  if (outcome_) return;
  if (session_ == nullptr) {
    if (now >= connect_at_) Connect();
    return;
  }
  if (now >= silent_at_) {
    silent_ = true;
    silent_at_ = After(kJoinSeconds);
    session_->Cancel();
  }
  if (joined_ && now >= heartbeat_at_) {
    v1::ClientMessage message;
    message.mutable_heartbeat()->set_clock_ms(NowMs());
    session_->Send(message);
    heartbeat_at_ = After(heartbeat_seconds_);
  }
}

void Connection::Connect() {
  const auto credentials = options_.tls ? MakeChannelCredentials(*options_.tls, options_.token)
                                        : grpc::InsecureChannelCredentials();
  grpc::ChannelArguments arguments;
  // Subchannels of its own: a new try does not wait out what the last one left of gRPC's own back-off.
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  transfers_ = grpc::CreateCustomChannel(options_.coordinator, credentials, arguments);

  v1::ClientMessage first;
  v1::Join& join = *first.mutable_join();
  join = join_();
  join.set_protocol(kProtocol);
  join.set_client_version(options_.version);
  join.set_federation(options_.federation);
  if (options_.client) join.set_client(*options_.client);
  if (!options_.tls) join.set_identity(options_.identity);
  join.set_clock_ms(asked_ms_ = NowMs());
  join.set_max_inline_bytes(kMaxInlineBytes);

  silent_ = false;
  silent_at_ = After(kJoinSeconds);
  goodbye_.reset();
  const int64_t id = ++session_id_;
  session_ = std::make_unique<Session>(
      grpc::CreateCustomChannel(options_.coordinator, credentials, arguments), first,
      [this, id](v1::ServerMessage message) {
        post_({id, std::move(message)});
      },
      [this, id](const grpc::Status& status) {
        post_({id, status});
      });
}

std::optional<v1::ServerMessage> Connection::Hear(StreamEvent event) {
  if (event.session != session_id_ || session_ == nullptr) return std::nullopt;
  if (const auto* status = std::get_if<grpc::Status>(&event.what)) {
    Ended(*status);
    return std::nullopt;
  }
  auto& message = std::get<v1::ServerMessage>(event.what);
  silent_at_ = After(kSilentPeriods * heartbeat_seconds_);
  switch (message.message_case()) {
    case v1::ServerMessage::kWelcome:
      if (joined_) return std::nullopt;
      Welcomed(message.welcome());
      return std::move(message);
    case v1::ServerMessage::kHeartbeat:
      Warn(link_.Heartbeat(NowMs(), message.heartbeat().clock_ms()));
      return std::nullopt;
    case v1::ServerMessage::kGoodbye:
      goodbye_ = message.goodbye();
      session_->Cancel();
      return std::nullopt;
    default:
      if (!joined_) return std::nullopt;  // nothing comes before Welcome
      return std::move(message);
  }
}

void Connection::Welcomed(const v1::Welcome& welcome) {
  joined_ = true;
  backoff_.Reset();
  told_.clear();
  unreachable_.reset();
  heartbeat_seconds_ = std::clamp(welcome.heartbeat_seconds(), 0.05, 3600.0);
  heartbeat_at_ = Clock::now();
  silent_at_ = After(kSilentPeriods * heartbeat_seconds_);
  Tell(Joined{welcome.federation(), welcome.name(), welcome.client()});
  Warn(link_.Welcomed(asked_ms_, NowMs(), welcome.clock_ms()));
}

void Connection::Ended(const grpc::Status& status) {
  session_.reset();
  const bool was_joined = std::exchange(joined_, false);
  if (goodbye_ && !goodbye_->come_back()) {
    const std::string& reason = goodbye_->reason();
    const std::string words =
        absl::StrCat("coordinator ", options_.coordinator, ": ended this client's session: ", reason);
    outcome_ = reason == "finished" ? absl::OkStatus()
               : reason == "failed" ? absl::UnavailableError(words + "; its own output says why")
                                    : InvalidInput(words);
    return;
  }
  if (IsPermanent(status)) {
    outcome_ = Explain(status, options_.coordinator);
    return;
  }
  if (was_joined) {
    last_joined_ = Clock::now();
    Warn(link_.Lost(NowMs()));
  }
  const auto [why, permanent] = WhyLost(status, was_joined);
  if (permanent) {
    outcome_ = InvalidInput(why);
    return;
  }
  const double delay = backoff_.NextSeconds();
  connect_at_ = After(delay);
  if (options_.patience_seconds > 0 && Clock::now() - last_joined_ > Seconds(options_.patience_seconds)) {
    outcome_ = absl::UnavailableError(
        absl::StrCat(why, "; gave up after ", absl::StrFormat("%.0f s", options_.patience_seconds)));
    return;
  }
  if (why != told_) Tell(Disconnected{why, delay});
  told_ = why;
}

ConnectFailure Connection::WhyLost(const grpc::Status& status, bool was_joined) {
  const std::string who = absl::StrCat("coordinator ", options_.coordinator, ": ");
  if (goodbye_) return {absl::StrCat(who, goodbye_->reason())};
  if (silent_ && was_joined) return {absl::StrCat(who, "is silent; the link or the coordinator is gone")};
  if (silent_) return {absl::StrCat(who, "does not answer; check the address and the network")};
  if (!was_joined && status.error_code() == grpc::StatusCode::UNAVAILABLE) {
    // Dialling once more to find out takes time and shows in the coordinator's log: once, not at every try.
    if (!unreachable_ || unreachable_words_ != status.error_message()) {
      unreachable_ = ExplainConnectFailure(options_.coordinator, options_.tls ? &*options_.tls : nullptr);
      unreachable_words_ = status.error_message();
    }
    if (!unreachable_->why.empty())
      return {absl::StrCat("coordinator ", unreachable_->why), unreachable_->permanent};
  }
  return {Message(Explain(status, options_.coordinator))};
}

void Connection::Send(const v1::ClientMessage& message) {
  if (joined_) session_->Send(message);
}

void Connection::Leave() {
  if (!joined_) return;
  v1::ClientMessage message;
  message.mutable_leave()->set_reason("stopped");
  session_->Send(message);
  session_->Close(kGoodbyePatience);
}

void Connection::Tell(const EdgeEvent& event) const {
  if (options_.on_event) options_.on_event(event);
}
void Connection::Warn(const std::optional<std::string>& text) const {
  if (text) Tell(Warning{*text});
}

}  // namespace muster::edge
