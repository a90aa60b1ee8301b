// What the virtual clients of a simulation do when they are told to train, wherever that is: in a thread of
// the coordinator's process or in a worker's.
#ifndef MUSTER_SIMULATION_VIRTUAL_CLIENTS_H_
#define MUSTER_SIMULATION_VIRTUAL_CLIENTS_H_

#include <cstdint>
#include <map>
#include <span>
#include <vector>

#include "client/batched_trainer.h"
#include "client/local_trainer.h"
#include "client/task_runner.h"
#include "core/state.h"
#include "learning/federated_data.h"
#include "server/rounds/client_pool.h"
#include "simulation/adversaries.h"

namespace muster {

// What befalls virtual clients beside adversaries, drawn from `seed`.
struct Misfortunes {
  double lose_updates = 0;  // the share of finished updates that are lost on their way
  double withhold = 0;      // the share of clients that tell nothing beside their updates
  uint64_t seed = 0;
};

// A round's task as virtual clients get it.
struct VirtualTask {
  Task task;           // without what only the way down needs: model_version and deltas
  int64_t cohort = 0;  // clients that were asked in this round
  // What colluders found out by training honestly first, by group of adversaries.
  std::map<int, Collusion> collusions = {};
};

// `client` failed in `stage` with `status`.
ClientFailure Failure(ClientId client, const std::string& stage, const absl::Status& status);

// What came of one client's training.
struct TrainedClient {
  Outcome outcome;  // its download_bytes are not filled in
  // What the client must remember if the server takes the update, and if it does not.
  State if_taken;
  State if_refused;
};

// Immutable and thread-safe. An idle client costs nothing but its list of samples.
class VirtualClients {
 public:
  // All outlive it. `batched` trains groups of them; nullptr: they are trained one by one.
  VirtualClients(const FederatedData& data, const ErrorFeedback& feedback, const Adversaries& adversaries,
                 const Misfortunes& misfortunes, const BatchedTrainer* batched = nullptr)
      : data_(data),
        feedback_(feedback),
        adversaries_(adversaries),
        misfortunes_(misfortunes),
        batched_(batched) {}

  // Every client, ascending; with their labels by class if `labels` and they do not withhold them.
  std::vector<ClientInfo> Describe(bool labels) const;
  const Adversaries& adversaries() const { return adversaries_; }
  // When a client answers.
  Arrival Arrive(const Task& task, ClientId client) const;

  // How many clients are trained at once for the task, at most.
  int64_t Group(const Task& task) const;
  // Trains a group of clients, Group(task) at most, each from what it remembers. The results' bits depend on
  // the arguments alone, but for the seconds; in a group on all of its clients. Where the task has a Folding,
  // payloads may stay on a device.
  std::vector<TrainedClient> Train(LocalTrainer& trainer, const VirtualTask& task,
                                   std::span<const ClientId> clients, std::span<const State> memories) const;
  // The update that the client would have if it did not lie. Errors as LocalTrainer::Train.
  absl::StatusOr<std::vector<float>> TrainHonestly(LocalTrainer& trainer, const VirtualTask& task,
                                                   ClientId client, State memory) const;

 private:
  bool Withholds(ClientId client) const;
  TrainingJob Job(const Task& task, ClientId client) const;
  // All that comes of a client whom `honest` trains.
  TrainedClient TrainBy(Trainer& honest, const VirtualTask& task, ClientId client, const State& memory) const;

  const FederatedData& data_;
  const ErrorFeedback& feedback_;
  const Adversaries& adversaries_;
  const Misfortunes misfortunes_;
  const BatchedTrainer* const batched_;
};

}  // namespace muster

#endif  // MUSTER_SIMULATION_VIRTUAL_CLIENTS_H_
