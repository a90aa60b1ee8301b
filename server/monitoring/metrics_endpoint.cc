#include "server/monitoring/metrics_endpoint.h"

#include "absl/strings/str_cat.h"

namespace muster {

absl::StatusOr<std::unique_ptr<MetricsEndpoint>> MetricsEndpoint::Open(const std::string& address,
                                                                       const std::string& federation,
                                                                       const std::string& version) {
  std::unique_ptr<MetricsEndpoint> endpoint(new MetricsEndpoint(federation, version));
  endpoint->server_.Get("/metrics", "text/plain; version=0.0.4; charset=utf-8",
                        [metrics = &endpoint->metrics_] { return metrics->Text(); });
  endpoint->server_.Get("/healthz", "text/plain; charset=utf-8", [] { return std::string("ok\n"); });
  MUSTER_RETURN_IF_ERROR(endpoint->server_.Start(address));
  endpoint->url_ = absl::StrCat("http://", address.substr(0, address.rfind(':')), ":",
                                endpoint->server_.port(), "/metrics");
  return endpoint;
}

}  // namespace muster
