// A setting of a running federation that is changed from outside, at the boundary of two rounds.
#ifndef MUSTER_SERVER_ROUNDS_LIVE_CHANGE_H_
#define MUSTER_SERVER_ROUNDS_LIVE_CHANGE_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "core/registry.h"
#include "core/status.h"

namespace muster {

// What is set takes the place of what the configuration said.
struct LiveChange {
  int64_t round = 0;  // the first one it holds for; the engine's to fill in
  std::optional<double> deadline_seconds;
  std::optional<double> learning_rate_factor;  // times the schedule's
  std::optional<PluginConfig> participation;   // starts anew, without what the old policy remembered
};

// "federation.deadline_seconds = 20", one for each that is set: for people, and for the round's record.
std::vector<std::string> Describe(const LiveChange& change);

// The journal's form of all changes so far.
std::string ToJson(const std::vector<LiveChange>& changes);
absl::StatusOr<std::vector<LiveChange>> LiveChangesFromJson(const std::string& json);

}  // namespace muster

#endif  // MUSTER_SERVER_ROUNDS_LIVE_CHANGE_H_
