#include "simulation/virtual_client_pool.h"

#include <algorithm>
#include <utility>
#include <variant>

#include "server/rounds/downlink.h"
#include "simulation/collusion.h"

namespace muster {
namespace {

constexpr char kModelVersion[] =
    "model/version";  // which one a client holds, where the way down is compressed

}  // namespace

absl::StatusOr<State> VirtualClientPool::Bout::Recall(size_t i) const {
  return states_.Load(clients_[i], task_.task.round);
}

class VirtualClientPool::HonestBout final : public Bout {
 public:
  HonestBout(const VirtualTask& task, std::span<const ClientId> clients, const StateStore& states)
      : Bout(task, clients, /*group=*/1, states),
        updates_(clients.size(), absl::UnknownError("not trained")) {}

  bool honest() const override { return true; }
  void Take(size_t /*i*/, const State& /*memory*/, TrainedClient /*trained*/) override {}
  void Take(size_t i, absl::StatusOr<std::vector<float>> update) override { updates_[i] = std::move(update); }
  absl::Status AddSums(std::span<const int64_t> /*sums*/) override {
    return InternalError("sums of updates that are not for the round");
  }

  const std::vector<absl::StatusOr<std::vector<float>>>& updates() const { return updates_; }

 private:
  std::vector<absl::StatusOr<std::vector<float>>> updates_;
};

class VirtualClientPool::RealBout final : public Bout {
 public:
  // `full` is the task as the engine gave it, with the way down.
  RealBout(const VirtualTask& task, const Task& full, std::span<const ClientId> clients, int64_t group,
           StateStore& states, OutcomeSink sink)
      : Bout(task, clients, group, states),
        full_(full),
        layout_{.entries = {}, .size = static_cast<int64_t>(full.model->size()), .fingerprint = 0},
        states_(states),
        sink_(sink) {}

  bool honest() const override { return false; }
  void Take(size_t /*i*/, absl::StatusOr<std::vector<float>> /*update*/) override {}
  absl::Status AddSums(std::span<const int64_t> sums) override {
    if (full_.folding == nullptr) return InternalError("sums in a round that needs every update");
    const MutexLock lock(&mutex_);
    return full_.folding->add(sums);
  }
  void Take(size_t i, const State& memory, TrainedClient trained) override {
    // What a client on a wire would have received.
    const auto version = memory.numbers.find(kModelVersion);
    const int64_t held = version == memory.numbers.end() ? -1 : static_cast<int64_t>(version->second);
    const int64_t download_bytes = DownloadBytes(full_, held, layout_);
    std::visit([download_bytes](auto& outcome) { outcome.download_bytes = download_bytes; }, trained.outcome);
    bool taken = false;
    {
      const MutexLock lock(&mutex_);
      taken = sink_(std::move(trained.outcome)).ok();
      accepted_ += taken ? 1 : 0;
    }
    State& after = taken ? trained.if_taken : trained.if_refused;
    if (full_.model_version >= 0) after.numbers[kModelVersion] = static_cast<double>(full_.model_version);
    if (after == memory) return;  // empty, or as it was: there is nothing to write down
    const absl::Status saved = states_.Save(clients()[i], full_.round, after);
    const MutexLock lock(&mutex_);
    lost_.Update(saved);
  }

  int64_t accepted() {
    const MutexLock lock(&mutex_);
    return accepted_;
  }
  // Not OK if a client's memory could not be written.
  absl::Status lost() {
    const MutexLock lock(&mutex_);
    return lost_;
  }

 private:
  const Task& full_;
  const Layout layout_;  // of the model, as far as its bytes are counted
  StateStore& states_;
  OutcomeSink sink_;
  Mutex mutex_;  // sinks are called one at a time
  int64_t accepted_ ABSL_GUARDED_BY(mutex_) = 0;
  absl::Status lost_ ABSL_GUARDED_BY(mutex_);
};

absl::Status VirtualClientPool::Run(const Task& task, std::span<const ClientId> cohort, OutcomeSink sink,
                                    const std::function<bool()>& cancelled) {
  VirtualTask virtual_task{.task = task, .cohort = static_cast<int64_t>(cohort.size())};
  virtual_task.task.model_version = -1;
  virtual_task.task.deltas.clear();
  MUSTER_RETURN_IF_ERROR(Collude(virtual_task, cohort, cancelled));
  // Virtual clients answer in the order of their numbers, those that are late afterwards: those behind the
  // last one needed are not asked at all.
  std::vector<ClientId> order(cohort.begin(), cohort.end());
  if (task.enough > 0) {
    std::stable_sort(order.begin(), order.end(), [&](ClientId a, ClientId b) {
      return clients_.Arrive(task, a).seconds < clients_.Arrive(task, b).seconds;
    });
  }
  std::span<const ClientId> rest = order;
  int64_t needed = task.enough > 0 ? task.enough : static_cast<int64_t>(cohort.size());
  while (needed > 0 && !rest.empty()) {
    const std::span<const ClientId> next = rest.first(std::min(rest.size(), static_cast<size_t>(needed)));
    RealBout bout(virtual_task, task, next, clients_.Group(task), states_, sink);
    MUSTER_RETURN_IF_ERROR(Train(bout, cancelled));
    MUSTER_RETURN_IF_ERROR(bout.lost());
    needed -= bout.accepted();
    rest = rest.subspan(next.size());
  }
  for (const ClientId client : rest) {
    const absl::Status enough = absl::CancelledError("enough clients had answered");
    (void)sink(ClientFailure{client, "enough", absl::StatusCodeToString(enough.code()), Message(enough)});
  }
  return absl::OkStatus();
}

absl::Status VirtualClientPool::TrainHere(LocalTrainer& trainer, Bout& bout,
                                          std::span<const size_t> items) const {
  const size_t group = bout.GroupOf(items.front());
  const size_t first = bout.First(group);
  const std::span<const ClientId> clients = bout.clients().subspan(first, bout.First(group + 1) - first);
  std::vector<State> memories(clients.size());
  for (const size_t item : items) {
    MUSTER_ASSIGN_OR_RETURN(memories[item - first], bout.Recall(item));
  }
  if (bout.honest()) {
    bout.Take(first, clients_.TrainHonestly(trainer, bout.task(), clients.front(), memories.front()));
    return absl::OkStatus();
  }
  std::vector<TrainedClient> trained = clients_.Train(trainer, bout.task(), clients, memories);
  for (const size_t item : items) bout.Take(item, memories[item - first], std::move(trained[item - first]));
  return absl::OkStatus();
}

absl::Status VirtualClientPool::Collude(VirtualTask& task, std::span<const ClientId> cohort,
                                        const std::function<bool()>& cancelled) {
  std::map<int, Collusion> collusions;
  const std::vector<Adversaries::Group>& groups = clients_.adversaries().groups();
  for (size_t group = 0; group < groups.size(); ++group) {
    if (!groups[group].adversary->Colludes()) continue;
    std::vector<ClientId> members;
    for (const ClientId client : cohort) {
      if (clients_.adversaries().Of(client) == &groups[group]) members.push_back(client);
    }
    if (members.empty()) continue;
    CollusionBuilder builder(task.task.model->size());
    const auto width = static_cast<size_t>(this->width());
    for (std::span<const ClientId> rest = members; !rest.empty();) {
      const std::span<const ClientId> next = rest.first(std::min(width, rest.size()));
      rest = rest.subspan(next.size());
      HonestBout bout(task, next, states_);
      MUSTER_RETURN_IF_ERROR(Train(bout, cancelled));
      for (const auto& update : bout.updates()) {
        if (update.ok()) builder.Add(*update);
      }
    }
    collusions[static_cast<int>(group)] = builder.Finish();
  }
  task.collusions = std::move(collusions);
  return absl::OkStatus();
}

}  // namespace muster
