#include "simulation/in_process_pool.h"

#include <algorithm>
#include <atomic>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"

#include "core/random.h"
#include "server/rounds/downlink.h"
#include "simulation/collusion.h"

namespace muster {
namespace {

constexpr char kModelVersion[] =
    "model/version";  // which one a client holds, where the way down is compressed

ClientFailure Failure(ClientId client, const char* stage, const absl::Status& status,
                      int64_t download_bytes) {
  return {client, stage, absl::StatusCodeToString(status.code()), Message(status), download_bytes};
}

constexpr char kAdversary[] = "adversary";  // its part of what a client remembers

// A client that lies about what it trained. All outlive it.
class LyingTrainer final : public Trainer {
 public:
  LyingTrainer(Trainer& honest, const Adversary& adversary, const Scene& scene)
      : honest_(honest), adversary_(adversary), scene_(scene) {}

  const Layout& layout() const override { return honest_.layout(); }
  int64_t num_samples() const override { return honest_.num_samples(); }
  std::vector<int64_t> label_histogram() const override { return honest_.label_histogram(); }
  absl::StatusOr<TrainingResult> Train(const TrainingJob& job, ConstParameters global, std::span<float> delta,
                                       State& memory) override {
    State own = TakeUnder(kAdversary, memory);
    absl::StatusOr<TrainingResult> result = honest_.Train(job, global, delta, memory);
    if (result.ok()) adversary_.Falsify(scene_, delta, own);
    PutUnder(kAdversary, std::move(own), memory);
    return result;
  }

 private:
  Trainer& honest_;
  const Adversary& adversary_;
  const Scene scene_;
};

}  // namespace

InProcessPool::InProcessPool(const FederatedData& data, WorkerThreads& workers, StateStore& states,
                             const ErrorFeedback& feedback, const Adversaries& adversaries,
                             double lose_updates, const Disclosure& disclosure)
    : data_(data),
      workers_(workers),
      states_(states),
      feedback_(feedback),
      adversaries_(adversaries),
      lose_updates_(lose_updates),
      disclosure_(disclosure) {
  clients_.reserve(static_cast<size_t>(data.clients()));
  for (ClientId c = 0; c < data.clients(); ++c) {
    const std::span<const uint32_t> samples = data.training.samples(c);
    clients_.push_back({c, static_cast<int64_t>(samples.size())});
    if (!disclosure_.labels || data.train().num_classes == 0 || Withholds(c)) continue;
    clients_.back().labels = std::make_shared<const std::vector<int64_t>>(ClassCounts(data.train(), samples));
  }
}

bool InProcessPool::Withholds(ClientId client) const {
  Random chance({disclosure_.seed, Purpose::kDisclosure, 0, static_cast<uint64_t>(client)});
  return disclosure_.withhold > 0 && chance.Uniform() < disclosure_.withhold;
}

absl::Status InProcessPool::Run(const Task& task, std::span<const ClientId> cohort,
                                absl::FunctionRef<bool(Outcome)> sink,
                                const std::function<bool()>& cancelled) {
  cohort_size_ = static_cast<int64_t>(cohort.size());
  const Collusions collusions = Collude(task, cohort);
  if (task.enough == 0) return RunAll(task, cohort, collusions, sink, cancelled).status();
  // Virtual clients answer in the order of their numbers, those that are late afterwards: those behind the
  // last one needed are not asked at all.
  std::vector<ClientId> order(cohort.begin(), cohort.end());
  std::stable_sort(order.begin(), order.end(),
                   [&](ClientId a, ClientId b) { return Arrive(task, a).seconds < Arrive(task, b).seconds; });
  std::span<const ClientId> rest = order;
  int64_t needed = task.enough;
  while (needed > 0 && !rest.empty()) {
    const std::span<const ClientId> next = rest.first(std::min(rest.size(), static_cast<size_t>(needed)));
    MUSTER_ASSIGN_OR_RETURN(const int64_t accepted, RunAll(task, next, collusions, sink, cancelled));
    needed -= accepted;
    rest = rest.subspan(next.size());
  }
  for (const ClientId client : rest) {
    sink(Failure(client, "enough", absl::CancelledError("enough clients had answered"), 0));
  }
  return absl::OkStatus();
}

Arrival InProcessPool::Arrive(const Task& task, ClientId client) const {
  const Adversaries::Group* group = adversaries_.Of(client);
  return group == nullptr ? Arrival() : group->adversary->Arrive(task.seed, task.round, client);
}

TrainingJob InProcessPool::Job(const Task& task, ClientId client) const {
  TrainingJob job{.seed = task.seed,
                  .round = task.round,
                  .client = client,
                  .epochs = task.epochs,
                  .steps = task.steps,
                  .learning_rate_factor = task.learning_rate_factor,
                  .vectors = task.vectors,
                  .statistics = task.statistics};
  if (const Adversaries::Group* group = adversaries_.Of(client)) job.relabel = group->adversary->Relabel();
  return job;
}

InProcessPool::Collusions InProcessPool::Collude(const Task& task, std::span<const ClientId> cohort) {
  Collusions collusions;
  for (const Adversaries::Group& group : adversaries_.groups()) {
    if (!group.adversary->Colludes()) continue;
    std::vector<ClientId> members;
    for (const ClientId client : cohort) {
      if (adversaries_.Of(client) == &group) members.push_back(client);
    }
    if (members.empty()) continue;
    CollusionBuilder builder(task.model->size());
    std::vector<std::vector<float>> deltas(static_cast<size_t>(workers_.count()));
    std::vector<absl::Status> trained(deltas.size());
    for (size_t begin = 0; begin < members.size(); begin += deltas.size()) {
      const size_t count = std::min(deltas.size(), members.size() - begin);
      workers_.ForEach(static_cast<int64_t>(count), [&](LocalTrainer& trainer, int64_t i) {
        const ClientId client = members[begin + static_cast<size_t>(i)];
        absl::StatusOr<State> memory = states_.Load(client, task.round);
        trained[i] = memory.status();
        if (!memory.ok()) return;
        deltas[i].resize(task.model->size());
        trained[i] =
            trainer.Train(Job(task, client), *task.model, data_.training.samples(client), deltas[i], *memory)
                .status();
      });
      for (size_t i = 0; i < count; ++i) {
        if (trained[i].ok()) builder.Add(deltas[i]);
      }
    }
    collusions[&group] = builder.Finish();
  }
  return collusions;
}

absl::StatusOr<int64_t> InProcessPool::RunAll(const Task& task, std::span<const ClientId> cohort,
                                              const Collusions& collusions,
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
    Outcome outcome = memory.ok() ? TrainClient(trainer, task, cohort[i], collusions, *memory, update)
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
                                   const Collusions& collusions, const State& memory,
                                   LocalUpdate& update) const {
  // What a client on a wire would have received.
  const auto version = memory.numbers.find(kModelVersion);
  const int64_t held = version == memory.numbers.end() ? -1 : static_cast<int64_t>(version->second);
  const int64_t download_bytes = DownloadBytes(task, held, trainer.layout());
  const auto holds_model = [&task](State& after) {
    if (task.model_version >= 0) after.numbers[kModelVersion] = static_cast<double>(task.model_version);
  };
  const auto untrained = [&](const char* stage, const absl::Status& status) {
    update.if_refused = memory;
    holds_model(update.if_refused);
    return Failure(client, stage, status, download_bytes);
  };

  const Adversaries::Group* group = adversaries_.Of(client);
  const Arrival arrival = Arrive(task, client);
  if (arrival.vanishes)
    return untrained("gone", absl::UnavailableError("dropped out (simulation.adversaries)"));
  SliceTrainer slice(trainer, data_.train(), data_.training.samples(client), Withholds(client));
  Trainer* trained = &slice;
  std::optional<LyingTrainer> liar;
  if (group != nullptr) {
    const auto collusion = collusions.find(group);
    trained = &liar.emplace(slice, *group->adversary,
                            Scene{.seed = task.seed,
                                  .round = task.round,
                                  .client = client,
                                  .cohort = cohort_size_,
                                  .model = *task.model,
                                  .collusion = collusion == collusions.end() ? nullptr : &collusion->second});
  }
  thread_local TaskRunner runner;
  TaskFailure failure;
  if (!runner.Run(*trained, feedback_, Job(task, client), *task.model, memory, update, failure)) {
    return untrained(failure.stage.c_str(), failure.status);
  }
  holds_model(update.if_taken);
  holds_model(update.if_refused);
  if (task.deadline_seconds > 0 && arrival.seconds > task.deadline_seconds) {
    return Failure(
        client, "deadline",
        absl::DeadlineExceededError(absl::StrCat("answered after ", arrival.seconds, " s, the deadline is ",
                                                 task.deadline_seconds, " s")),
        download_bytes);
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
