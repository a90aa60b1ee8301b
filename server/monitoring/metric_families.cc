#include "server/monitoring/metric_families.h"

#include <prometheus/text_serializer.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>

namespace muster {
namespace {

using prometheus::Counter;
using prometheus::Gauge;
using prometheus::Histogram;

const MetricInfo& Info(std::string_view name) {
  for (const std::span<const MetricInfo> table :
       {AllMetrics(), ClientProcessMetricTable(), WorkerProcessMetricTable()}) {
    const auto found = std::find_if(table.begin(), table.end(),
                                    [name](const MetricInfo& info) { return info.name == name; });
    if (found != table.end()) return *found;
  }
  std::abort();  // a metric that the documentation does not know
}

double ResidentBytes() {
  std::ifstream statm("/proc/self/statm");
  int64_t pages = 0, resident = 0;
  statm >> pages >> resident;
  return static_cast<double>(resident) * static_cast<double>(sysconf(_SC_PAGESIZE));
}

double OpenDescriptors() {
  std::error_code error;
  const std::filesystem::directory_iterator begin("/proc/self/fd", error);
  return error ? 0 : static_cast<double>(std::distance(begin, std::filesystem::directory_iterator()));
}

double CpuSeconds() {
  rusage usage = {};
  getrusage(RUSAGE_SELF, &usage);
  const auto seconds = [](const timeval& time) {
    return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) * 1e-6;
  };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

}  // namespace

MetricFamilies::MetricFamilies(Labels labels, const std::string& version) : labels_(std::move(labels)) {
  gauges("muster_build_info").Add({{"version", version}}).Set(1);
  resident_ = &gauge("process_resident_memory_bytes");
  descriptors_ = &gauge("process_open_fds");
  cpu_ = &counter("process_cpu_seconds_total");
  gauge("process_start_time_seconds")
      .Set(std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count());
}

template <typename Metric, typename Builder>
MetricFamilies::Family<Metric>& MetricFamilies::Get(
    std::map<std::string, Family<Metric>*, std::less<>>& families, Builder build, std::string_view name) {
  const auto known = families.find(name);
  if (known != families.end()) return *known->second;
  const MetricInfo& info = Info(name);
  Family<Metric>& family =
      build().Name(std::string(info.name)).Help(std::string(info.help)).Labels(labels_).Register(registry_);
  families.emplace(name, &family);
  return family;
}

MetricFamilies::Family<Gauge>& MetricFamilies::gauges(std::string_view name) {
  return Get(gauge_families_, prometheus::BuildGauge, name);
}
Gauge& MetricFamilies::gauge(std::string_view name) {
  const auto known = plain_gauges_.find(name);
  if (known != plain_gauges_.end()) return *known->second;
  return *plain_gauges_.emplace(name, &gauges(name).Add({})).first->second;
}
Counter& MetricFamilies::counter(std::string_view name, const Labels& more) {
  const auto known = plain_counters_.find(name);
  if (more.empty() && known != plain_counters_.end()) return *known->second;
  Counter& made = Get(counter_families_, prometheus::BuildCounter, name).Add(more);
  if (more.empty()) plain_counters_.emplace(name, &made);
  return made;
}
Histogram& MetricFamilies::histogram(std::string_view name, const Labels& more,
                                     const Histogram::BucketBoundaries& buckets) {
  return Get(histogram_families_, prometheus::BuildHistogram, name).Add(more, buckets);
}

void MetricFamilies::Replace(std::string_view name, const std::vector<std::pair<Labels, double>>& values) {
  Family<Gauge>& family = gauges(name);
  std::vector<Gauge*>& members = replaced_[std::string(name)];
  for (Gauge* const old : members) family.Remove(old);
  members.clear();
  for (const auto& [more, value] : values) {
    Gauge& gauge = family.Add(more);
    gauge.Set(value);
    members.push_back(&gauge);
  }
}

std::string MetricFamilies::Text() {
  resident_->Set(ResidentBytes());
  descriptors_->Set(OpenDescriptors());
  if (const double more = CpuSeconds() - cpu_->Value(); more > 0) cpu_->Increment(more);
  std::ostringstream text;
  prometheus::TextSerializer().Serialize(text, registry_.Collect());
  return text.str();
}

Histogram::BucketBoundaries MetricFamilies::Durations() {
  return {0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1,  0.25, 0.5,  1,
          2.5,   5,      10,    30,   60,    300,  1800, 7200, 86400};
}

}  // namespace muster
