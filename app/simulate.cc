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
#include "app/monitoring.h"
#include "app/run_directory.h"
#include "app/stop_on_signals.h"
#include "core/config.h"
#include "simulation/simulated_federation.h"
#include "simulation/torch_runtime.h"

namespace muster {
namespace {

absl::Status RunVirtualClients(const v1::Experiment& config, const std::string& dir, Journal& journal,
                               SimulatedFederation& federation, const RunFlags& flags, Log& log,
                               Monitoring& monitoring, std::chrono::steady_clock::time_point started) {
  const auto rounds = [&](std::vector<RoundListener*> listeners) {
    monitoring.AddTo(listeners);
    // The round in flight is finished first; a second signal costs it.
    const StopOnSignals<SimulatedFederation, &SimulatedFederation::RequestStop> stop_on_signals(&federation);
    return federation.Run(&journal, dir + "/journal/clients", std::move(listeners));
  };
  const absl::StatusOr<RunSummary> summary =
      RunInDirectory(config, dir, journal, federation, flags.progress(), started, rounds);
  monitoring.Ended(summary.status());
  MUSTER_RETURN_IF_ERROR(summary.status());
  TellSummary(*summary, dir, log);
  return absl::OkStatus();
}

}  // namespace

absl::Status Simulate(const SimulateArguments& arguments, const RunFlags& flags) {
  const auto started = std::chrono::steady_clock::now();
  MUSTER_ASSIGN_OR_RETURN(const ExperimentFile experiment,
                          LoadExperiment(arguments.config, arguments.overrides));
  const v1::Experiment& config = experiment.config;
  MUSTER_ASSIGN_OR_RETURN(const std::string dir, ChooseRunDirectory(arguments.out, config.name()));
  WarnAboutSlowBlas();
  absl::StatusOr<std::unique_ptr<SimulatedFederation>> made =
      SimulatedFederation::Create(config, WorkerCount(flags.workers));
  if (!made.ok()) return Annotate(made.status(), arguments.config);
  SimulatedFederation& federation = **made;

  const std::unique_ptr<Log> log = flags.OpenLog(config.name());
  MUSTER_ASSIGN_OR_RETURN(const auto monitoring,
                          Monitoring::Start(flags.monitoring, config, dir, /*committed=*/{}, federation, *log,
                                            /*failures_are_news=*/false));

  // Everything was checked; only now anything is written.
  MUSTER_ASSIGN_OR_RETURN(const std::unique_ptr<Journal> journal, CreateRun(config, dir));
  return RunVirtualClients(config, dir, *journal, federation, flags, *log, *monitoring, started);
}

absl::Status Resume(const std::string& dir, const RunFlags& flags) {
  const auto started = std::chrono::steady_clock::now();
  MUSTER_ASSIGN_OR_RETURN(const OpenedRun run, OpenRun(dir));
  MUSTER_ASSIGN_OR_RETURN(const bool coordinator, IsCoordinatorRun(*run.journal));
  if (coordinator) return ResumeCoordinator(dir, flags, *run.journal, run.config);
  WarnAboutSlowBlas();
  MUSTER_ASSIGN_OR_RETURN(const auto federation,
                          SimulatedFederation::Create(run.config, WorkerCount(flags.workers)));
  MUSTER_ASSIGN_OR_RETURN(const std::vector<RoundRecord> committed, CommittedRounds(*run.journal));
  const std::unique_ptr<Log> log = flags.OpenLog(run.config.name());
  MUSTER_ASSIGN_OR_RETURN(const auto monitoring,
                          Monitoring::Start(flags.monitoring, run.config, dir, committed, *federation, *log,
                                            /*failures_are_news=*/false));
  return RunVirtualClients(run.config, dir, *run.journal, *federation, flags, *log, *monitoring, started);
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
