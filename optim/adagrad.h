// Adagrad in one pass over memory.
#ifndef MUSTER_OPTIM_ADAGRAD_H_
#define MUSTER_OPTIM_ADAGRAD_H_

#include <vector>

#include "optim/optimizer.h"
#include "optim/options.h"

namespace muster::optim {

struct AdagradOptions : public OptionsOf<AdagradOptions> {
  AdagradOptions(double learning_rate = 0.01) : lr_(learning_rate) {}  // NOLINT: implicit, as in torch::optim
  MUSTER_ARG(double, lr);
  MUSTER_ARG(double, lr_decay) = 0;
  MUSTER_ARG(double, weight_decay) = 0;
  MUSTER_ARG(double, initial_sum) = 0;
  MUSTER_ARG(double, eps) = 1e-10;

  template <typename Visitor>
  static void Describe(Visitor&& option) {
    option("learning_rate", &AdagradOptions::lr_, "step size", Above(0));
    option("decay", &AdagradOptions::lr_decay_, "step t divides the step size by 1 + decay (t - 1)",
           AtLeast(0));
    option("weight_decay", &AdagradOptions::weight_decay_, "L2 penalty's factor", AtLeast(0));
    option("initial_sum", &AdagradOptions::initial_sum_, "where the sum of squares starts", AtLeast(0));
    option("epsilon", &AdagradOptions::eps_, "added to the root of the sum of squares", Above(0));
  }
};

// s += g^2;  p -= lr / (1 + (t - 1) decay) * g / (sqrt(s) + eps). The rule of torch::optim::Adagrad.
class Adagrad : public ElementwiseOptimizer {
 public:
  explicit Adagrad(std::vector<torch::optim::OptimizerParamGroup> groups, AdagradOptions defaults = {});
  explicit Adagrad(std::vector<at::Tensor> parameters, AdagradOptions defaults = {})
      : Adagrad({torch::optim::OptimizerParamGroup(std::move(parameters))}, defaults) {}

  bool AnyDevice() const override { return true; }

 protected:
  bool Update(const Parameter& parameter) override;
  void UpdateRun(const Run& run) override;
};

}  // namespace muster::optim

#endif  // MUSTER_OPTIM_ADAGRAD_H_
