// Cohorts pinned from outside, or recorded for another program: JSON {"rounds": [[client, ...], ...]}.
#ifndef MUSTER_SERVER_ROUNDS_COHORTS_H_
#define MUSTER_SERVER_ROUNDS_COHORTS_H_

#include <string>
#include <vector>

#include "core/status.h"
#include "server/rounds/client_pool.h"

namespace muster {

std::string CohortsToJson(const std::vector<std::vector<ClientId>>& cohorts);
// At least `rounds` cohorts, none empty, of distinct clients 0 .. clients-1. `name` is for errors.
absl::StatusOr<std::vector<std::vector<ClientId>>> CohortsFromJson(const std::string& json, int64_t rounds,
                                                                   int64_t clients, const std::string& name);

}  // namespace muster

#endif  // MUSTER_SERVER_ROUNDS_COHORTS_H_
