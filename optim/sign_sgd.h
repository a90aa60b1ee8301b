// Sign-SGD: steps of one length in every coordinate.
#ifndef MUSTER_OPTIM_SIGN_SGD_H_
#define MUSTER_OPTIM_SIGN_SGD_H_

#include <vector>

#include "optim/optimizer.h"
#include "optim/options.h"

namespace muster::optim {

struct SignSgdOptions : public OptionsOf<SignSgdOptions> {
  SignSgdOptions(double learning_rate = 0.001)
      : lr_(learning_rate) {}  // NOLINT: implicit, as in torch::optim
  MUSTER_ARG(double, lr);
  MUSTER_ARG(double, momentum) = 0;
  MUSTER_ARG(double, dampening) = 0;
  MUSTER_ARG(bool, nesterov) = false;
  MUSTER_ARG(double, weight_decay) = 0;

  template <typename Visitor>
  static void Describe(Visitor&& option) {
    option("learning_rate", &SignSgdOptions::lr_, "length of a step in every coordinate", Above(0));
    option("momentum", &SignSgdOptions::momentum_, "share of the last direction that is kept", Within(0, 1));
    option("dampening", &SignSgdOptions::dampening_, "share of the gradient that the momentum leaves out",
           Within(0, 1));
    option("nesterov", &SignSgdOptions::nesterov_, "look ahead along the momentum");
    option("weight_decay", &SignSgdOptions::weight_decay_,
           "share of each weight lost per step, in units of learning_rate", AtLeast(0));
  }
};

// The step on raw floats, for all methods that contain it.
struct SignRule {
  float rate;
  float shrink = 1;  // p *= shrink before the step: decoupled weight decay
  float keep = 0;    // b' = keep b + gain g; only with b
  float gain = 1;
  float along = 1;  // direction = sign(along b' + across g); only with b
  float across = 0;

  // `first`: b is empty and takes the gradient over as it is.
  static SignRule Make(double rate, double weight_decay, double momentum, double dampening, bool nesterov,
                       bool first);
};
// p = shrink p - rate sign(direction), sign(0) = 0. Without momentum `b` is null and the direction is g.
// Returns whether all of g is finite.
bool SignStep(float* p, const float* g, float* b, int64_t size, const SignRule& rule);

// x <- (1 - lr wd) x - lr sign(g), or of the heavy-ball or Nesterov momentum of g. Bernstein et al. 2018
// (signSGD, Signum); arXiv:2506.03725, section 1 and heavy-ball form.
class SignSgd : public ElementwiseOptimizer {
 public:
  explicit SignSgd(std::vector<torch::optim::OptimizerParamGroup> groups, SignSgdOptions defaults = {});
  explicit SignSgd(std::vector<at::Tensor> parameters, SignSgdOptions defaults = {})
      : SignSgd({torch::optim::OptimizerParamGroup(std::move(parameters))}, defaults) {}

  bool AnyDevice() const override { return true; }

 protected:
  bool Needs(size_t slot, const torch::optim::OptimizerOptions& options) const override;
  bool Update(const Parameter& parameter) override;
  void UpdateRun(const Run& run) override;
};

}  // namespace muster::optim

#endif  // MUSTER_OPTIM_SIGN_SGD_H_
