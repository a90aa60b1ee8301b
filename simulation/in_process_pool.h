// The client pool of a simulation in one process: virtual clients trained by worker threads.
#ifndef MUSTER_SIMULATION_IN_PROCESS_POOL_H_
#define MUSTER_SIMULATION_IN_PROCESS_POOL_H_

#include <map>
#include <memory>
#include <span>
#include <vector>

#include "client/state_store.h"
#include "client/task_runner.h"
#include "core/mutex.h"
#include "learning/federated_data.h"
#include "server/rounds/client_pool.h"
#include "simulation/adversaries.h"
#include "simulation/worker_threads.h"

namespace muster {

// An idle client costs its list of samples and a ClientInfo, nothing else.
// What virtual clients tell about their data beside their updates.
struct Disclosure {
  bool labels = false;  // their samples by class (only where a selector asks for it: it takes memory)
  double withhold = 0;  // the share of clients that tell nothing at all
  uint64_t seed = 0;    // which ones
};

class InProcessPool final : public ClientPool {
 public:
  // All outlive the pool.
  InProcessPool(const FederatedData& data, WorkerThreads& workers, StateStore& states,
                const ErrorFeedback& feedback, const Adversaries& adversaries, double lose_updates,
                const Disclosure& disclosure = {});

  std::span<const ClientInfo> Available() const override { return clients_; }
  absl::Status Run(const Task& task, std::span<const ClientId> cohort, absl::FunctionRef<bool(Outcome)> sink,
                   const std::function<bool()>& cancelled) override;

 private:
  bool Withholds(ClientId client) const;
  using Collusions = std::map<const Adversaries::Group*, Collusion>;

  // Trains `cohort`, all of it; returns how many updates the sink took.
  absl::StatusOr<int64_t> RunAll(const Task& task, std::span<const ClientId> cohort,
                                 const Collusions& collusions, absl::FunctionRef<bool(Outcome)> sink,
                                 const std::function<bool()>& cancelled);
  // On return `update` has what the client remembers after it, whatever becomes of it; `memory` is from
  // before.
  Outcome TrainClient(LocalTrainer& trainer, const Task& task, ClientId client, const Collusions& collusions,
                      const State& memory, LocalUpdate& update) const;
  TrainingJob Job(const Task& task, ClientId client) const;
  Arrival Arrive(const Task& task, ClientId client) const;
  // What the colluders among `cohort` (ascending) find out by training honestly first, as many at a time as
  // there are workers. A colluder whose training fails here fails again in the round.
  Collusions Collude(const Task& task, std::span<const ClientId> cohort);

  const FederatedData& data_;
  WorkerThreads& workers_;
  StateStore& states_;
  const ErrorFeedback& feedback_;
  const Adversaries& adversaries_;
  const double lose_updates_;  // share of updates that are lost on their way
  const Disclosure disclosure_;
  std::vector<ClientInfo> clients_;
  int64_t cohort_size_ = 0;  // of the round in flight
};

}  // namespace muster

#endif  // MUSTER_SIMULATION_IN_PROCESS_POOL_H_
