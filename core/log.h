// What a process tells about itself while it works: one line an event, as text for people or as JSON for
// programs.
#ifndef MUSTER_CORE_LOG_H_
#define MUSTER_CORE_LOG_H_

#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/mutex.h"
#include "core/status.h"

namespace muster {

enum class Severity { kDebug, kInfo, kWarning, kError };
// "debug", "info", "warning", "error".
std::string_view SeverityName(Severity severity);
absl::StatusOr<Severity> SeverityNamed(std::string_view name);

// Never holds a secret: no token, no key, no weights. The words of a peer are only ever in `message`.
struct LogEvent {
  Severity severity = Severity::kInfo;
  std::string name;                             // what happened, one of few words: "client_failed"
  std::string message;                          // for people
  std::optional<int64_t> round = std::nullopt;  // 0-based; people are told the number after it
  std::optional<int64_t> client = std::nullopt;
  bool in_progress_line = false;  // the progress line tells it, too
};

enum class LogFormat { kText, kJson };
struct LogOptions {
  LogFormat format = LogFormat::kText;
  std::optional<Severity> least = std::nullopt;  // none: kInfo, without what the progress line tells
  bool progress_line = true;                     // there is one
  std::string federation = {};                   // its name, a field of every JSON line
  // Takes a whole line, with its end; none: standard error, behind the progress line.
  std::function<void(std::string_view line)> write = nullptr;
};

// {"time":"2026-01-31T12:00:00.123Z","level":"info","event":...,"federation":...,"round":...,"client":...,"message":...}
// and the end of the line; round and client only if they are set.
std::string ToJsonLine(const LogEvent& event, const std::string& federation,
                       std::chrono::system_clock::time_point time);
// "round 4, client 7: message" and the end of the line. Control characters become spaces: a peer's words must
// not steer a terminal.
std::string ToTextLine(const LogEvent& event);

// Thread-safe.
class Log {
 public:
  explicit Log(LogOptions options);

  // Writes the event if it is severe enough. A burst is cut short, and the number of lines left out is told.
  void Write(const LogEvent& event);
  // Hears every event from kInfo on, whatever is written. Called from the thread that writes, one at a time;
  // must not write itself.
  void SetListener(std::function<void(const LogEvent&)> listener);
  LogFormat format() const { return options_.format; }

 private:
  bool IsWritten(const LogEvent& event) const;
  void WriteLine(const LogEvent& event) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const LogOptions options_;
  const bool over_progress_line_;
  Mutex mutex_;
  std::function<void(const LogEvent&)> listener_ ABSL_GUARDED_BY(mutex_);
  std::chrono::steady_clock::time_point burst_start_ ABSL_GUARDED_BY(mutex_);
  int written_ ABSL_GUARDED_BY(mutex_) = 0;       // in this burst
  int64_t left_out_ ABSL_GUARDED_BY(mutex_) = 0;  // likewise
};

}  // namespace muster

#endif  // MUSTER_CORE_LOG_H_
