// Prometheus metrics of one simulation worker's process (`muster worker --metrics`).
#ifndef MUSTER_SERVER_MONITORING_WORKER_METRICS_H_
#define MUSTER_SERVER_MONITORING_WORKER_METRICS_H_

#include <memory>
#include <string>

namespace prometheus {
class Histogram;
}

namespace muster {

class MetricFamilies;

// Thread-safe.
class WorkerProcessMetrics final {
 public:
  // `federation` becomes a label of every metric.
  WorkerProcessMetrics(const std::string& federation, const std::string& version, int rank, int threads);
  ~WorkerProcessMetrics();

  // A client was trained, in so many seconds.
  void Trained(double seconds);
  // Prometheus's text format.
  std::string Text() const;

 private:
  const std::unique_ptr<MetricFamilies> families_;
  prometheus::Histogram* training_;
};

}  // namespace muster

#endif  // MUSTER_SERVER_MONITORING_WORKER_METRICS_H_
