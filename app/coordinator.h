// `muster coordinator`: a federation of real clients.
#ifndef MUSTER_APP_COORDINATOR_H_
#define MUSTER_APP_COORDINATOR_H_

#include <string>

#include "app/run_flags.h"
#include "core/status.h"
#include "muster/v1/experiment.pb.h"
#include "server/journal/journal.h"

namespace muster {

// Whether the run was begun by `muster coordinator`.
absl::StatusOr<bool> IsCoordinatorRun(Journal& journal);

// Goes on with such a run, where and how it was served before.
absl::Status ResumeCoordinator(const std::string& dir, const RunFlags& flags, Journal& journal,
                               const v1::Experiment& config);

}  // namespace muster

#endif  // MUSTER_APP_COORDINATOR_H_
