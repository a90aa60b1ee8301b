// Simulations in many processes: flags, what the processes must have in common, and starting them.
#ifndef MUSTER_APP_WORKERS_H_
#define MUSTER_APP_WORKERS_H_

#include <sys/types.h>

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/status.h"
#include "muster/v1/experiment.pb.h"
#include "simulation/simulated_federation.h"
#include "simulation/worker_group.h"

namespace CLI {
class App;
}

namespace muster {

// --launch, --patience, --collective.
struct WorkersFlags {
  int launch = 0;                // worker processes to start; 0: none
  double patience_seconds = 60;  // for processes that do not come or fall silent
  std::string collective = "gloo";

  void AddTo(CLI::App* command);
  void AddCommonTo(CLI::App* command);  // those that all processes need
};

// Threads that train: what was asked for, or this process's share of the cores, of which `processes` (0: as
// the launcher's environment says) are on this machine.
int ThreadsOfProcess(int asked, int processes);

// Worker processes of this program's own, on this machine. They die with it.
class LaunchedWorkers {
 public:
  // Starts `count` times `muster worker ARGUMENTS`, as ranks 1 to `count` of a group whose store is at
  // `port`.
  static absl::StatusOr<std::unique_ptr<LaunchedWorkers>> Start(int count, int port,
                                                                const std::vector<std::string>& arguments);
  // Gives them some seconds to end by themselves.
  ~LaunchedWorkers();
  LaunchedWorkers(const LaunchedWorkers&) = delete;
  LaunchedWorkers& operator=(const LaunchedWorkers&) = delete;

  // UNAVAILABLE once one has ended.
  absl::Status AllRun();
  bool HasEnded(int rank) const;

 private:
  LaunchedWorkers() = default;

  std::map<int, pid_t> running_;  // by rank
};

// The workers of a simulation that this process coordinates.
class Workers {
 public:
  // None: everything is done in this process. `place`: where a launcher put it. `arguments` are those of
  // workers to be launched; `threads` train in this process.
  static absl::StatusOr<std::unique_ptr<Workers>> Gather(const WorkersFlags& flags,
                                                         const std::optional<WorkerPlace>& place,
                                                         const v1::Experiment& config,
                                                         const SimulatedFederation& federation, int threads,
                                                         std::vector<std::string> arguments);

  WorkerGroup& group() { return *group_; }
  // Launched workers train alone; under a launcher rank 0 is one of them.
  bool train_here() const { return launched_ == nullptr; }

 private:
  Workers() = default;

  std::unique_ptr<LaunchedWorkers> launched_;  // ends after the group has
  std::unique_ptr<WorkerGroup> group_;
};

// Takes part as the worker that `place` says, until rank 0 ends it. `device`: as SimulatedFederation's;
// `trained`: as ServeAsWorker's.
absl::Status WorkFor(const WorkerPlace& place, const v1::Experiment& config, const WorkersFlags& flags,
                     int threads, const std::shared_ptr<ComputeDevice>& device,
                     const std::function<void(double)>& trained = {});

}  // namespace muster

#endif  // MUSTER_APP_WORKERS_H_
