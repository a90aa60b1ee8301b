// Flags that the commands share which run something for long: simulate, resume, coordinator, client.
#ifndef MUSTER_APP_RUN_FLAGS_H_
#define MUSTER_APP_RUN_FLAGS_H_

#include <memory>
#include <optional>
#include <string>

#include "core/log.h"
#include "core/status.h"
#include "learning/device.h"
#include "server/monitoring/progress.h"

namespace CLI {
class App;
}

namespace muster {

// --log-format, --log-level.
struct LogFlags {
  LogFormat format = LogFormat::kText;
  std::optional<Severity> least;

  void AddTo(CLI::App* command);
  // `federation`: its name. `progress_line`: there is one on standard error.
  std::unique_ptr<Log> Open(const std::string& federation, bool progress_line) const;
};

// --metrics, --page, --page-token-file.
struct MonitoringFlags {
  std::string metrics;     // HOST:PORT; "": none
  bool page = false;       // asked for
  std::string page_at;     // HOST:PORT; "": where the metrics are, or 127.0.0.1:9464
  std::string token_file;  // "": the page only shows

  void AddTo(CLI::App* command);
};

// --device.
struct DeviceFlag {
  std::string name = "cpu";

  void AddTo(CLI::App* command);
  // As ComputeDevice::Find. Before threads are started.
  absl::StatusOr<std::shared_ptr<ComputeDevice>> Find(int local_rank = 0) const;
};

struct RunFlags {
  int workers = 0;  // 0: one per core
  bool quiet = false;
  bool json = false;
  DeviceFlag device;
  LogFlags log;
  MonitoringFlags monitoring;

  // `workers_do`: what they are for.
  void AddTo(CLI::App* command, const std::string& workers_do);
  // None behind a log of JSON lines: standard error is theirs.
  ProgressMode progress() const;
  // A quiet run logs errors only, unless a level or JSON lines were asked for.
  std::unique_ptr<Log> OpenLog(const std::string& federation) const {
    LogFlags flags = log;
    if (quiet && log.format == LogFormat::kText && !log.least) flags.least = Severity::kError;
    return flags.Open(federation, progress() == ProgressMode::kAuto);
  }
};

}  // namespace muster

#endif  // MUSTER_APP_RUN_FLAGS_H_
