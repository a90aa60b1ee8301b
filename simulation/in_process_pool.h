// The client pool of a simulation in one process: virtual clients trained by worker threads.
#ifndef MUSTER_SIMULATION_IN_PROCESS_POOL_H_
#define MUSTER_SIMULATION_IN_PROCESS_POOL_H_

#include <memory>
#include <span>
#include <vector>

#include "client/state_store.h"
#include "client/task_runner.h"
#include "core/mutex.h"
#include "learning/federated_data.h"
#include "server/rounds/client_pool.h"
#include "simulation/worker_threads.h"

namespace muster {

// An idle client costs its list of samples and a ClientInfo, nothing else.
class InProcessPool final : public ClientPool {
 public:
  // All outlive the pool.
  InProcessPool(const FederatedData& data, WorkerThreads& workers, StateStore& states,
                const ErrorFeedback& feedback, double lose_updates);

  std::span<const ClientInfo> Available() const override { return clients_; }
  absl::Status Run(const Task& task, std::span<const ClientId> cohort, absl::FunctionRef<bool(Outcome)> sink,
                   const std::function<bool()>& cancelled) override;

 private:
  // Trains `cohort`, all of it; returns how many updates the sink took.
  absl::StatusOr<int64_t> RunAll(const Task& task, std::span<const ClientId> cohort,
                                 absl::FunctionRef<bool(Outcome)> sink,
                                 const std::function<bool()>& cancelled);
  // On return `update` has what the client remembers after it, whatever becomes of it; `memory` is from
  // before.
  Outcome TrainClient(LocalTrainer& trainer, const Task& task, ClientId client, const State& memory,
                      LocalUpdate& update) const;

  const FederatedData& data_;
  WorkerThreads& workers_;
  StateStore& states_;
  const ErrorFeedback& feedback_;
  const double lose_updates_;  // share of updates that are lost on their way
  std::vector<ClientInfo> clients_;
};

}  // namespace muster

#endif  // MUSTER_SIMULATION_IN_PROCESS_POOL_H_
