#include "client/edge/link_watch.h"

#include <algorithm>
#include <cstdlib>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace muster::edge {

bool LinkWatch::Due(std::optional<int64_t>& last_ms, int64_t now_ms) {
  if (last_ms && now_ms - *last_ms < kWindowMs) return false;
  last_ms = now_ms;
  return true;
}

std::optional<std::string> LinkWatch::Welcomed(int64_t asked_ms, int64_t now_ms, int64_t coordinator_ms) {
  const int64_t round_trip = now_ms - asked_ms;
  const int64_t ahead = now_ms - round_trip / 2 - coordinator_ms;
  least_difference_ms_ = now_ms - coordinator_ms;
  if (coordinator_ms != 0 && std::abs(ahead) > kClockMs && Due(clock_told_ms_, now_ms)) {
    return absl::StrFormat(
        "this machine's clock is %.0f s %s the coordinator's; set it right (NTP), or certificates may "
        "seem expired",
        std::abs(ahead) / 1e3, ahead > 0 ? "ahead of" : "behind");
  }
  if (round_trip > kSlowMs && Due(slow_told_ms_, now_ms)) {
    return absl::StrFormat("the link is slow: the coordinator's welcome took %.1f s",
                           static_cast<double>(round_trip) / 1e3);
  }
  return std::nullopt;
}

std::optional<std::string> LinkWatch::Heartbeat(int64_t now_ms, int64_t coordinator_ms) {
  if (coordinator_ms == 0) return std::nullopt;
  const int64_t difference = now_ms - coordinator_ms;
  least_difference_ms_ = std::min(least_difference_ms_, difference);
  const int64_t late = difference - least_difference_ms_;
  if (late <= kSlowMs || !Due(slow_told_ms_, now_ms)) return std::nullopt;
  return absl::StrFormat("the link is slow: a heartbeat came %.1f s late", static_cast<double>(late) / 1e3);
}

std::optional<std::string> LinkWatch::Lost(int64_t now_ms) {
  losses_ms_.push_back(now_ms);
  while (now_ms - losses_ms_.front() > kWindowMs) losses_ms_.pop_front();
  if (losses_ms_.size() < kManyLosses || !Due(losses_told_ms_, now_ms)) return std::nullopt;
  return absl::StrCat("the link is unstable: ", losses_ms_.size(), " sessions lost within ",
                      kWindowMs / 60'000, " minutes");
}

}  // namespace muster::edge
