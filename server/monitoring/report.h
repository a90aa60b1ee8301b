// Finished (or unfinished) runs as a page to show, and as a table for the terminal. Rounds count from 1 in
// both.
#ifndef MUSTER_SERVER_MONITORING_REPORT_H_
#define MUSTER_SERVER_MONITORING_REPORT_H_

#include <span>
#include <string>

#include "core/status.h"
#include "server/monitoring/run_files.h"

namespace muster {

// One self-contained HTML page about one or several runs: no request leaves it, text of the runs is escaped,
// curves are thinned to 1500 points. INVALID_ARGUMENT without runs.
absl::StatusOr<std::string> RenderReport(std::span<const Run> runs);

// One line a run: accuracy (loss for regression), rounds, traffic, and what was uploaded until 95 % of the
// best accuracy of all these runs was reached.
std::string ComparisonTable(std::span<const Run> runs);

}  // namespace muster

#endif  // MUSTER_SERVER_MONITORING_REPORT_H_
