#include "core/log.h"

#include <unistd.h>

#include <cstdio>
#include <iterator>
#include <nlohmann/json.hpp>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace muster {
namespace {

constexpr std::string_view kNames[] = {"debug", "info", "warning", "error"};
constexpr int kBurst = 100;  // lines a second

std::string Timestamp(std::chrono::system_clock::time_point time) {
  const auto since = std::chrono::duration_cast<std::chrono::milliseconds>(time.time_since_epoch()).count();
  const auto seconds = static_cast<time_t>(since / 1000);
  tm utc = {};
  gmtime_r(&seconds, &utc);
  return absl::StrFormat("%04d-%02d-%02dT%02d:%02d:%02d.%03dZ", utc.tm_year + 1900, utc.tm_mon + 1,
                         utc.tm_mday, utc.tm_hour, utc.tm_min, utc.tm_sec, since % 1000);
}

}  // namespace

std::string_view SeverityName(Severity severity) { return kNames[static_cast<size_t>(severity)]; }

absl::StatusOr<Severity> SeverityNamed(std::string_view name) {
  for (size_t i = 0; i < std::size(kNames); ++i) {
    if (kNames[i] == name) return static_cast<Severity>(i);
  }
  return InvalidInput("a log level is one of debug, info, warning, error");
}

std::string ToJsonLine(const LogEvent& event, const std::string& federation,
                       std::chrono::system_clock::time_point time) {
  nlohmann::ordered_json json = {{"time", Timestamp(time)},
                                 {"level", SeverityName(event.severity)},
                                 {"event", event.name},
                                 {"federation", federation}};
  if (event.round) json["round"] = *event.round;
  if (event.client) json["client"] = *event.client;
  json["message"] = event.message;
  return json.dump(-1, ' ', /*ensure_ascii=*/false, nlohmann::ordered_json::error_handler_t::replace) + "\n";
}

std::string ToTextLine(const LogEvent& event) {
  std::string line = event.severity == Severity::kWarning ? "WARNING: "
                     : event.severity == Severity::kError ? "ERROR: "
                                                          : "";
  if (event.round) absl::StrAppend(&line, "round ", *event.round + 1, event.client ? ", " : ": ");
  if (event.client) absl::StrAppend(&line, "client ", *event.client, ": ");
  for (const char c : event.message) {
    line += static_cast<unsigned char>(c) < 0x20 || c == 0x7f ? ' ' : c;
  }
  return line + "\n";
}

Log::Log(LogOptions options)
    : options_(std::move(options)),
      over_progress_line_(options_.format == LogFormat::kText && options_.progress_line && !options_.write &&
                          isatty(STDERR_FILENO) == 1) {}

bool Log::IsWritten(const LogEvent& event) const {
  if (event.severity < options_.least.value_or(Severity::kInfo)) return false;
  const bool told = options_.format == LogFormat::kText && options_.progress_line && !options_.least;
  return !(told && event.in_progress_line);
}

void Log::Write(const LogEvent& event) {
  const MutexLock lock(&mutex_);
  if (listener_ && event.severity >= Severity::kInfo) listener_(event);
  if (!IsWritten(event)) return;
  const auto now = std::chrono::steady_clock::now();
  if (now - burst_start_ > std::chrono::seconds(1)) {
    const int64_t left_out = std::exchange(left_out_, 0);
    burst_start_ = now;
    written_ = 0;
    if (left_out > 0) {
      WriteLine({.severity = Severity::kWarning,
                 .name = "lines_left_out",
                 .message = absl::StrCat("... and ", left_out, " lines more")});
    }
  }
  if (++written_ > kBurst) {
    ++left_out_;
    return;
  }
  WriteLine(event);
}

void Log::WriteLine(const LogEvent& event) {
  const std::string line = options_.format == LogFormat::kJson
                               ? ToJsonLine(event, options_.federation, std::chrono::system_clock::now())
                               : ToTextLine(event);
  if (options_.write) return options_.write(line);
  std::fprintf(stderr, "%s%s", over_progress_line_ ? "\r\033[K" : "", line.c_str());
}

void Log::SetListener(std::function<void(const LogEvent&)> listener) {
  const MutexLock lock(&mutex_);
  listener_ = std::move(listener);
}

}  // namespace muster
