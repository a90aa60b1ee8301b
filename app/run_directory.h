// A run in its directory: chosen, started or gone on with, and its results, however clients are reached.
#ifndef MUSTER_APP_RUN_DIRECTORY_H_
#define MUSTER_APP_RUN_DIRECTORY_H_

#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "core/log.h"
#include "core/status.h"
#include "muster/v1/experiment.pb.h"
#include "server/journal/journal.h"
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

// What runs the rounds: gives the engine the listeners, returns the final model.
using Rounds = std::function<absl::StatusOr<std::vector<float>>(std::vector<RoundListener*>)>;

// Runs `rounds` of a made federation to their end, from wherever the journal is, and writes the directory's
// files. `started`: when this process began to work on the run.
absl::StatusOr<RunSummary> RunInDirectory(const v1::Experiment& config, const std::string& dir,
                                          Journal& journal, const SimulatedFederation& federation,
                                          ProgressMode mode, std::chrono::steady_clock::time_point started,
                                          const Rounds& rounds);

// What one wants to know of a run that has ended: some lines for a person, or an event of a log of JSON
// lines.
void TellSummary(const RunSummary& summary, const std::string& dir, Log& log);

}  // namespace muster

#endif  // MUSTER_APP_RUN_DIRECTORY_H_
