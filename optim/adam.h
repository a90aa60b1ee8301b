// Adam and AdamW in one pass over memory.
#ifndef MUSTER_OPTIM_ADAM_H_
#define MUSTER_OPTIM_ADAM_H_

#include <vector>

#include "optim/optimizer.h"
#include "optim/options.h"

namespace muster::optim {

struct AdamOptions : public OptionsOf<AdamOptions> {
  AdamOptions(double learning_rate = 0.001) : lr_(learning_rate) {}  // NOLINT: implicit, as in torch::optim
  MUSTER_ARG(double, lr);
  MUSTER_ARG(double, beta1) = 0.9;
  MUSTER_ARG(double, beta2) = 0.999;
  MUSTER_ARG(double, eps) = 1e-8;
  MUSTER_ARG(double, weight_decay) = 0;
  MUSTER_ARG(bool, amsgrad) = false;

  template <typename Visitor>
  static void Describe(Visitor&& option) {
    option("learning_rate", &AdamOptions::lr_, "step size", Above(0));
    option("beta1", &AdamOptions::beta1_, "decay of the first moment", Within(0, 1));
    option("beta2", &AdamOptions::beta2_, "decay of the second moment", Within(0, 1));
    option("epsilon", &AdamOptions::eps_, "added to the root of the second moment", Above(0));
    option("weight_decay", &AdamOptions::weight_decay_, "L2 penalty's factor", AtLeast(0));
    option("amsgrad", &AdamOptions::amsgrad_, "never let the second moment shrink");
  }
};

struct AdamWOptions : public OptionsOf<AdamWOptions> {
  AdamWOptions(double learning_rate = 0.001) : lr_(learning_rate) {}  // NOLINT: implicit, as in torch::optim
  MUSTER_ARG(double, lr);
  MUSTER_ARG(double, beta1) = 0.9;
  MUSTER_ARG(double, beta2) = 0.999;
  MUSTER_ARG(double, eps) = 1e-8;
  MUSTER_ARG(double, weight_decay) = 0.01;
  MUSTER_ARG(bool, amsgrad) = false;

  template <typename Visitor>
  static void Describe(Visitor&& option) {
    option("learning_rate", &AdamWOptions::lr_, "step size", Above(0));
    option("beta1", &AdamWOptions::beta1_, "decay of the first moment", Within(0, 1));
    option("beta2", &AdamWOptions::beta2_, "decay of the second moment", Within(0, 1));
    option("epsilon", &AdamWOptions::eps_, "added to the root of the second moment", Above(0));
    option("weight_decay", &AdamWOptions::weight_decay_,
           "share of each weight lost per step, in units of learning_rate", AtLeast(0));
    option("amsgrad", &AdamWOptions::amsgrad_, "never let the second moment shrink");
  }
};

// One step of Adam's rule on raw floats, for all methods that contain it.
struct AdamRule {
  float rate;  // factor on m / (sqrt(v) * root_scale + epsilon)
  float root_scale;
  float epsilon;
  float beta1;
  float beta2;
  float penalty = 0;  // gradient += penalty * p
  float shrink = 1;   // p *= shrink before the step

  // Adam of Kingma and Ba 2015 as LibTorch computes it, at step 1, 2, ...: epsilon is added after the bias
  // correction.
  static AdamRule AtStep(int64_t step, double rate, double beta1, double beta2, double epsilon);
};
// p' = shrink * from - rate * m' / (sqrt(v') * root_scale + epsilon), with the moments m and v of scale * g +
// penalty * from. `from` may be p. Returns whether all of g is finite.
bool AdamStep(float* p, const float* from, const float* g, float scale, float* m, float* v, int64_t size,
              const AdamRule& rule);

// Kingma and Ba 2015, with AMSGrad (Reddi et al. 2018) and decoupled decay (Loshchilov and Hutter 2019); the
// rules of torch::optim::Adam and AdamW.
template <typename Options>
class AdamOf : public ElementwiseOptimizer {
 public:
  explicit AdamOf(std::vector<torch::optim::OptimizerParamGroup> groups, Options defaults = {});
  explicit AdamOf(std::vector<at::Tensor> parameters, Options defaults = {})
      : AdamOf({torch::optim::OptimizerParamGroup(std::move(parameters))}, defaults) {}

  bool AnyDevice() const override { return true; }

 protected:
  bool Needs(size_t slot, const torch::optim::OptimizerOptions& options) const override;
  bool Update(const Parameter& parameter) override;
  void UpdateRun(const Run& run) override;
};

using Adam = AdamOf<AdamOptions>;
using AdamW = AdamOf<AdamWOptions>;
extern template class AdamOf<AdamOptions>;
extern template class AdamOf<AdamWOptions>;

}  // namespace muster::optim

#endif  // MUSTER_OPTIM_ADAM_H_
