// A worker: trains the virtual clients that rank 0 gives to it.
#ifndef MUSTER_SIMULATION_WORKER_H_
#define MUSTER_SIMULATION_WORKER_H_

#include <functional>

#include "core/status.h"
#include "simulation/virtual_clients.h"
#include "simulation/worker_group.h"
#include "simulation/worker_threads.h"

namespace muster {

// Works until rank 0 says that the simulation is over, from a group that is formed. UNAVAILABLE if rank 0 is
// gone or went on without this worker. `trained` is told how many seconds each client took, from the
// trainers' threads; it may be empty. `aggregator` is the federation's: updates are folded here where that
// makes less to send.
absl::Status ServeAsWorker(const VirtualClients& clients, WorkerThreads& threads,
                           const PluginConfig& aggregator, WorkerGroup& group,
                           const std::function<void(double)>& trained = {});

}  // namespace muster

#endif  // MUSTER_SIMULATION_WORKER_H_
