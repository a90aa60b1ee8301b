// LibTorch's AdamW: Adam with the weight decay taken out of the gradient.
#include <torch/optim/adamw.h>

#include "optim/gradient_method.h"
#include "optim/local_optimizer.h"

namespace muster {
namespace {

struct AdamWConfig {
  double learning_rate = 0.001;
  double beta1 = 0.9;
  double beta2 = 0.999;
  double epsilon = 1e-8;
  double weight_decay = 0.01;
  bool amsgrad = false;
};

class AdamW final : public GradientMethod<torch::optim::AdamW> {
 public:
  AdamW(const AdamWConfig& config, const Context& context)
      : GradientMethod(context, torch::optim::AdamWOptions(config.learning_rate)
                                    .betas({config.beta1, config.beta2})
                                    .eps(config.epsilon)
                                    .weight_decay(config.weight_decay)
                                    .amsgrad(config.amsgrad)) {}
};

MUSTER_REGISTER(LocalOptimizer,
                Plugin<AdamWConfig>("adamw",
                                    "Adam whose weight decay acts on the weights, not through the gradient",
                                    "Loshchilov and Hutter 2019")
                    .Option("learning_rate", &AdamWConfig::learning_rate, "step size", Above(0))
                    .Option("beta1", &AdamWConfig::beta1, "decay of the first moment", Within(0, 1))
                    .Option("beta2", &AdamWConfig::beta2, "decay of the second moment", Within(0, 1))
                    .Option("epsilon", &AdamWConfig::epsilon, "added to the root of the second moment",
                            Above(0))
                    .Option("weight_decay", &AdamWConfig::weight_decay,
                            "share of each weight lost per step, in units of learning_rate", AtLeast(0))
                    .Option("amsgrad", &AdamWConfig::amsgrad, "never let the second moment shrink")
                    .Make<AdamW>());

}  // namespace
}  // namespace muster
