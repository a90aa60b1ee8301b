// What a run serves over HTTP, at one address: /metrics for Prometheus, /healthz for probes and, if asked
// for, the live page at / with the report so far.
#ifndef MUSTER_SERVER_MONITORING_MONITORING_ENDPOINT_H_
#define MUSTER_SERVER_MONITORING_MONITORING_ENDPOINT_H_

#include <functional>
#include <map>
#include <memory>
#include <span>
#include <string>

#include "core/status.h"
#include "server/monitoring/http_server.h"
#include "server/monitoring/live_page.h"
#include "server/monitoring/metrics.h"

namespace muster {

// What a reader of the page may ask for, once it has shown the token.
struct PageCommand {
  std::string action;                      // "pause", "resume", "stop", "set"
  std::map<std::string, std::string> set;  // of "set": paths and values
};

struct PageOptions {
  std::string run_directory;  // the report is made of it when somebody asks
  // Steering the run from the page; empty: the page only shows.
  std::string token = {};
  std::function<absl::Status(const PageCommand&)> control = nullptr;
  std::span<const RoundRecord> committed = {};  // by an earlier process; read when the endpoint is opened
};

class MonitoringEndpoint final : public RoundListener {
 public:
  // Serves from now on, at "host:port" (port 0: any free one); the page only with `page`. INVALID_ARGUMENT as
  // HttpServer::Start.
  static absl::StatusOr<std::unique_ptr<MonitoringEndpoint>> Open(const std::string& address,
                                                                  const std::string& federation,
                                                                  const std::string& version,
                                                                  const PageOptions* page = nullptr);

  void On(const Event& event) override;
  bool WantsUpdateNorms() const override { return true; }
  Metrics& metrics() { return metrics_; }
  LivePage* page() { return page_.get(); }  // nullptr if there is none
  // "http://host:port/".
  const std::string& url() const { return url_; }

 private:
  MonitoringEndpoint(const std::string& federation, const std::string& version)
      : metrics_(federation, version) {}
  void ServePage(const PageOptions& options);

  Metrics metrics_;
  std::unique_ptr<LivePage> page_;
  std::string url_;
  HttpServer server_;  // last: its threads read the others
};

}  // namespace muster

#endif  // MUSTER_SERVER_MONITORING_MONITORING_ENDPOINT_H_
