// Stochastic gradient descent in one pass over memory.
#ifndef MUSTER_OPTIM_SGD_H_
#define MUSTER_OPTIM_SGD_H_

#include <vector>

#include "optim/optimizer.h"
#include "optim/options.h"

namespace muster::optim {

struct SgdOptions : public OptionsOf<SgdOptions> {
  SgdOptions(double learning_rate = 0.1) : lr_(learning_rate) {}  // NOLINT: implicit, as in torch::optim
  MUSTER_ARG(double, lr);
  MUSTER_ARG(double, momentum) = 0;
  MUSTER_ARG(double, dampening) = 0;
  MUSTER_ARG(double, weight_decay) = 0;
  MUSTER_ARG(bool, nesterov) = false;

  template <typename Visitor>
  static void Describe(Visitor&& option) {
    option("learning_rate", &SgdOptions::lr_, "step size", Above(0));
    option("momentum", &SgdOptions::momentum_, "share of the last direction that is kept", Within(0, 1));
    option("dampening", &SgdOptions::dampening_, "share of the gradient that the momentum leaves out",
           Within(0, 1));
    option("nesterov", &SgdOptions::nesterov_, "look ahead along the momentum");
    option("weight_decay", &SgdOptions::weight_decay_, "L2 penalty's factor", AtLeast(0));
  }
};

// The update rule of torch::optim::SGD (momentum after Sutskever et al. 2013), fused: each parameter, its
// gradient and its momentum are read once and nothing is allocated after the first step. Every
// product-and-sum is one fused multiply-add; results agree with torch::optim::SGD's to a few units in the
// last place per step.
class Sgd : public ElementwiseOptimizer {
 public:
  explicit Sgd(std::vector<torch::optim::OptimizerParamGroup> groups, SgdOptions defaults = {});
  explicit Sgd(std::vector<at::Tensor> parameters, SgdOptions defaults = {});

  bool AnyDevice() const override { return true; }

 protected:
  bool Needs(size_t slot, const torch::optim::OptimizerOptions& options) const override;
  bool Update(const Parameter& parameter) override;
  void UpdateRun(const Run& run) override;
};

}  // namespace muster::optim

#endif  // MUSTER_OPTIM_SGD_H_
