// Prometheus metrics of one client's process (`muster client --metrics`), told by whoever hears its events.
#ifndef MUSTER_SERVER_MONITORING_CLIENT_METRICS_H_
#define MUSTER_SERVER_MONITORING_CLIENT_METRICS_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

namespace prometheus {
class Gauge;
}

namespace muster {

class MetricFamilies;

// Told from one thread; Text() from any.
class ClientProcessMetrics final {
 public:
  // `federation` becomes a label of every metric. `spooled` gives the bytes of a finished update that waits
  // on disk; it is asked whenever metrics are read, from the reading thread.
  ClientProcessMetrics(const std::string& federation, const std::string& version,
                       std::function<int64_t()> spooled);
  ~ClientProcessMetrics();

  void Joined();
  void Disconnected();
  // `seconds` of training and `upload_bytes` are those of a round this process trained in, else 0.
  void RoundEnded(int64_t round, bool accepted, double train_loss, double seconds, int64_t upload_bytes);
  // Prometheus's text format.
  std::string Text() const;

 private:
  const std::unique_ptr<MetricFamilies> families_;
  const std::function<int64_t()> spooled_;
  prometheus::Gauge* spool_ = nullptr;  // set by whoever reads
};

}  // namespace muster

#endif  // MUSTER_SERVER_MONITORING_CLIENT_METRICS_H_
