#include "server/monitoring/client_metrics.h"

#include <utility>

#include "server/monitoring/metric_families.h"

namespace muster {

ClientProcessMetrics::ClientProcessMetrics(const std::string& federation, const std::string& version,
                                           std::function<int64_t()> spooled)
    : families_(
          std::make_unique<MetricFamilies>(MetricFamilies::Labels{{"federation", federation}}, version)),
      spooled_(std::move(spooled)) {
  MetricFamilies& f = *families_;
  for (const char* name :
       {"muster_edge_sessions_total", "muster_edge_disconnects_total", "muster_edge_upload_bytes_total"}) {
    f.counter(name);
  }
  for (const char* outcome : {"accepted", "refused"})
    f.counter("muster_edge_rounds_total", {{"outcome", outcome}});
  for (const char* name : {"muster_edge_connected", "muster_edge_last_round", "muster_edge_train_loss"}) {
    f.gauge(name);
  }
  f.histogram("muster_edge_training_duration_seconds");
  spool_ = &f.gauge("muster_edge_spool_bytes");
}

ClientProcessMetrics::~ClientProcessMetrics() = default;

void ClientProcessMetrics::Joined() {
  families_->counter("muster_edge_sessions_total").Increment();
  families_->gauge("muster_edge_connected").Set(1);
}

void ClientProcessMetrics::Disconnected() {
  families_->counter("muster_edge_disconnects_total").Increment();
  families_->gauge("muster_edge_connected").Set(0);
}

void ClientProcessMetrics::RoundEnded(int64_t round, bool accepted, double train_loss, double seconds,
                                      int64_t upload_bytes) {
  MetricFamilies& f = *families_;
  f.counter("muster_edge_rounds_total", {{"outcome", accepted ? "accepted" : "refused"}}).Increment();
  f.counter("muster_edge_upload_bytes_total").Increment(static_cast<double>(upload_bytes));
  f.gauge("muster_edge_last_round").Set(static_cast<double>(round + 1));
  if (seconds <= 0) return;
  f.gauge("muster_edge_train_loss").Set(train_loss);
  f.histogram("muster_edge_training_duration_seconds").Observe(seconds);
}

std::string ClientProcessMetrics::Text() const {
  spool_->Set(static_cast<double>(spooled_()));
  return families_->Text();
}

}  // namespace muster
