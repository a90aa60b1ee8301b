// Clients with more samples are drawn more often.
#include "server/selection/draw.h"
#include "server/selection/selector.h"

namespace muster {
namespace {

// Successive draws without replacement, each with probability proportional to num_samples among those left.
// Clients without samples come after all others, equally likely.
class BySize final : public Selector {
 public:
  absl::StatusOr<std::vector<ClientId>> Select(int64_t count, std::span<const ClientInfo> candidates,
                                               Random& random) const override {
    MUSTER_RETURN_IF_ERROR(CheckCount(count, candidates.size()));
    std::vector<double> sizes;
    sizes.reserve(candidates.size());
    for (const ClientInfo& client : candidates) sizes.push_back(static_cast<double>(client.num_samples));
    return IdsAt(DrawWeighted(count, sizes, random), candidates);
  }
};

MUSTER_REGISTER(Selector,
                Plugin("by_size", "Probability proportional to the client's samples, without replacement",
                       "Efraimidis and Spirakis 2006, algorithm A")
                    .Make<BySize>());

}  // namespace
}  // namespace muster
