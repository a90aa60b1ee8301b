// `muster simulate`, `muster resume`, `muster validate`: a whole federation in this process.
#include <chrono>
#include <cstdio>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "app/commands.h"
#include "app/coordinator.h"
#include "app/experiment.h"
#include "app/monitoring.h"
#include "app/run_directory.h"
#include "app/stop_on_signals.h"
#include "app/workers.h"
#include "core/config.h"
#include "simulation/simulated_federation.h"
#include "simulation/torch_runtime.h"

namespace muster {
namespace {

constexpr char kDeviceFact[] = "device";  // KindOf what trains, in the journal

absl::Status RunVirtualClients(const v1::Experiment& config, const std::string& dir, Journal& journal,
                               SimulatedFederation& federation, Workers* workers, const RunFlags& flags,
                               Log& log, Monitoring& monitoring,
                               std::chrono::steady_clock::time_point started) {
  const auto rounds = [&](std::vector<RoundListener*> listeners) {
    monitoring.AddTo(listeners);
    // The round in flight is finished first; a second signal costs it.
    const StopOnSignals<SimulatedFederation, &SimulatedFederation::RequestStop> stop_on_signals(&federation);
    const std::string states = dir + "/journal/clients";
    if (workers == nullptr) return federation.Run(&journal, states, std::move(listeners));
    const auto lost = [&log](const std::string& what) {
      log.Write({.severity = Severity::kWarning, .name = "worker_lost", .message = what});
    };
    return federation.RunOnWorkers(workers->group(), workers->train_here(), lost, &journal, states,
                                   std::move(listeners));
  };
  const absl::StatusOr<RunSummary> summary =
      RunInDirectory(config, dir, journal, federation, flags.progress(), started, rounds);
  monitoring.Ended(summary.status());
  MUSTER_RETURN_IF_ERROR(summary.status());
  TellSummary(*summary, dir, log);
  return absl::OkStatus();
}

// nullptr: this process does everything itself.
absl::StatusOr<std::unique_ptr<Workers>> GatherWorkers(const WorkersFlags& flags,
                                                       const std::optional<WorkerPlace>& place,
                                                       const v1::Experiment& config,
                                                       const SimulatedFederation& federation,
                                                       const RunFlags& run,
                                                       std::vector<std::string> arguments, Log& log) {
  const int each = ThreadsOfProcess(run.workers, flags.launch);
  arguments.push_back(absl::StrCat("--workers=", each));
  arguments.push_back(absl::StrCat("--device=", run.device.name));
  MUSTER_ASSIGN_OR_RETURN(auto workers,
                          Workers::Gather(flags, place, config, federation, each, std::move(arguments)));
  if (workers == nullptr) return workers;
  int threads = 0;
  for (const WorkerGroup::Member& member : workers->group().members()) {
    if (member.rank > 0 || workers->train_here()) threads += member.threads;
  }
  log.Write({.name = "workers",
             .message = absl::StrCat(flags.launch > 0 ? flags.launch : place->size, " workers, ", threads,
                                     " threads")});
  return workers;
}

}  // namespace

absl::Status Simulate(const SimulateArguments& arguments, const RunFlags& flags,
                      const WorkersFlags& workers_flags) {
  const auto started = std::chrono::steady_clock::now();
  MUSTER_ASSIGN_OR_RETURN(const ExperimentFile experiment,
                          LoadExperiment(arguments.config, arguments.overrides));
  const v1::Experiment& config = experiment.config;
  MUSTER_ASSIGN_OR_RETURN(const std::optional<WorkerPlace> place, PlaceFromEnvironment());
  MUSTER_ASSIGN_OR_RETURN(const auto device, flags.device.Find(place ? place->local_rank : 0));
  const int threads = ThreadsOfProcess(flags.workers, 0);
  if (place && place->rank > 0) return WorkFor(*place, config, workers_flags, threads, device);
  MUSTER_ASSIGN_OR_RETURN(const std::string dir, ChooseRunDirectory(arguments.out, config.name()));
  WarnAboutSlowBlas();
  absl::StatusOr<std::unique_ptr<SimulatedFederation>> made =
      SimulatedFederation::Create(config, threads, device);
  if (!made.ok()) return Annotate(made.status(), arguments.config);
  SimulatedFederation& federation = **made;

  const std::unique_ptr<Log> log = flags.OpenLog(config.name());
  MUSTER_ASSIGN_OR_RETURN(const auto monitoring,
                          Monitoring::Start(flags.monitoring, config, dir, /*committed=*/{}, federation, *log,
                                            /*failures_are_news=*/false));
  std::vector<std::string> worker_arguments = {arguments.config};
  for (const std::string& override : arguments.overrides) {
    worker_arguments.push_back(absl::StrCat("--set=", override));
  }
  MUSTER_ASSIGN_OR_RETURN(const auto workers, GatherWorkers(workers_flags, place, config, federation, flags,
                                                            std::move(worker_arguments), *log));

  // Everything was checked; only now anything is written.
  MUSTER_ASSIGN_OR_RETURN(const std::unique_ptr<Journal> journal, CreateRun(config, dir));
  MUSTER_RETURN_IF_ERROR(journal->Put(kDeviceFact, KindOf(device)));
  return RunVirtualClients(config, dir, *journal, federation, workers.get(), flags, *log, *monitoring,
                           started);
}

absl::Status Resume(const std::string& dir, const RunFlags& flags, const WorkersFlags& workers_flags) {
  const auto started = std::chrono::steady_clock::now();
  MUSTER_ASSIGN_OR_RETURN(const std::optional<WorkerPlace> place, PlaceFromEnvironment());
  MUSTER_ASSIGN_OR_RETURN(const auto device, flags.device.Find(place ? place->local_rank : 0));
  const int threads = ThreadsOfProcess(flags.workers, 0);
  const std::string effective = dir + "/config.yaml";
  if (place && place->rank > 0) {
    MUSTER_ASSIGN_OR_RETURN(const ExperimentFile experiment, LoadExperiment(effective, {}));
    return WorkFor(*place, experiment.config, workers_flags, threads, device);
  }
  MUSTER_ASSIGN_OR_RETURN(const OpenedRun run, OpenRun(dir));
  MUSTER_ASSIGN_OR_RETURN(const bool coordinator, IsCoordinatorRun(*run.journal));
  if (coordinator) return ResumeCoordinator(dir, flags, *run.journal, run.config);
  MUSTER_ASSIGN_OR_RETURN(const std::optional<std::string> begun_on, run.journal->Get(kDeviceFact));
  const std::string kind = begun_on.value_or(KindOf(nullptr));
  if (kind != KindOf(device)) {
    return InvalidInput(absl::StrCat("--device: the run in ", dir, " was begun on ", kind,
                                     ", and goes on to the same bits only there; resume it with --device ",
                                     kind));
  }
  WarnAboutSlowBlas();
  MUSTER_ASSIGN_OR_RETURN(const auto federation, SimulatedFederation::Create(run.config, threads, device));
  MUSTER_ASSIGN_OR_RETURN(const std::vector<RoundRecord> committed, CommittedRounds(*run.journal));
  const std::unique_ptr<Log> log = flags.OpenLog(run.config.name());
  MUSTER_ASSIGN_OR_RETURN(const auto monitoring,
                          Monitoring::Start(flags.monitoring, run.config, dir, committed, *federation, *log,
                                            /*failures_are_news=*/false));
  MUSTER_ASSIGN_OR_RETURN(const auto workers, GatherWorkers(workers_flags, place, run.config, *federation,
                                                            flags, {effective}, *log));
  return RunVirtualClients(run.config, dir, *run.journal, *federation, workers.get(), flags, *log,
                           *monitoring, started);
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
