// Prometheus metrics of a federation, fed by the engine's events. docs/metrics.md is the table below.
#ifndef MUSTER_SERVER_MONITORING_METRICS_H_
#define MUSTER_SERVER_MONITORING_METRICS_H_

#include <functional>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include "server/rounds/events.h"

namespace muster {

struct MetricInfo {
  std::string_view name;
  std::string_view type;    // "counter", "gauge", "histogram"
  std::string_view labels;  // beside "federation", which all have; "" for none
  std::string_view help;
};
// What a coordinator knows of its links to clients.
struct Connections {
  std::map<std::string, int64_t> states;  // connected clients, by what they do
  int64_t heartbeats = 0;                 // received since the process started
};
// Every metric of a run there is, in the order of the documentation.
std::span<const MetricInfo> AllMetrics();
// Those of a client's process, beside muster_build_info and process_*.
std::span<const MetricInfo> ClientProcessMetricTable();
std::span<const MetricInfo> WorkerProcessMetricTable();  // likewise of a simulation worker's process
// Stage and code of a failure as labels: of a closed set of words, whatever a peer said.
std::pair<std::string, std::string> FailureLabels(const ClientFailure& failure);
// docs/metrics.md.
std::string MetricsDocumentation();

// Counters count since this process started, as Prometheus expects (rate() and increase() see restarts);
// gauges tell of the run. The number of time series does not grow with the number of clients. On() as in
// RoundListener; Text() from any thread, and never waits for a round.
class Metrics final : public RoundListener {
 public:
  // `federation` becomes the label of that name on every metric.
  Metrics(const std::string& federation, const std::string& version);
  ~Metrics() override;

  void On(const Event& event) override;
  bool WantsUpdateNorms() const override { return true; }
  // Asked whenever metrics are read, from the reading thread.
  void SetConnections(std::function<Connections()> connections);
  // Prometheus's text format.
  std::string Text() const;

 private:
  struct Families;
  void Answered(const ClientFinished& client);
  void Committed(const RoundRecord& record);

  const std::unique_ptr<Families> families_;
};

}  // namespace muster

#endif  // MUSTER_SERVER_MONITORING_METRICS_H_
