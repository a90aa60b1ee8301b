// FedAMSGrad.
#include "server/optimization/adaptive.h"

namespace muster {
namespace {

// Adam's second moment, but a step divides by the largest there has been: it never grows again because a
// coordinate was quiet for a while.
struct AmsGradRule {
  static constexpr bool kLargest = true;
  static double SecondMoment(double v, double squared_delta, double beta2) {
    return beta2 * v + (1 - beta2) * squared_delta;
  }
};

MUSTER_REGISTER(
    ServerOptimizer,
    DescribeMoments(
        Plugin<AdaptiveOptions>("amsgrad", "AMSGrad on the aggregate (FedAMSGrad)",
                                "Reddi et al. 2018, arXiv:1904.09237; Wang et al. 2022, arXiv:2205.02719"))
        .Make<Adaptive<AmsGradRule>>());

}  // namespace
}  // namespace muster
