// FedAdam.
#include "server/optimization/adaptive.h"

namespace muster {
namespace {

struct AdamRule {
  static constexpr bool kLargest = false;
  static double SecondMoment(double v, double squared_delta, double beta2) {
    return beta2 * v + (1 - beta2) * squared_delta;
  }
};

MUSTER_REGISTER(ServerOptimizer,
                DescribeAdaptive(Plugin<AdaptiveOptions>("adam", "Adam on the aggregate (FedAdam)",
                                                         "Reddi et al. 2021, arXiv:2003.00295, algorithm 2"))
                    .Make<Adaptive<AdamRule>>());

}  // namespace
}  // namespace muster
