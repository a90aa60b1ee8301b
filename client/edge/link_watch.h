// Notices an odd link or an odd clock, and says so once in a while.
#ifndef MUSTER_CLIENT_EDGE_LINK_WATCH_H_
#define MUSTER_CLIENT_EDGE_LINK_WATCH_H_

#include <cstdint>
#include <deque>
#include <limits>
#include <optional>
#include <string>

namespace muster::edge {

// Every call may return a warning, one line. Times are milliseconds since the epoch by the side's own clock.
// Not thread-safe.
class LinkWatch {
 public:
  // A session began: the answer to Join, sent at `asked_ms`, came at `now_ms` and carried the coordinator's
  // clock.
  std::optional<std::string> Welcomed(int64_t asked_ms, int64_t now_ms, int64_t coordinator_ms);
  // A heartbeat that the coordinator sent at `coordinator_ms` came at `now_ms`.
  std::optional<std::string> Heartbeat(int64_t now_ms, int64_t coordinator_ms);
  // A session was lost.
  std::optional<std::string> Lost(int64_t now_ms);

 private:
  static constexpr int64_t kSlowMs = 5'000;
  static constexpr int64_t kClockMs = 60'000;
  static constexpr int64_t kWindowMs = 600'000;  // also the least time between two warnings of one kind
  static constexpr size_t kManyLosses = 5;       // within the window

  static bool Due(std::optional<int64_t>& last_ms, int64_t now_ms);

  // Of the differences between the clocks on arrival the smallest is nearest to the clocks' true difference;
  // what a heartbeat has above it, it spent under way.
  int64_t least_difference_ms_ = std::numeric_limits<int64_t>::max();
  std::deque<int64_t> losses_ms_;
  std::optional<int64_t> slow_told_ms_, clock_told_ms_, losses_told_ms_;
};

}  // namespace muster::edge

#endif  // MUSTER_CLIENT_EDGE_LINK_WATCH_H_
