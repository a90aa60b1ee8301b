// The service's side of the pool: clients that come, talk and go, and what they transfer.
#include <algorithm>
#include <chrono>
#include <cmath>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/transport/chunk.h"
#include "server/service/remote_client_pool.h"

namespace muster {
namespace {

constexpr uint32_t kProtocol = 1;
constexpr size_t kMaxIdentityBytes = 200;
constexpr size_t kMaxWordsBytes = 1000;  // of a client, for people
constexpr int kMaxClasses = 100'000;
constexpr double kOddClockSeconds = 60;
constexpr double kAccessSeconds = 60;  // between two looks at certificates that may have expired meanwhile

int64_t WallClockMs() {
  return std::chrono::duration_cast<std::chrono::milliseconds>(
             std::chrono::system_clock::now().time_since_epoch())
      .count();
}

// A client's own words, as far as one line holds them.
std::string Words(const std::string& text) {
  std::string words = text.substr(0, kMaxWordsBytes);
  for (char& c : words) {
    if (static_cast<unsigned char>(c) < ' ') c = ' ';
  }
  return words;
}

bool IsPrintable(const std::string& identity) {
  return !identity.empty() && identity.size() <= kMaxIdentityBytes &&
         std::none_of(identity.begin(), identity.end(), [](unsigned char c) { return c < ' ' || c == 0x7F; });
}

absl::Status CheckProtocol(const v1::Join& join, const PoolOptions& options, const Layout& layout) {
  if (join.protocol() != kProtocol) {
    return absl::FailedPreconditionError(absl::StrCat("this coordinator speaks protocol ", kProtocol,
                                                      ", the client ", join.protocol(),
                                                      "; use clients of its version"));
  }
  if (!join.federation().empty() && join.federation() != options.federation) {
    return absl::FailedPreconditionError(absl::StrCat("this coordinator runs federation ", options.federation,
                                                      ", the client means ", Words(join.federation())));
  }
  if (join.layout_fingerprint() != 0 && join.layout_fingerprint() != layout.fingerprint) {
    return absl::FailedPreconditionError(
        "the client's model has another layout than this federation's; configure the same model on both "
        "sides");
  }
  if (join.num_samples() < 1) return InvalidInput("num_samples: a client needs at least one training sample");
  if (join.label_histogram_size() > kMaxClasses) return InvalidInput("label_histogram: too many classes");
  for (const int64_t count : join.label_histogram()) {
    if (count < 0) return InvalidInput("label_histogram: a negative count");
  }
  return absl::OkStatus();
}

}  // namespace

// -------------------------------------------------------------------------------------------------------
// sessions

void RemoteClientPool::Opened(const std::shared_ptr<ClientLink>& link) {
  const MutexLock lock(&mutex_);
  strangers_[link] = options_.now();
}

void RemoteClientPool::Received(const std::shared_ptr<ClientLink>& link, const v1::ClientMessage& message) {
  std::shared_ptr<IncomingUpdate> update;
  {
    const MutexLock lock(&mutex_);
    update = Handle(link, message);
  }
  if (update == nullptr) return;
  const v1::UploadHeader& header = message.submit().header();
  absl::Status status =
      update->Put(header, message.submit().data());  // hashes and writes: not under the lock
  if (status.ok()) status = Uploaded(header, update);
  if (status.ok()) return;
  const MutexLock lock(&mutex_);
  if (RoundInFlight* mine = RoundOf(header.client(), header.round()); mine != nullptr) {
    mine->Fail(header.client(), "upload", status, options_.now());
    changed_.NotifyAll();
  }
}

std::shared_ptr<IncomingUpdate> RemoteClientPool::Handle(const std::shared_ptr<ClientLink>& link,
                                                         const v1::ClientMessage& message) {
  Participant* participant = roster_.Find(link.get());
  if (participant == nullptr) {
    if (!strangers_.contains(link)) return nullptr;  // it was closed, and does not know yet
    if (message.has_join()) {
      Join(link, message.join());
    } else {
      link->Close(InvalidInput("a session begins with Join"));
      strangers_.erase(link);
    }
    return nullptr;
  }
  participant->heard_at = options_.now();
  const ClientId client = participant->number;
  switch (message.message_case()) {
    case v1::ClientMessage::kHeartbeat:
      heartbeats_.fetch_add(1, std::memory_order_relaxed);
      break;
    case v1::ClientMessage::kProgress:
      break;
    case v1::ClientMessage::kAccept: {
      const int64_t round = message.accept().round();
      if (RoundInFlight* mine = RoundOf(client, round); mine != nullptr) {
        mine->Accept(client);
        break;
      }
      v1::ServerMessage over;
      over.mutable_cancel()->set_round(round);
      over.mutable_cancel()->set_reason("the round is over, or goes on without this client");
      Send(*participant, std::move(over));
      break;
    }
    case v1::ClientMessage::kDecline:
      if (RoundInFlight* mine = RoundOf(client, message.decline().round()); mine != nullptr) {
        mine->Fail(client, "offer",
                   absl::UnavailableError(absl::StrCat("declined: ", Words(message.decline().reason()))),
                   options_.now());
        changed_.NotifyAll();
      }
      break;
    case v1::ClientMessage::kReady:
      HandleReady(*participant, message.ready());
      break;
    case v1::ClientMessage::kSubmit:
      return HandleSubmit(*participant, message.submit());
    case v1::ClientMessage::kFailed:
      if (RoundInFlight* mine = RoundOf(client, message.failed().round()); mine != nullptr) {
        const v1::Failed& failed = message.failed();
        mine->Fail(client, IsPrintable(failed.stage()) ? failed.stage() : "train",
                   absl::Status(CodeNamed(failed.code()), Words(failed.message())), options_.now());
        changed_.NotifyAll();
      }
      break;
    case v1::ClientMessage::kLeave:
      Leave(*participant, Words(message.leave().reason()));
      break;
    case v1::ClientMessage::kJoin:
      link->Close(InvalidInput("the client has joined already"));
      Part(*participant);
      break;
    case v1::ClientMessage::MESSAGE_NOT_SET:
      link->Close(InvalidInput("a message without content, or of a later version of the protocol"));
      Part(*participant);
      break;
  }
  return nullptr;
}

void RemoteClientPool::Closed(const std::shared_ptr<ClientLink>& link, bool heard_all) {
  const MutexLock lock(&mutex_);
  strangers_.erase(link);
  Participant* participant = roster_.Find(link.get());
  if (participant == nullptr) return;
  if (goodbye_ && heard_all) participant->dismissed = true;
  Part(*participant);
}

absl::StatusOr<Participant*> RemoteClientPool::CheckJoin(const Peer& peer, const v1::Join& join) {
  MUSTER_RETURN_IF_ERROR(CheckProtocol(join, options_, layout_));
  std::string identity = peer.identity.common_name;
  if (peer.identity.organizational_unit == kOperatorUnit) {
    return absl::PermissionDeniedError(
        "an operator's certificate steers the coordinator; a client needs its own");
  }
  if (identity.empty()) {
    identity = join.identity();
    if (identity.empty() && join.has_client()) identity = absl::StrCat("client-", join.client());
    if (!IsPrintable(identity)) {
      return InvalidInput(absl::StrCat("identity: over plain text a client names itself, in 1 to ",
                                       kMaxIdentityBytes, " printable characters"));
    }
  } else if (!join.identity().empty() && join.identity() != identity) {
    return absl::PermissionDeniedError(absl::StrCat(
        "the certificate is '", identity, "', the client calls itself '", Words(join.identity()), "'"));
  }
  return roster_.Bind(identity, join.has_client() ? std::optional<ClientId>(join.client()) : std::nullopt);
}

void RemoteClientPool::Join(const std::shared_ptr<ClientLink>& link, const v1::Join& join) {
  const absl::StatusOr<Participant*> checked = CheckJoin(link->peer(), join);
  if (!checked.ok()) {
    Log({.severity = Severity::kWarning,
         .name = "client_refused",
         .message = absl::StrCat("a client at ", link->peer().address,
                                 " was refused: ", Message(checked.status()))});
    link->Close(checked.status());
    strangers_.erase(link);
    return;
  }
  Participant& participant = **checked;
  if (participant.link != nullptr) {
    // A link that died without a word is silent for longer than a heartbeat; its client must not be locked
    // out by it.
    if (options_.now() - participant.heard_at < 1.5 * options_.heartbeat_seconds) {
      link->Close(absl::AlreadyExistsError(absl::StrCat(
          "'", participant.identity, "' has a live session; end that one, or try again when it is silent")));
      strangers_.erase(link);
      return;
    }
    v1::ServerMessage message;
    message.mutable_goodbye()->set_reason("replaced by a newer session");
    participant.link->Send(std::move(message));
    participant.link->Close(absl::OkStatus());
    Part(participant);
  }
  std::vector<int64_t> labels(join.label_histogram().begin(), join.label_histogram().end());
  const bool known = participant.entry && !participant.left &&
                     participant.num_samples == join.num_samples() &&
                     (participant.labels ? *participant.labels : std::vector<int64_t>()) == labels;
  participant.num_samples = join.num_samples();
  participant.labels =
      labels.empty() ? nullptr : std::make_shared<const std::vector<int64_t>>(std::move(labels));
  participant.client_version = Words(join.client_version());
  participant.max_inline_bytes = join.max_inline_bytes();
  if (join.clock_ms() != 0) {
    const double off = static_cast<double>(join.clock_ms() - WallClockMs()) / 1000;
    if (std::fabs(off) > kOddClockSeconds) {
      Log({.severity = Severity::kWarning,
           .name = "client_clock_is_off",
           .message = absl::StrCat("its clock is ", off, " s off this coordinator's"),
           .client = participant.number});
    }
  }
  if (known) return Admit(participant, link);
  participant.left = false;
  joining_.push_back({link, participant.number});
  changed_.NotifyAll();
}

void RemoteClientPool::Admit(Participant& participant, const std::shared_ptr<ClientLink>& link) {
  strangers_.erase(link);
  if (participant.link != nullptr) {  // two came while the number was being journalled
    if (participant.link != link)
      link->Close(absl::AlreadyExistsError("another session of this identity came first"));
    return;
  }
  const double now = options_.now();
  v1::ServerMessage message;
  v1::Welcome& welcome = *message.mutable_welcome();
  welcome.set_federation(options_.federation);
  welcome.set_name(options_.name);
  welcome.set_client(participant.number);
  welcome.set_heartbeat_seconds(options_.heartbeat_seconds);
  welcome.set_max_chunk_bytes(kMaxChunkBytes);
  welcome.set_clock_ms(WallClockMs());
  welcome.set_max_inline_bytes(kMaxInlineBytes);
  link->Send(std::move(message));
  Log({.name = "client_joined",
       .message = absl::StrCat("joined as ", participant.identity),
       .client = participant.number,
       .in_progress_line = true});
  if (goodbye_) {
    v1::ServerMessage goodbye;
    *goodbye.mutable_goodbye() = *goodbye_;
    link->Send(std::move(goodbye));
  }
  roster_.Connect(participant, link, now);
  if (round_ && round_->Has(participant.number)) {
    round_->Arrive(participant.number, link, participant.max_inline_bytes, now);
  }
  changed_.NotifyAll();
}

void RemoteClientPool::Part(Participant& participant) {
  const double now = options_.now();
  roster_.Disconnect(participant, now);
  Log({.name = "client_disconnected",
       .message = "its session ended",
       .client = participant.number,
       .in_progress_line = true});
  if (round_ && round_->Has(participant.number)) round_->Vanish(participant.number, now);
  changed_.NotifyAll();
}

void RemoteClientPool::Leave(Participant& participant, const std::string& reason) {
  const std::shared_ptr<ClientLink> link = participant.link;
  participant.left = true;
  changed_facts_.push_back(participant.number);
  if (round_ && round_->Has(participant.number)) {
    round_->Fail(participant.number, "gone", absl::CancelledError(absl::StrCat("left: ", reason)),
                 options_.now());
  }
  Part(participant);
  link->Close(absl::OkStatus());
}

RoundInFlight* RemoteClientPool::RoundOf(ClientId client, int64_t round) {
  return round_ && round_->round() == round && round_->Has(client) ? &*round_ : nullptr;
}

void RemoteClientPool::HandleReady(Participant& participant, const v1::Ready& ready) {
  const ClientId client = participant.number;
  if (RoundInFlight* mine = RoundOf(client, ready.round()); mine != nullptr) {
    mine->Ready(client, ready, options_.now());
    changed_.NotifyAll();
    return;
  }
  TellFate(participant, ready.round());
}

std::shared_ptr<IncomingUpdate> RemoteClientPool::HandleSubmit(Participant& participant,
                                                               const v1::Submit& submit) {
  const v1::UploadHeader& header = submit.header();
  const ClientId client = participant.number;
  RoundInFlight* mine = RoundOf(client, header.round());
  if (mine == nullptr) {
    TellFate(participant, header.round());
    return nullptr;
  }
  const auto place = [&]() -> absl::StatusOr<std::shared_ptr<IncomingUpdate>> {
    if (header.federation() != options_.federation || header.client() != client) {
      return absl::PermissionDeniedError(
          absl::StrCat("client ", client, " submits an update of another client or federation"));
    }
    if (submit.data().size() > kMaxInlineBytes) {
      return InvalidInput(absl::StrCat("an update of ", submit.data().size(),
                                       " bytes within the session; above ", kMaxInlineBytes,
                                       " it has to be uploaded"));
    }
    return mine->Submit(header, static_cast<int64_t>(submit.data().size()), *spool_, options_.now());
  };
  absl::StatusOr<std::shared_ptr<IncomingUpdate>> update = place();
  if (update.ok()) return *std::move(update);
  mine->Fail(client, "upload", update.status(), options_.now());
  changed_.NotifyAll();
  return nullptr;
}

void RemoteClientPool::TellFate(Participant& participant, int64_t round) {
  v1::ServerMessage message;
  *message.mutable_settled() = Refused(
      round,
      absl::NotFoundError(absl::StrCat("round ", round, " is over, or this client has no task in it")));
  if (const auto over = settled_.find(round); over != settled_.end()) {
    const auto settled = over->second.find(participant.number);
    if (settled != over->second.end()) *message.mutable_settled() = settled->second;
  }
  Send(participant, std::move(message));
}

void RemoteClientPool::Send(Participant& participant, v1::ServerMessage message) {
  participant.told_at = options_.now();
  participant.link->Send(std::move(message));
}

bool RemoteClientPool::AccessIsDue(double now) {
  if (options_.access == nullptr) return false;
  const int64_t version = options_.access->Version();
  if (version == access_version_ && now - access_checked_ < kAccessSeconds) return false;
  access_version_ = version;
  access_checked_ = now;
  return true;
}

void RemoteClientPool::Tick() {
  const MutexLock lock(&mutex_);
  const double now = options_.now();
  const double silence = 3 * options_.heartbeat_seconds;
  const bool access_due = AccessIsDue(now);
  for (auto& [number, participant] : roster_.participants()) {
    if (participant.link == nullptr) continue;
    absl::Status end;
    if (now - participant.heard_at >= silence) {
      end = absl::UnavailableError(absl::StrCat("nothing was heard of the client for ", silence, " s"));
    } else if (access_due) {
      end = options_.access->Authorize(participant.link->peer().identity);
    }
    if (!end.ok()) {
      if (absl::IsPermissionDenied(end)) {
        v1::ServerMessage message;
        message.mutable_goodbye()->set_reason("revoked");
        participant.link->Send(std::move(message));
      }
      participant.link->Close(end, /*at_once=*/absl::IsUnavailable(end));
      Log({.severity = Severity::kWarning,
           .name = "client_cut_off",
           .message = absl::StrCat("is cut off: ", Message(end)),
           .client = number});
      Part(participant);
    } else if (now - participant.told_at >= options_.heartbeat_seconds) {
      v1::ServerMessage message;
      message.mutable_heartbeat()->set_clock_ms(WallClockMs());
      Send(participant, std::move(message));
    }
  }
  for (auto stranger = strangers_.begin(); stranger != strangers_.end();) {
    if (now - stranger->second < silence) {
      ++stranger;
      continue;
    }
    stranger->first->Close(absl::UnavailableError("no Join came in time"), /*at_once=*/true);
    stranger = strangers_.erase(stranger);
  }
  changed_.NotifyAll();
}

// ------------------------------------------------------------------------------------------------------
// transfers

absl::Status RemoteClientPool::CheckCaller(const Peer& peer, const std::string& federation, ClientId client) {
  if (federation != options_.federation) {
    return absl::FailedPreconditionError(
        absl::StrCat("this coordinator runs federation ", options_.federation, ", not ", Words(federation)));
  }
  const Participant* participant = roster_.Find(client);
  if (participant == nullptr) return absl::PermissionDeniedError(absl::StrCat("there is no client ", client));
  const std::string& name = peer.identity.common_name;
  if (!name.empty() && name != participant->identity) {
    return absl::PermissionDeniedError(absl::StrCat("'", name, "' is not client ", client));
  }
  if (participant->link == nullptr) return absl::UnavailableError("the client has no session; join first");
  return absl::OkStatus();
}

absl::StatusOr<std::shared_ptr<const Blob>> RemoteClientPool::Download(const Peer& peer,
                                                                       const v1::DownloadRequest& request) {
  const MutexLock lock(&mutex_);
  MUSTER_RETURN_IF_ERROR(CheckCaller(peer, request.federation(), request.client()));
  const auto blob = blobs_.find(request.sha256());
  if (blob == blobs_.end() || !round_->Has(request.client())) {
    return absl::NotFoundError("no task in flight has this blob for this client");
  }
  if (request.offset() < 0 || request.offset() > blob->second->size()) {
    return InvalidInput(
        absl::StrCat("offset ", request.offset(), ": the blob has ", blob->second->size(), " bytes"));
  }
  return blob->second;
}

absl::Status RemoteClientPool::Downloaded(ClientId client, const Blob& blob, int64_t bytes) {
  const MutexLock lock(&mutex_);
  if (!blobs_.contains(blob.sha256()) || !round_->Has(client))
    return absl::NotFoundError("the round is over");
  round_->Downloaded(client, bytes);
  return absl::OkStatus();
}

absl::Status RemoteClientPool::CheckHeader(const Peer& peer, const v1::UploadHeader& header) {
  MUSTER_RETURN_IF_ERROR(CheckCaller(peer, header.federation(), header.client()));
  if (RoundOf(header.client(), header.round()) == nullptr) {
    return absl::NotFoundError(absl::StrCat("round ", header.round(), " is not in flight, or client ",
                                            header.client(), " has no task in it"));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::shared_ptr<IncomingUpdate>> RemoteClientPool::Upload(const Peer& peer,
                                                                         const v1::UploadHeader& header) {
  const MutexLock lock(&mutex_);
  MUSTER_RETURN_IF_ERROR(CheckHeader(peer, header));
  return round_->Upload(header, *spool_);
}

absl::StatusOr<int64_t> RemoteClientPool::UploadOffset(const Peer& peer, const v1::UploadHeader& header) {
  const MutexLock lock(&mutex_);
  MUSTER_RETURN_IF_ERROR(CheckHeader(peer, header));
  return round_->UploadOffset(header, *spool_);
}

absl::Status RemoteClientPool::Uploaded(const v1::UploadHeader& header,
                                        const std::shared_ptr<IncomingUpdate>& update) {
  const auto complete = [&]() -> absl::StatusOr<SpooledUpdate> {
    MUSTER_RETURN_IF_ERROR(update->Finish());
    return update->Take();
  };
  absl::StatusOr<SpooledUpdate> spooled = complete();  // hashes and writes: not under the lock
  const MutexLock lock(&mutex_);
  RoundInFlight* mine = RoundOf(header.client(), header.round());
  if (mine == nullptr) return absl::NotFoundError(absl::StrCat("round ", header.round(), " is over"));
  if (spooled.ok()) {
    mine->Complete(header.client(), *std::move(spooled), options_.now());
  } else if (absl::IsDataLoss(spooled.status())) {
    mine->Damaged(header.client(), spooled.status(), options_.now());
  }
  changed_.NotifyAll();
  return spooled.status();
}

// ------------------------------------------------------------------------------------------------------ for
// people

int64_t RemoteClientPool::connected() const {
  const MutexLock lock(&mutex_);
  return roster_.connected();
}

void RemoteClientPool::Describe(bool clients, v1::Status& status) const {
  const MutexLock lock(&mutex_);
  status.set_connected(roster_.connected());
  if (round_) {
    status.set_cohort(round_->size());
    status.set_answered(round_->size() - round_->open());
    status.set_accepted(accepted_);
  }
  if (!clients) return;
  const double now = options_.now();
  for (const auto& [number, participant] : roster_.participants()) {
    v1::ClientStatus& client = *status.add_clients();
    client.set_client(number);
    client.set_identity(participant.identity);
    client.set_client_version(participant.client_version);
    client.set_num_samples(participant.num_samples);
    const bool here = participant.link != nullptr;
    client.set_state(!here                           ? "gone"
                     : round_ && round_->Has(number) ? ActivityName(round_->activity(number))
                                                     : "idle");
    if (here) client.set_connected_seconds(now - participant.connected_at);
    if (here) client.set_heard_seconds_ago(now - participant.heard_at);
  }
}

}  // namespace muster
