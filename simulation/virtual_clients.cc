#include "simulation/virtual_clients.h"

#include <algorithm>
#include <memory>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/random.h"

namespace muster {
namespace {

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
    TrainingJob whole = job;
    whole.may_stay = false;
    absl::StatusOr<TrainingResult> result = honest_.Train(whole, global, delta, memory);
    if (result.ok()) adversary_.Falsify(scene_, delta, own);
    PutUnder(kAdversary, std::move(own), memory);
    return result;
  }

 private:
  Trainer& honest_;
  const Adversary& adversary_;
  const Scene scene_;
};

// A client that was trained with others: tells what came of it, once.
class TrainedBefore final : public Trainer {
 public:
  // `delta`, which has the update if it does not lie on a device, outlives it.
  TrainedBefore(const Layout& layout, int64_t num_samples, absl::StatusOr<TrainingResult> result,
                std::span<const float> delta)
      : layout_(layout), num_samples_(num_samples), result_(std::move(result)), delta_(delta) {}

  const Layout& layout() const override { return layout_; }
  int64_t num_samples() const override { return num_samples_; }
  absl::StatusOr<TrainingResult> Train(const TrainingJob& job, ConstParameters /*global*/,
                                       std::span<float> delta, State& /*memory*/) override {
    MUSTER_RETURN_IF_ERROR(result_.status());
    if (result_->on_device == nullptr) {
      std::copy(delta_.begin(), delta_.end(), delta.begin());
    } else if (!job.may_stay) {
      MUSTER_RETURN_IF_ERROR(result_->on_device->Copy(delta));
      result_->on_device.reset();
    }
    return std::move(result_);
  }

 private:
  const Layout& layout_;
  const int64_t num_samples_;
  absl::StatusOr<TrainingResult> result_;
  const std::span<const float> delta_;
};

}  // namespace

ClientFailure Failure(ClientId client, const std::string& stage, const absl::Status& status) {
  return {client, stage, absl::StatusCodeToString(status.code()), Message(status)};
}

std::vector<ClientInfo> VirtualClients::Describe(bool labels) const {
  std::vector<ClientInfo> clients;
  clients.reserve(static_cast<size_t>(data_.clients()));
  for (ClientId c = 0; c < data_.clients(); ++c) {
    const std::span<const uint32_t> samples = data_.training.samples(c);
    clients.push_back({c, static_cast<int64_t>(samples.size())});
    if (!labels || data_.train().num_classes == 0 || Withholds(c)) continue;
    clients.back().labels = std::make_shared<const std::vector<int64_t>>(ClassCounts(data_.train(), samples));
  }
  return clients;
}

bool VirtualClients::Withholds(ClientId client) const {
  Random chance({misfortunes_.seed, Purpose::kDisclosure, 0, static_cast<uint64_t>(client)});
  return misfortunes_.withhold > 0 && chance.Uniform() < misfortunes_.withhold;
}

Arrival VirtualClients::Arrive(const Task& task, ClientId client) const {
  const Adversaries::Group* group = adversaries_.Of(client);
  return group == nullptr ? Arrival() : group->adversary->Arrive(task.seed, task.round, client);
}

TrainingJob VirtualClients::Job(const Task& task, ClientId client) const {
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

absl::StatusOr<std::vector<float>> VirtualClients::TrainHonestly(LocalTrainer& trainer,
                                                                 const VirtualTask& task, ClientId client,
                                                                 State memory) const {
  std::vector<float> delta(task.task.model->size());
  MUSTER_RETURN_IF_ERROR(
      trainer.Train(Job(task.task, client), *task.task.model, data_.training.samples(client), delta, memory)
          .status());
  return delta;
}

int64_t VirtualClients::Group(const Task& task) const {
  return batched_ != nullptr && BatchedTrainer::Knows(Job(task, /*client=*/0)) ? batched_->group() : 1;
}

std::vector<TrainedClient> VirtualClients::Train(LocalTrainer& trainer, const VirtualTask& task,
                                                 std::span<const ClientId> clients,
                                                 std::span<const State> memories) const {
  std::vector<TrainedClient> trained;
  if (Group(task.task) == 1) {
    for (size_t i = 0; i < clients.size(); ++i) {
      SliceTrainer slice(trainer, data_.train(), data_.training.samples(clients[i]), Withholds(clients[i]));
      trained.push_back(TrainBy(slice, task, clients[i], memories[i]));
    }
    return trained;
  }
  const ConstParameters model = *task.task.model;
  // Memory that is not touched where updates stay on the device costs nothing.
  const auto deltas = std::make_unique_for_overwrite<float[]>(clients.size() * model.size());
  std::vector<BatchedTrainer::Client> group;
  for (size_t i = 0; i < clients.size(); ++i) {
    group.push_back({.job = Job(task.task, clients[i]),
                     .samples = data_.training.samples(clients[i]),
                     .delta = {deltas.get() + i * model.size(), model.size()}});
    group.back().job.may_stay = feedback_.Memoryless() != nullptr;
  }
  std::vector<absl::StatusOr<TrainingResult>> results = batched_->Train(group, model);
  for (size_t i = 0; i < clients.size(); ++i) {
    TrainedBefore honest(batched_->layout(), static_cast<int64_t>(group[i].samples.size()),
                         std::move(results[i]), group[i].delta);
    trained.push_back(TrainBy(honest, task, clients[i], memories[i]));
  }
  return trained;
}

TrainedClient VirtualClients::TrainBy(Trainer& honest, const VirtualTask& virtual_task, ClientId client,
                                      const State& memory) const {
  const Task& task = virtual_task.task;
  const auto untrained = [&](const std::string& stage, const absl::Status& status) {
    return TrainedClient{.outcome = Failure(client, stage, status), .if_taken = {}, .if_refused = memory};
  };
  const Adversaries::Group* group = adversaries_.Of(client);
  const Arrival arrival = Arrive(task, client);
  if (arrival.vanishes) {
    return untrained("gone", absl::UnavailableError("dropped out (simulation.adversaries)"));
  }
  Trainer* trained = &honest;
  std::optional<LyingTrainer> liar;
  if (group != nullptr) {
    const auto collusion = virtual_task.collusions.find(adversaries_.IndexOf(*group));
    const bool colludes = collusion != virtual_task.collusions.end();
    trained = &liar.emplace(honest, *group->adversary,
                            Scene{.seed = task.seed,
                                  .round = task.round,
                                  .client = client,
                                  .cohort = virtual_task.cohort,
                                  .model = *task.model,
                                  .collusion = colludes ? &collusion->second : nullptr});
  }
  thread_local TaskRunner runner;
  LocalUpdate update;
  TaskFailure failure;
  if (!runner.Run(*trained, feedback_, Job(task, client), *task.model, memory, update, failure,
                  /*leave_on_device=*/task.folding != nullptr)) {
    return untrained(failure.stage, failure.status);
  }
  TrainedClient result{.outcome = ClientFailure(),
                       .if_taken = std::move(update.if_taken),
                       .if_refused = std::move(update.if_refused)};
  Random chance(
      {task.seed, Purpose::kFaults, static_cast<uint64_t>(task.round), static_cast<uint64_t>(client)});
  if (task.deadline_seconds > 0 && arrival.seconds > task.deadline_seconds) {
    result.outcome = Failure(
        client, "deadline",
        absl::DeadlineExceededError(absl::StrCat("answered after ", arrival.seconds, " s, the deadline is ",
                                                 task.deadline_seconds, " s")));
  } else if (misfortunes_.lose_updates > 0 && chance.Uniform() < misfortunes_.lose_updates) {
    result.outcome =
        Failure(client, "upload", absl::UnavailableError("lost on its way (simulation.lose_updates)"));
  } else {
    const TrainingResult& training = update.training;
    result.outcome = Update{.client = client,
                            .num_samples = training.num_samples,
                            .payload = std::move(update.payload),
                            .metrics = {training.train_loss, training.steps, training.seconds},
                            .extras = std::move(update.extras),
                            .numbers = std::move(update.training.numbers)};
  }
  return result;
}

}  // namespace muster
