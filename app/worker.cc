// `muster worker`: one of the processes that train a simulation's clients.
#include "absl/strings/str_cat.h"
#include "app/commands.h"
#include "app/experiment.h"

namespace muster {

absl::Status Worker(const std::string& config, const std::vector<std::string>& overrides,
                    const WorkersFlags& flags, int threads) {
  MUSTER_ASSIGN_OR_RETURN(const std::optional<WorkerPlace> place, PlaceFromEnvironment());
  if (!place) {
    return InvalidInput(
        "a worker needs its place among all processes: set RANK, WORLD_SIZE, MASTER_ADDR and MASTER_PORT, or "
        "let "
        "torchrun, mpirun or srun do so (muster simulate --launch N starts workers by itself)");
  }
  if (place->rank == 0) {
    return InvalidInput("RANK: 0 coordinates; start it as muster simulate, and workers as 1 and up");
  }
  MUSTER_ASSIGN_OR_RETURN(const ExperimentFile experiment, LoadExperiment(config, overrides));
  return WorkFor(*place, experiment.config, flags, ThreadsOfProcess(threads, 0));
}

}  // namespace muster
