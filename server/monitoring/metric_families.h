// A process's metrics by name, checked against the table that documents them.
#ifndef MUSTER_SERVER_MONITORING_METRIC_FAMILIES_H_
#define MUSTER_SERVER_MONITORING_METRIC_FAMILIES_H_

#include <prometheus/counter.h>
#include <prometheus/family.h>
#include <prometheus/gauge.h>
#include <prometheus/histogram.h>
#include <prometheus/registry.h>

#include <map>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "server/monitoring/metrics.h"

namespace muster {

// Making families and members: one thread at a time. Changing their values and Text(): any.
class MetricFamilies {
 public:
  using Labels = prometheus::Labels;
  template <typename Metric>
  using Family = prometheus::Family<Metric>;

  // `labels` are on every metric. `version` is muster_build_info's.
  MetricFamilies(Labels labels, const std::string& version);

  // A metric of AllMetrics() or ClientProcessMetricTable(), made when it is first used; a name that neither
  // knows ends the program.
  Family<prometheus::Gauge>& gauges(std::string_view name);
  prometheus::Gauge& gauge(std::string_view name);
  prometheus::Counter& counter(std::string_view name, const Labels& more = {});
  prometheus::Histogram& histogram(std::string_view name, const Labels& more = {},
                                   const prometheus::Histogram::BucketBoundaries& buckets = Durations());
  // Values by a label, instead of those that were there.
  void Replace(std::string_view name, const std::vector<std::pair<Labels, double>>& values);

  // Prometheus's text format, with what the process uses as it is now.
  std::string Text();

  // Bounds from a millisecond to a day.
  static prometheus::Histogram::BucketBoundaries Durations();

 private:
  template <typename Metric, typename Builder>
  Family<Metric>& Get(std::map<std::string, Family<Metric>*, std::less<>>& families, Builder build,
                      std::string_view name);

  const Labels labels_;
  prometheus::Registry registry_;
  std::map<std::string, Family<prometheus::Gauge>*, std::less<>> gauge_families_;
  std::map<std::string, Family<prometheus::Counter>*, std::less<>> counter_families_;
  std::map<std::string, Family<prometheus::Histogram>*, std::less<>> histogram_families_;
  // Members without labels of their own: asked for in every round.
  std::map<std::string, prometheus::Gauge*, std::less<>> plain_gauges_;
  std::map<std::string, prometheus::Counter*, std::less<>> plain_counters_;
  std::map<std::string, std::vector<prometheus::Gauge*>> replaced_;
  prometheus::Gauge* resident_ = nullptr;
  prometheus::Gauge* descriptors_ = nullptr;
  prometheus::Counter* cpu_ = nullptr;
};

}  // namespace muster

#endif  // MUSTER_SERVER_MONITORING_METRIC_FAMILIES_H_
