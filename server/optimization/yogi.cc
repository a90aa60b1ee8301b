// FedYogi.
#include "server/optimization/adaptive.h"

namespace muster {
namespace {

struct YogiRule {
  static constexpr bool kLargest = false;
  static double SecondMoment(double v, double squared_delta, double beta2) {
    // v - (1 - beta2) delta^2 sign(v - delta^2), and sign(0) = 0.
    const double sign = v > squared_delta ? 1 : v < squared_delta ? -1 : 0;
    return v - (1 - beta2) * squared_delta * sign;
  }
};

MUSTER_REGISTER(
    ServerOptimizer,
    DescribeAdaptive(Plugin<AdaptiveOptions>(
                         "yogi", "Yogi on the aggregate (FedYogi): the second moment moves by bounded steps",
                         "Reddi et al. 2021, arXiv:2003.00295, algorithm 2"))
        .Make<Adaptive<YogiRule>>());

}  // namespace
}  // namespace muster
