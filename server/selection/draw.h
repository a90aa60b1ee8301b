// Drawing clients, as several selectors do it.
#ifndef MUSTER_SERVER_SELECTION_DRAW_H_
#define MUSTER_SERVER_SELECTION_DRAW_H_

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "core/random.h"
#include "core/status.h"
#include "server/rounds/client_pool.h"

namespace muster {

// INTERNAL unless 0 <= count <= available: whoever asks for more is wrong.
absl::Status CheckCount(int64_t count, size_t available);

// `count` places of `weights` (all finite, >= 0; count <= weights.size()) by successive draws without
// replacement, each in proportion to the weights left, in the order drawn; places of weight 0 come after all
// others, equally likely. One uniform draw a place.
std::vector<size_t> DrawWeighted(int64_t count, std::span<const double> weights, Random& random);

// The ids of `places` in `candidates`.
std::vector<ClientId> IdsAt(std::span<const size_t> places, std::span<const ClientInfo> candidates);

}  // namespace muster

#endif  // MUSTER_SERVER_SELECTION_DRAW_H_
