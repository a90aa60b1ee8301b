#include "simulation/in_process_pool.h"

#include <algorithm>
#include <atomic>
#include <utility>

#include "core/random.h"
#include "server/rounds/downlink.h"

namespace muster {
namespace {

constexpr char kModelVersion[] =
    "model/version";  // which one a client holds, where the way down is compressed

ClientFailure Failure(ClientId client, const char* stage, const absl::Status& status,
                      int64_t download_bytes) {
  return {client, stage, absl::StatusCodeToString(status.code()), Message(status), download_bytes};
}

}  // namespace

InProcessPool::InProcessPool(const FederatedData& data, WorkerThreads& workers, StateStore& states,
                             const ErrorFeedback& feedback, double lose_updates)
    : data_(data), workers_(workers), states_(states), feedback_(feedback), lose_updates_(lose_updates) {
  clients_.reserve(static_cast<size_t>(data.clients()));
  for (ClientId c = 0; c < data.clients(); ++c) {
    clients_.push_back({c, static_cast<int64_t>(data.training.samples(c).size())});
  }
}

absl::Status InProcessPool::Run(const Task& task, std::span<const ClientId> cohort,
                                absl::FunctionRef<bool(Outcome)> sink,
                                const std::function<bool()>& cancelled) {
  if (task.enough == 0) return RunAll(task, cohort, sink, cancelled).status();
  // Virtual clients answer in the order of their numbers: those behind the last one needed are not asked at
  // all.
  int64_t needed = task.enough;
  while (needed > 0 && !cohort.empty()) {
    const std::span<const ClientId> next = cohort.first(std::min(cohort.size(), static_cast<size_t>(needed)));
    MUSTER_ASSIGN_OR_RETURN(const int64_t accepted, RunAll(task, next, sink, cancelled));
    needed -= accepted;
    cohort = cohort.subspan(next.size());
  }
  for (const ClientId client : cohort) {
    sink(Failure(client, "enough", absl::CancelledError("enough clients had answered"), 0));
  }
  return absl::OkStatus();
}

absl::StatusOr<int64_t> InProcessPool::RunAll(const Task& task, std::span<const ClientId> cohort,
                                              absl::FunctionRef<bool(Outcome)> sink,
                                              const std::function<bool()>& cancelled) {
  Mutex mutex;  // sinks are called one at a time
  int64_t accepted = 0;
  absl::Status lost;  // a client's memory could not be read or written
  std::atomic<bool> stopped{false};
  workers_.ForEach(static_cast<int64_t>(cohort.size()), [&](LocalTrainer& trainer, int64_t i) {
    if (stopped.load() || cancelled()) {
      stopped.store(true);
      return;
    }
    absl::StatusOr<State> memory = states_.Load(cohort[i], task.round);
    LocalUpdate update;
    Outcome outcome = memory.ok() ? TrainClient(trainer, task, cohort[i], *memory, update)
                                  : Failure(cohort[i], "train", memory.status(), 0);
    bool taken = false;
    {
      const MutexLock lock(&mutex);
      taken = sink(std::move(outcome));
      accepted += taken ? 1 : 0;
      lost.Update(memory.status());
    }
    // Empty, or as it was: there is nothing to write down.
    const State& after = taken ? update.if_taken : update.if_refused;
    if (!memory.ok() || after == *memory) return;
    const absl::Status saved = states_.Save(cohort[i], task.round, after);
    const MutexLock lock(&mutex);
    lost.Update(saved);
  });
  if (stopped.load()) return absl::CancelledError("the round was cancelled");
  MUSTER_RETURN_IF_ERROR(lost);
  return accepted;
}

Outcome InProcessPool::TrainClient(LocalTrainer& trainer, const Task& task, ClientId client,
                                   const State& memory, LocalUpdate& update) const {
  // What a client on a wire would have received.
  const auto version = memory.numbers.find(kModelVersion);
  const int64_t held = version == memory.numbers.end() ? -1 : static_cast<int64_t>(version->second);
  const int64_t download_bytes = DownloadBytes(task, held, trainer.layout());
  TrainingJob job{.seed = task.seed,
                  .round = task.round,
                  .client = client,
                  .epochs = task.epochs,
                  .steps = task.steps,
                  .learning_rate_factor = task.learning_rate_factor,
                  .vectors = task.vectors};
  SliceTrainer slice(trainer, data_.train(), data_.training.samples(client));
  thread_local TaskRunner runner;
  TaskFailure failure;
  if (!runner.Run(slice, feedback_, job, *task.model, memory, update, failure)) {
    update.if_refused = memory;
    if (task.model_version >= 0)
      update.if_refused.numbers[kModelVersion] = static_cast<double>(task.model_version);
    return Failure(client, failure.stage.c_str(), failure.status, download_bytes);
  }
  if (task.model_version >= 0) {
    for (State* after : {&update.if_taken, &update.if_refused}) {
      after->numbers[kModelVersion] = static_cast<double>(task.model_version);
    }
  }
  Random chance(
      {task.seed, Purpose::kFaults, static_cast<uint64_t>(task.round), static_cast<uint64_t>(client)});
  if (lose_updates_ > 0 && chance.Uniform() < lose_updates_) {
    return Failure(client, "upload", absl::UnavailableError("lost on its way (simulation.lose_updates)"),
                   download_bytes);
  }
  return Update{.client = client,
                .num_samples = update.training.num_samples,
                .payload = std::move(update.payload),
                .metrics = {update.training.train_loss, update.training.steps, update.training.seconds},
                .download_bytes = download_bytes,
                .extras = std::move(update.extras),
                .numbers = std::move(update.training.numbers)};
}

}  // namespace muster
