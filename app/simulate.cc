// `muster simulate`, `muster resume`, `muster validate`: a whole federation in this process.
#include <chrono>
#include <cstdio>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "app/commands.h"
#include "app/coordinator.h"
#include "app/experiment.h"
#include "app/run_directory.h"
#include "app/stop_on_signals.h"
#include "core/config.h"
#include "simulation/simulated_federation.h"
#include "simulation/torch_runtime.h"

namespace muster {
namespace {

absl::Status RunVirtualClients(const v1::Experiment& config, const std::string& dir, Journal& journal,
                               SimulatedFederation& federation, ProgressMode mode, RoundListener* metrics,
                               std::chrono::steady_clock::time_point started) {
  const auto rounds = [&](std::vector<RoundListener*> listeners) {
    if (metrics != nullptr) listeners.push_back(metrics);
    // The round in flight is finished first; a second signal costs it.
    const StopOnSignals<SimulatedFederation, &SimulatedFederation::RequestStop> stop_on_signals(&federation);
    return federation.Run(&journal, dir + "/journal/clients", std::move(listeners));
  };
  MUSTER_ASSIGN_OR_RETURN(const RunSummary summary,
                          RunInDirectory(config, dir, journal, federation, mode, started, rounds));
  PrintSummary(summary, dir);
  return absl::OkStatus();
}

}  // namespace

absl::Status Simulate(const SimulateArguments& arguments) {
  const auto started = std::chrono::steady_clock::now();
  MUSTER_ASSIGN_OR_RETURN(const ExperimentFile experiment,
                          LoadExperiment(arguments.config, arguments.overrides));
  const v1::Experiment& config = experiment.config;
  MUSTER_ASSIGN_OR_RETURN(const std::string dir, ChooseRunDirectory(arguments.out, config.name()));
  WarnAboutSlowBlas();
  absl::StatusOr<std::unique_ptr<SimulatedFederation>> made =
      SimulatedFederation::Create(config, WorkerCount(arguments.workers));
  if (!made.ok()) return Annotate(made.status(), arguments.config);
  SimulatedFederation& federation = **made;

  MUSTER_ASSIGN_OR_RETURN(const auto metrics, ServeMetrics(arguments.metrics, config));

  // Everything was checked; only now anything is written.
  MUSTER_ASSIGN_OR_RETURN(const std::unique_ptr<Journal> journal, CreateRun(config, dir));
  return RunVirtualClients(config, dir, *journal, federation, arguments.progress, metrics.get(), started);
}

absl::Status Resume(const ResumeArguments& arguments) {
  const auto started = std::chrono::steady_clock::now();
  MUSTER_ASSIGN_OR_RETURN(const OpenedRun run, OpenRun(arguments.dir));
  MUSTER_ASSIGN_OR_RETURN(const bool coordinator, IsCoordinatorRun(*run.journal));
  if (coordinator) return ResumeCoordinator(arguments, *run.journal, run.config);
  WarnAboutSlowBlas();
  MUSTER_ASSIGN_OR_RETURN(const auto federation,
                          SimulatedFederation::Create(run.config, WorkerCount(arguments.workers)));
  MUSTER_ASSIGN_OR_RETURN(const auto metrics, ServeMetrics(arguments.metrics, run.config));
  return RunVirtualClients(run.config, arguments.dir, *run.journal, *federation, arguments.progress,
                           metrics.get(), started);
}

absl::Status Validate(const std::string& path, const std::vector<std::string>& overrides, bool print) {
  MUSTER_ASSIGN_OR_RETURN(const ExperimentFile experiment, LoadExperiment(path, overrides));
  const auto federation = SimulatedFederation::Create(experiment.config, 1);
  if (!federation.ok()) return Annotate(federation.status(), path);
  if (print) {
    std::printf("%s", ConfigToYaml(experiment.config).c_str());
  } else {
    std::printf("%s: good (%lld clients, %lld training samples, %lld parameters)\n", path.c_str(),
                static_cast<long long>((*federation)->data().clients()),
                static_cast<long long>((*federation)->data().training.total_samples()),
                static_cast<long long>((*federation)->layout().size));
  }
  return absl::OkStatus();
}

}  // namespace muster
