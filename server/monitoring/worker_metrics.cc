#include "server/monitoring/worker_metrics.h"

#include "server/monitoring/metric_families.h"

namespace muster {

WorkerProcessMetrics::WorkerProcessMetrics(const std::string& federation, const std::string& version,
                                           int rank, int threads)
    : families_(
          std::make_unique<MetricFamilies>(MetricFamilies::Labels{{"federation", federation}}, version)),
      training_(&families_->histogram("muster_worker_training_duration_seconds")) {
  families_->gauge("muster_worker_rank").Set(rank);
  families_->gauge("muster_worker_threads").Set(threads);
}

WorkerProcessMetrics::~WorkerProcessMetrics() = default;

void WorkerProcessMetrics::Trained(double seconds) { training_->Observe(seconds); }

std::string WorkerProcessMetrics::Text() const { return families_->Text(); }

}  // namespace muster
