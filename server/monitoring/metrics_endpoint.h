// A run's metrics, served over HTTP: /metrics for Prometheus, /healthz for probes.
#ifndef MUSTER_SERVER_MONITORING_METRICS_ENDPOINT_H_
#define MUSTER_SERVER_MONITORING_METRICS_ENDPOINT_H_

#include <memory>
#include <string>

#include "core/status.h"
#include "server/monitoring/http_server.h"
#include "server/monitoring/metrics.h"

namespace muster {

class MetricsEndpoint final : public RoundListener {
 public:
  // Serves from now on, at "host:port" (port 0: any free one). INVALID_ARGUMENT as HttpServer::Start.
  static absl::StatusOr<std::unique_ptr<MetricsEndpoint>> Open(const std::string& address,
                                                               const std::string& federation,
                                                               const std::string& version);

  void On(const Event& event) override { metrics_.On(event); }
  Metrics& metrics() { return metrics_; }
  // "http://host:port/metrics".
  const std::string& url() const { return url_; }

 private:
  MetricsEndpoint(const std::string& federation, const std::string& version)
      : metrics_(federation, version) {}

  Metrics metrics_;
  std::string url_;
  HttpServer server_;  // last: its threads read the metrics
};

}  // namespace muster

#endif  // MUSTER_SERVER_MONITORING_METRICS_ENDPOINT_H_
