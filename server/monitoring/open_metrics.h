// A run's history in the OpenMetrics text format, for `promtool tsdb create-blocks-from openmetrics`.
#ifndef MUSTER_SERVER_MONITORING_OPEN_METRICS_H_
#define MUSTER_SERVER_MONITORING_OPEN_METRICS_H_

#include <span>
#include <string>

#include "server/monitoring/run_files.h"

namespace muster {

struct RunHistory {
  const Run* run = nullptr;
  std::string federation;  // the label
  double end = 0;          // when its last round was committed, seconds since the epoch
};

// A sample of every metric of AllMetrics() that a record tells, after every round, under the names the live
// metrics have, so that dashboards show both. Rounds lie before `end` by the times they took; counters count
// from the first round.
std::string OpenMetricsText(std::span<const RunHistory> histories);

}  // namespace muster

#endif  // MUSTER_SERVER_MONITORING_OPEN_METRICS_H_
