// The client pool of a simulation in one process: virtual clients trained by worker threads.
#ifndef MUSTER_SIMULATION_IN_PROCESS_POOL_H_
#define MUSTER_SIMULATION_IN_PROCESS_POOL_H_

#include <functional>

#include "simulation/virtual_client_pool.h"
#include "simulation/worker_threads.h"

namespace muster {

class InProcessPool final : public VirtualClientPool {
 public:
  // All outlive the pool. `labels`: as for VirtualClients::Describe.
  InProcessPool(const VirtualClients& clients, StateStore& states, WorkerThreads& workers, bool labels)
      : VirtualClientPool(clients, states, labels), workers_(workers) {}

 private:
  absl::Status Train(Bout& bout, const std::function<bool()>& cancelled) override;
  int width() const override { return workers_.count(); }

  WorkerThreads& workers_;
};

}  // namespace muster

#endif  // MUSTER_SIMULATION_IN_PROCESS_POOL_H_
