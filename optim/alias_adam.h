// Adam with the step scaled by ALIAS's running estimate of the distance (arXiv:2506.03725, Adam version).
#ifndef MUSTER_OPTIM_ALIAS_ADAM_H_
#define MUSTER_OPTIM_ALIAS_ADAM_H_

#include <string>
#include <vector>

#include "optim/optimizer.h"
#include "optim/options.h"

namespace muster::optim {

struct AliasAdamOptions : public OptionsOf<AliasAdamOptions> {
  AliasAdamOptions(double learning_rate = 0.001)
      : lr_(learning_rate) {}  // NOLINT: implicit, as in torch::optim
  MUSTER_ARG(double, lr);
  MUSTER_ARG(std::string, form) = "language";
  MUSTER_ARG(double, initial_distance) = 1;
  MUSTER_ARG(double, beta1) = 0.9;
  MUSTER_ARG(double, beta2) = 0.999;
  MUSTER_ARG(double, eps) = 1e-8;
  MUSTER_ARG(double, weight_decay) = 0;

  template <typename Visitor>
  static void Describe(Visitor&& option) {
    option("learning_rate", &AliasAdamOptions::lr_, "step size", Above(0));
    option("form", &AliasAdamOptions::form_, "which of the authors' two realisations",
           OneOf({"language", "vision"}));
    option(
        "initial_distance", &AliasAdamOptions::initial_distance_,
        "where every tensor's distance starts; the vision script's 1e-8 leaves whole tensors frozen for long",
        Above(0));
    option("beta1", &AliasAdamOptions::beta1_, "decay of the first moment", Within(0, 1));
    option("beta2", &AliasAdamOptions::beta2_, "decay of the second moment", Within(0, 1));
    option("epsilon", &AliasAdamOptions::eps_, "added to the denominators", Above(0));
    option("weight_decay", &AliasAdamOptions::weight_decay_,
           "share of each weight lost per step, in units of learning_rate", AtLeast(0));
  }
};

// For every tensor, from its second step on, with q = <g, sign(g_prev)> (vision) or sum |g| |g_prev|
// (language):
//   r = sqrt(beta2) r + (1 - sqrt(beta2)) d q;  d = max(d, r)
//   m = beta1 m + (1 - beta1) d g;  v = beta2 v + (1 - beta2) d^2 g^2
//   vision:    x = (1 - lr wd) x;  x -= lr d m / (sqrt(v) + eps)
//   language:  x -= lr sign(m) d sqrt((m^2 + eps) / (v + eps));  x = (1 - lr wd) x
// r starts at 0 (vision) or at initial_distance (language). The conference version's two moment lines; the
// two steps are those of the authors' vision and language scripts.
class AliasAdam : public ElementwiseOptimizer {
 public:
  explicit AliasAdam(std::vector<torch::optim::OptimizerParamGroup> groups, AliasAdamOptions defaults = {});
  explicit AliasAdam(std::vector<at::Tensor> parameters, AliasAdamOptions defaults = {})
      : AliasAdam({torch::optim::OptimizerParamGroup(std::move(parameters))}, defaults) {}

  // d of every tensor.
  const std::vector<float>& distances() const { return distances_; }

 protected:
  bool Update(const Parameter& parameter) override;
  Fields fields() override {
    return {.numbers = {}, .vectors = {{"distances", &distances_}, {"averages", &averages_}}};
  }
  void ResetFields() override;

 private:
  std::vector<float> distances_;  // d, by parameter
  std::vector<float> averages_;   // r
};

}  // namespace muster::optim

#endif  // MUSTER_OPTIM_ALIAS_ADAM_H_
