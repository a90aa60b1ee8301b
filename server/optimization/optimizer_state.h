// What server optimisers share.
#ifndef MUSTER_SERVER_OPTIMIZATION_OPTIMIZER_STATE_H_
#define MUSTER_SERVER_OPTIMIZATION_OPTIMIZER_STATE_H_

#include <map>
#include <string>
#include <vector>

#include "server/optimization/server_optimizer.h"

namespace muster {

// Moves `state` into the fields, by name. INVALID_ARGUMENT, with all of them unchanged, unless the names are
// exactly those of `vectors` and `numbers`, every vector has `size` elements and every number is finite.
absl::Status LoadState(State state, int64_t size, const std::map<std::string, std::vector<float>*>& vectors,
                       const std::map<std::string, double*>& numbers = {});

// INTERNAL unless both have `size` elements.
absl::Status CheckStep(std::span<const float> delta, ConstParameters model, int64_t size);

}  // namespace muster

#endif  // MUSTER_SERVER_OPTIMIZATION_OPTIMIZER_STATE_H_
