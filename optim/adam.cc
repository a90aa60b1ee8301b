// LibTorch's Adam.
#include <torch/optim/adam.h>

#include "optim/gradient_method.h"
#include "optim/local_optimizer.h"

namespace muster {
namespace {

struct AdamConfig {
  double learning_rate = 0.001;
  double beta1 = 0.9;
  double beta2 = 0.999;
  double epsilon = 1e-8;
  double weight_decay = 0;
  bool amsgrad = false;
};

class Adam final : public GradientMethod<torch::optim::Adam> {
 public:
  Adam(const AdamConfig& config, const Context& context)
      : GradientMethod(context, torch::optim::AdamOptions(config.learning_rate)
                                    .betas({config.beta1, config.beta2})
                                    .eps(config.epsilon)
                                    .weight_decay(config.weight_decay)
                                    .amsgrad(config.amsgrad)) {}
};

MUSTER_REGISTER(LocalOptimizer,
                Plugin<AdamConfig>("adam", "Steps scaled by running moments of the gradient",
                                   "Kingma and Ba 2015; AMSGrad: Reddi et al. 2018")
                    .Option("learning_rate", &AdamConfig::learning_rate, "step size", Above(0))
                    .Option("beta1", &AdamConfig::beta1, "decay of the first moment", Within(0, 1))
                    .Option("beta2", &AdamConfig::beta2, "decay of the second moment", Within(0, 1))
                    .Option("epsilon", &AdamConfig::epsilon, "added to the root of the second moment",
                            Above(0))
                    .Option("weight_decay", &AdamConfig::weight_decay, "L2 penalty's factor", AtLeast(0))
                    .Option("amsgrad", &AdamConfig::amsgrad, "never let the second moment shrink")
                    .Make<Adam>());

}  // namespace
}  // namespace muster
