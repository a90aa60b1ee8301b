#include "server/service/remote_client_pool.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <utility>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/str_cat.h"

namespace muster {
namespace {

constexpr size_t kRoundsRemembered = 16;
constexpr double kPollSeconds = 0.1;  // how soon a stop request is seen

// With its bytes if `whole`.
v1::Blob Named(const Blob& blob, bool whole = false) {
  v1::Blob named;
  if (whole) named.set_data(blob.Bytes());
  named.set_sha256(blob.sha256());
  named.set_size(blob.size());
  return named;
}

}  // namespace

// ---------------------------------------------------------------------------------------------------- start
// and end

RemoteClientPool::RemoteClientPool(PoolOptions options, const Layout& layout, Journal& journal,
                                   std::unique_ptr<UpdateSpool> spool)
    : options_(std::move(options)),
      layout_(layout),
      journal_(journal),
      spool_(std::move(spool)),
      roster_(options_.clients) {}

absl::StatusOr<std::unique_ptr<RemoteClientPool>> RemoteClientPool::Start(
    PoolOptions options, const Layout& layout, Journal& journal, std::unique_ptr<UpdateSpool> spool,
    std::span<const RoundRecord> records) {
  if (!options.now) {
    options.now = [] {
      return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
    };
  }
  std::unique_ptr<RemoteClientPool> pool(
      new RemoteClientPool(std::move(options), layout, journal, std::move(spool)));
  {
    const MutexLock lock(&pool->mutex_);
    MUSTER_RETURN_IF_ERROR(pool->roster_.Load(journal, pool->options_.now()));
    for (const RoundRecord& record : records.last(std::min(records.size(), kRoundsRemembered))) {
      std::map<ClientId, v1::Settled> settled;
      for (const ClientId client : record.cohort) {
        settled[client] = Accepted(record.round);
      }
      for (const ClientFailure& failure : record.failures) {
        settled[failure.client] =
            Refused(record.round, absl::Status(CodeNamed(failure.code), failure.message));
      }
      pool->Remember(record.round, std::move(settled));
    }
  }
  pool->thread_ = std::thread([raw = pool.get()] { raw->ServiceThread(); });
  return pool;
}

RemoteClientPool::~RemoteClientPool() {
  {
    const MutexLock lock(&mutex_);
    stopping_ = true;
    changed_.NotifyAll();
  }
  if (thread_.joinable()) thread_.join();
}

void RemoteClientPool::Log(const LogEvent& event) const {
  if (options_.log) options_.log(event);
}

// Journals what has to be on disk before a client hears of it, and looks at the clock.
void RemoteClientPool::ServiceThread() {
  const double tick_seconds = options_.heartbeat_seconds / 4;
  double next_tick = options_.now() + tick_seconds;
  MutexLock lock(&mutex_);
  while (!stopping_) {
    if (!joining_.empty() || !changed_facts_.empty()) {
      const ClientId number = joining_.empty() ? changed_facts_.front() : joining_.front().number;
      Participant& participant = *roster_.Find(number);
      const BindingFact fact = roster_.Fact(participant);
      mutex_.Unlock();
      const absl::Status stored = journal_.Put(fact.key, fact.value);
      mutex_.Lock();
      if (stored.ok()) roster_.Recorded(participant);
      if (joining_.empty()) {
        changed_facts_.pop_front();
        continue;
      }
      const std::shared_ptr<ClientLink> link = std::move(joining_.front().link);
      joining_.pop_front();
      if (!strangers_.contains(link)) continue;  // gone meanwhile
      if (stored.ok()) {
        Admit(participant, link);
      } else {
        link->Close(absl::InternalError("the coordinator cannot write its journal"));
      }
      continue;
    }
    if (const double now = options_.now(); now >= next_tick) {
      next_tick = now + tick_seconds;
      mutex_.Unlock();
      Tick();
      mutex_.Lock();
      continue;
    }
    changed_.WaitFor(&mutex_, std::clamp(next_tick - options_.now(), 0.001, tick_seconds));
  }
}

void RemoteClientPool::SayGoodbye(const std::string& reason, bool come_back) {
  const MutexLock lock(&mutex_);
  goodbye_.emplace();
  goodbye_->set_reason(reason);
  goodbye_->set_come_back(come_back);
  for (auto& [number, participant] : roster_.participants()) {
    if (participant.link == nullptr) continue;
    v1::ServerMessage message;
    *message.mutable_goodbye() = *goodbye_;
    participant.link->Send(std::move(message));
  }
}

void RemoteClientPool::WaitUntilEmpty(double seconds) {
  const auto end = std::chrono::steady_clock::now() + std::chrono::duration<double>(seconds);
  const MutexLock lock(&mutex_);
  const auto awaited = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    const double now = options_.now();
    for (const auto& [number, participant] : roster_.participants()) {
      if (participant.link != nullptr) return true;
      if (goodbye_ && !participant.left && !participant.dismissed &&
          now - participant.away_since < options_.grace_seconds) {
        return true;
      }
    }
    return false;
  };
  while (awaited() && std::chrono::steady_clock::now() < end) changed_.WaitFor(&mutex_, kPollSeconds);
  for (auto& [number, participant] : roster_.participants()) {
    if (participant.link != nullptr) participant.link->Close(absl::OkStatus());
  }
}

void RemoteClientPool::Abandon() {
  const MutexLock lock(&mutex_);
  abandoned_ = true;
  changed_.NotifyAll();
}

// ------------------------------------------------------------------------------------------------- the
// engine's side

absl::Status RemoteClientPool::WaitUntilReady(const std::function<bool()>& stop) {
  const MutexLock lock(&mutex_);
  while (true) {
    if (stop() || abandoned_) return absl::CancelledError("stopped while waiting for clients");
    const std::vector<ClientInfo> present = roster_.Present(options_.now(), options_.grace_seconds);
    if (static_cast<int64_t>(present.size()) >= std::max<int64_t>(1, options_.min_clients)) break;
    changed_.WaitFor(&mutex_, kPollSeconds);
  }
  available_ = roster_.Present(options_.now(), options_.grace_seconds);
  return absl::OkStatus();
}

std::span<const ClientInfo> RemoteClientPool::Available() const { return available_; }

int64_t RemoteClientPool::MaxUpdateBytes(const Task& task) const {
  if (options_.max_update_bytes > 0) return options_.max_update_bytes;
  // Eight bytes an element: a value with its index, which no codec exceeds; one such payload for the update
  // and one for every vector the task came with, or one extra where it came with none.
  constexpr int64_t kCodecBytes = 4096;
  const int64_t payload = static_cast<int64_t>(kPayloadHeaderBytes) + kCodecBytes + 8 * layout_.size;
  return payload * (1 + std::max<int64_t>(1, static_cast<int64_t>(task.vectors.size())));
}

absl::Status RemoteClientPool::Begin(const Task& task, std::span<const ClientId> cohort) {
  v1::Offer offer;
  BlobsByHash blobs;
  const std::shared_ptr<const Blob> model = ModelBlob(layout_, task.model);
  blobs[model->sha256()] = model;
  int64_t bytes = model->size();
  for (const auto& [name, values] : task.vectors)
    bytes += static_cast<int64_t>(values->size() * sizeof(float));
  // Where there are deltas, only the client knows what it lacks.
  const bool whole = bytes <= static_cast<int64_t>(kMaxInlineBytes) && task.deltas.empty();
  *offer.mutable_model() = Named(*model, whole);
  for (const auto& [name, values] : task.vectors) {
    const std::shared_ptr<const Blob> blob = VectorBlob(values);
    blobs[blob->sha256()] = blob;
    (*offer.mutable_vectors())[name] = Named(*blob, whole);
  }
  offer.set_model_version(task.model_version);
  for (const ModelDelta& delta : task.deltas) {
    const std::shared_ptr<const Blob> blob = PayloadBlob(delta.payload);
    blobs[blob->sha256()] = blob;
    v1::Delta& named = *offer.add_deltas();
    named.set_version(delta.version);
    *named.mutable_payload() = Named(*blob);
  }
  offer.mutable_statistics()->Assign(task.statistics.begin(), task.statistics.end());
  offer.set_round(task.round);
  offer.set_seed(task.seed);
  offer.set_epochs(task.epochs);
  offer.set_steps(task.steps);
  offer.set_learning_rate_factor(task.learning_rate_factor);
  offer.set_layout_fingerprint(layout_.fingerprint);
  offer.set_parameters(layout_.size);
  MUSTER_ASSIGN_OR_RETURN(std::vector<SpooledUpdate> spooled, spool_->Recover(task.round));

  const MutexLock lock(&mutex_);
  const double now = options_.now();
  blobs_ = std::move(blobs);
  accepted_ = 0;
  round_.emplace(std::move(offer), cohort,
                 RoundRules{.upload_permits = options_.upload_permits,
                            .max_update_bytes = MaxUpdateBytes(task),
                            .grace_seconds = options_.grace_seconds,
                            .deadline_seconds = task.deadline_seconds,
                            .patience_seconds = 3 * options_.heartbeat_seconds},
                 now);
  for (SpooledUpdate& update : spooled) {
    const ClientId client = update.header.client();
    if (!round_->Has(client) || update.header.federation() != options_.federation) continue;
    round_->Downloaded(client, model->size());
    round_->Complete(client, std::move(update), now);
  }
  for (const ClientId client : cohort) {
    const Participant* participant = roster_.Find(client);
    if (participant != nullptr && participant->link != nullptr)
      round_->Arrive(client, participant->link, participant->max_inline_bytes, now);
  }
  return absl::OkStatus();
}

void RemoteClientPool::End() {
  const MutexLock lock(&mutex_);
  if (round_->open() > 0) {
    round_->FailOpen("enough", absl::CancelledError("the round ended without this client"), options_.now());
  } else {
    Remember(round_->round(), round_->settled());
  }
  round_.reset();
  blobs_.clear();
}

absl::Status RemoteClientPool::Run(const Task& task, std::span<const ClientId> cohort, OutcomeSink sink,
                                   const std::function<bool()>& cancelled) {
  MUSTER_RETURN_IF_ERROR(Begin(task, cohort));
  const absl::Cleanup end = [this] { End(); };
  while (true) {
    std::optional<Answer> answer;
    {
      const MutexLock lock(&mutex_);
      while (true) {
        if (abandoned_ || cancelled()) return absl::CancelledError("the round was cancelled");
        round_->Advance(options_.now());
        if (round_->has_answer() || round_->open() == 0) break;
        changed_.WaitFor(&mutex_, kPollSeconds);
      }
      answer = round_->NextAnswer();
      if (!answer) return absl::OkStatus();
      if (task.enough > 0 && accepted_ >= task.enough &&
          std::holds_alternative<SpooledUpdate>(answer->outcome)) {
        const absl::Status why = absl::CancelledError("enough other updates came first");
        round_->Settle(answer->client, Refused(task.round, why));
        answer->outcome = ClientFailure{answer->client, "enough", absl::StatusCodeToString(why.code()),
                                        Message(why), round_->download_bytes(answer->client)};
      }
    }
    if (!Deliver(*std::move(answer), sink)) continue;
    const MutexLock lock(&mutex_);
    if (++accepted_ == task.enough) {
      round_->FailOpen("enough", absl::CancelledError("enough other updates came first"), options_.now());
    }
  }
}

bool RemoteClientPool::Deliver(Answer answer, OutcomeSink sink) {
  if (auto* failure = std::get_if<ClientFailure>(&answer.outcome); failure != nullptr) {
    (void)sink(std::move(*failure));
    return false;
  }
  absl::StatusOr<Update> update = Verify(std::get<SpooledUpdate>(answer.outcome));
  int64_t round = 0, download_bytes = 0;
  {
    const MutexLock lock(&mutex_);
    round = round_->round();
    download_bytes = round_->download_bytes(answer.client);
  }
  absl::Status taken = update.status();
  if (update.ok()) {
    update->download_bytes = download_bytes;
    taken = sink(*std::move(update));
  } else {
    (void)sink(ClientFailure{answer.client, "verify", absl::StatusCodeToString(taken.code()), Message(taken),
                             download_bytes});
  }
  const MutexLock lock(&mutex_);
  round_->Settle(answer.client, taken.ok() ? Accepted(round) : Refused(round, taken));
  return taken.ok();
}

absl::StatusOr<Update> RemoteClientPool::Verify(const SpooledUpdate& spooled) const {
  const v1::UploadHeader& header = spooled.header;
  Update update;
  update.client = header.client();
  update.num_samples = header.num_samples();
  size_t at = 0;
  const auto next = [&](int64_t size) {
    Payload payload{.bytes = "", .mapped = spooled.file, .begin = at, .length = static_cast<size_t>(size)};
    at += payload.length;
    return payload;
  };
  update.payload = next(header.payload_size());
  MUSTER_RETURN_IF_ERROR(ParsePayload(update.payload, layout_).status());
  for (const v1::Part& part : header.extras()) {
    Payload extra = next(part.size());
    const int64_t elements = ClaimedElements(extra);
    if (elements < 0 || elements > layout_.size) {
      return InvalidInput(
          absl::StrCat("extra '", part.name(), "' is no payload of at most the model's size"));
    }
    const absl::Status good = ParsePayload(extra, ExtraLayout(part.name(), elements)).status();
    if (!good.ok()) return Annotate(good, absl::StrCat("extra '", part.name(), "'"));
    if (!update.extras.emplace(part.name(), std::move(extra)).second) {
      return InvalidInput(absl::StrCat("extra '", part.name(), "' is there twice"));
    }
  }
  for (const auto& [name, numbers] : header.numbers()) {
    update.numbers[name].assign(numbers.values().begin(), numbers.values().end());
    for (const double value : numbers.values()) {
      if (!std::isfinite(value)) return InvalidInput("a number that came with the update is not finite");
    }
  }
  if (header.num_samples() < 1) return InvalidInput("the update claims no samples");
  update.metrics = {.train_loss = header.train_loss(), .steps = header.steps(), .seconds = header.seconds()};
  return update;
}

void RemoteClientPool::Committed(int64_t round) { spool_->Remove(round); }

void RemoteClientPool::Remember(int64_t round, std::map<ClientId, v1::Settled> settled) {
  settled_[round] = std::move(settled);
  if (settled_.size() > kRoundsRemembered) settled_.erase(settled_.begin());
}

}  // namespace muster
