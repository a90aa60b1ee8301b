// Every client is equally likely.
#include "server/selection/draw.h"
#include "server/selection/selector.h"

namespace muster {
namespace {

class Uniform final : public Selector {
 public:
  absl::StatusOr<std::vector<ClientId>> Select(int64_t count, std::span<const ClientInfo> candidates,
                                               Random& random) const override {
    MUSTER_RETURN_IF_ERROR(CheckCount(count, candidates.size()));
    std::vector<ClientId> selected;
    selected.reserve(static_cast<size_t>(count));
    for (const int64_t place : random.Sample(static_cast<int64_t>(candidates.size()), count)) {
      selected.push_back(candidates[static_cast<size_t>(place)].id);
    }
    return selected;
  }
};

MUSTER_REGISTER(Selector, Plugin("uniform", "Every client is equally likely, without replacement",
                                 "McMahan et al. 2017, arXiv:1602.05629")
                              .Make<Uniform>());

}  // namespace
}  // namespace muster
