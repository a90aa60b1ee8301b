// A run in its directory: chosen, started or gone on with, and its results, however clients are reached.
#ifndef MUSTER_APP_RUN_DIRECTORY_H_
#define MUSTER_APP_RUN_DIRECTORY_H_

#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "core/status.h"
#include "muster/v1/experiment.pb.h"
#include "server/journal/journal.h"
#include "server/monitoring/metrics_endpoint.h"
#include "server/monitoring/progress.h"
#include "server/monitoring/run_files.h"
#include "server/rounds/events.h"
#include "simulation/simulated_federation.h"

namespace muster {

// Threads: what was asked for, or one per core.
int WorkerCount(int asked);

// The asked folder, or runs/NAME, runs/NAME-2, ... INVALID_ARGUMENT if the asked one holds something already.
absl::StatusOr<std::string> ChooseRunDirectory(const std::string& asked, const std::string& name);

// Makes the folder and its journal, which knows the configuration from then on.
absl::StatusOr<std::unique_ptr<Journal>> CreateRun(const v1::Experiment& config, const std::string& dir);

struct OpenedRun {
  std::unique_ptr<Journal> journal;
  v1::Experiment config;  // the run's own
};
absl::StatusOr<OpenedRun> OpenRun(const std::string& dir);

// Serves the run's metrics at `address` from now on and says where; null if `address` is "".
absl::StatusOr<std::unique_ptr<MetricsEndpoint>> ServeMetrics(const std::string& address,
                                                              const v1::Experiment& config);

// What runs the rounds: gives the engine the listeners, returns the final model.
using Rounds = std::function<absl::StatusOr<std::vector<float>>(std::vector<RoundListener*>)>;

// Runs `rounds` of a made federation to their end, from wherever the journal is, and writes the directory's
// files. `started`: when this process began to work on the run.
absl::StatusOr<RunSummary> RunInDirectory(const v1::Experiment& config, const std::string& dir,
                                          Journal& journal, const SimulatedFederation& federation,
                                          ProgressMode mode, std::chrono::steady_clock::time_point started,
                                          const Rounds& rounds);

// What a person at the terminal wants to know of a run that has ended.
void PrintSummary(const RunSummary& summary, const std::string& dir);

}  // namespace muster

#endif  // MUSTER_APP_RUN_DIRECTORY_H_
