// RMSProp in one pass over memory.
#ifndef MUSTER_OPTIM_RMSPROP_H_
#define MUSTER_OPTIM_RMSPROP_H_

#include <vector>

#include "optim/optimizer.h"
#include "optim/options.h"

namespace muster::optim {

struct RmsPropOptions : public OptionsOf<RmsPropOptions> {
  RmsPropOptions(double learning_rate = 0.01) : lr_(learning_rate) {}  // NOLINT: implicit, as in torch::optim
  MUSTER_ARG(double, lr);
  MUSTER_ARG(double, alpha) = 0.99;
  MUSTER_ARG(double, eps) = 1e-8;
  MUSTER_ARG(double, momentum) = 0;
  MUSTER_ARG(double, weight_decay) = 0;

  template <typename Visitor>
  static void Describe(Visitor&& option) {
    option("learning_rate", &RmsPropOptions::lr_, "step size", Above(0));
    option("alpha", &RmsPropOptions::alpha_, "decay of the mean square", Within(0, 1));
    option("epsilon", &RmsPropOptions::eps_, "added to the root of the mean square", Above(0));
    option("momentum", &RmsPropOptions::momentum_, "share of the last step that is kept", Within(0, 1));
    option("weight_decay", &RmsPropOptions::weight_decay_, "L2 penalty's factor", AtLeast(0));
  }
};

// s = alpha s + (1 - alpha) g^2;  b = momentum b + g / (sqrt(s) + eps);  p -= lr b. The rule of
// torch::optim::RMSprop without centring.
class RmsProp : public ElementwiseOptimizer {
 public:
  explicit RmsProp(std::vector<torch::optim::OptimizerParamGroup> groups, RmsPropOptions defaults = {});
  explicit RmsProp(std::vector<at::Tensor> parameters, RmsPropOptions defaults = {})
      : RmsProp({torch::optim::OptimizerParamGroup(std::move(parameters))}, defaults) {}

  bool AnyDevice() const override { return true; }

 protected:
  bool Needs(size_t slot, const torch::optim::OptimizerOptions& options) const override;
  bool Update(const Parameter& parameter) override;
  void UpdateRun(const Run& run) override;
};

}  // namespace muster::optim

#endif  // MUSTER_OPTIM_RMSPROP_H_
