// `muster worker`: one of the processes that train a simulation's clients.
#include "absl/strings/str_cat.h"
#include "app/commands.h"
#include "app/experiment.h"
#include "app/monitoring.h"
#include "server/monitoring/worker_metrics.h"

namespace muster {

absl::Status Worker(const WorkerArguments& arguments, const WorkersFlags& flags, const LogFlags& log_flags) {
  MUSTER_ASSIGN_OR_RETURN(const std::optional<WorkerPlace> place, PlaceFromEnvironment());
  if (!place) {
    return InvalidInput(
        "a worker needs its place among all processes: set RANK, WORLD_SIZE, MASTER_ADDR and MASTER_PORT, or "
        "let torchrun, mpirun or srun do so (muster simulate --launch N starts workers by itself)");
  }
  if (place->rank == 0) {
    return InvalidInput("RANK: 0 coordinates; start it as muster simulate, and workers as 1 and up");
  }
  MUSTER_ASSIGN_OR_RETURN(const ExperimentFile experiment,
                          LoadExperiment(arguments.config, arguments.overrides));
  MUSTER_ASSIGN_OR_RETURN(const auto device, arguments.device.Find(place->local_rank));
  const int threads = ThreadsOfProcess(arguments.threads, 0);
  WorkerProcessMetrics metrics(experiment.config.name(), MUSTER_VERSION, place->rank, threads);
  const std::unique_ptr<Log> log = log_flags.Open(experiment.config.name(), /*progress_line=*/false);
  MUSTER_ASSIGN_OR_RETURN(const std::unique_ptr<HttpServer> server,
                          ServeMetrics(
                              arguments.metrics, [&metrics] { return metrics.Text(); }, *log));
  return WorkFor(*place, experiment.config, flags, threads, device,
                 [&metrics](double seconds) { metrics.Trained(seconds); });
}

}  // namespace muster
