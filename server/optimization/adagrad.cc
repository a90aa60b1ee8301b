// FedAdagrad.
#include "server/optimization/adaptive.h"

namespace muster {
namespace {

struct AdagradOptions {
  double learning_rate = 0.01;
  double beta1 = 0;  // the paper's experiments use no momentum here
  double tau = 1e-3;
};

struct AdagradRule {
  static constexpr bool kLargest = false;
  static double SecondMoment(double v, double squared_delta, double /*beta2*/) { return v + squared_delta; }
};

struct Adagrad {
  using Interface = ServerOptimizer;
  static absl::StatusOr<std::unique_ptr<ServerOptimizer>> Create(const AdagradOptions& options,
                                                                 const ServerOptimizer::Context& context) {
    const AdaptiveOptions all{
        .learning_rate = options.learning_rate, .beta1 = options.beta1, .tau = options.tau};
    return std::make_unique<Adaptive<AdagradRule>>(all, context);
  }
};

MUSTER_REGISTER(
    ServerOptimizer,
    Plugin<AdagradOptions>("adagrad", "Adagrad on the aggregate (FedAdagrad)",
                           "Reddi et al. 2021, arXiv:2003.00295, algorithm 2")
        .Option("learning_rate", &AdagradOptions::learning_rate, "eta: factor on the step", Above(0))
        .Option("beta1", &AdagradOptions::beta1, "share of the last direction that is kept", Within(0, 1))
        .Option("tau", &AdagradOptions::tau,
                "adaptivity: added to the root of the second moment, which starts at tau^2", Above(0))
        .Make<Adagrad>());

}  // namespace
}  // namespace muster
