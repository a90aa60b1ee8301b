// ALIAS: Sign-SGD that finds its own step size (arXiv:2506.03725).
#ifndef MUSTER_OPTIM_ALIAS_H_
#define MUSTER_OPTIM_ALIAS_H_

#include <cstdint>
#include <string>
#include <vector>

#include "optim/optimizer.h"
#include "optim/options.h"

namespace muster::optim {

struct AliasOptions : public OptionsOf<AliasOptions> {
  AliasOptions() = default;
  MUSTER_ARG(double, lr) = 1;
  MUSTER_ARG(std::string, distance) = "loss";
  MUSTER_ARG(double, f_low) = 0;
  MUSTER_ARG(double, initial_distance) = 1;
  MUSTER_ARG(double, initial_smoothness) = 0;
  MUSTER_ARG(double, probe) = 1e-5;
  MUSTER_ARG(int64_t, gap) = 10;
  MUSTER_ARG(bool, same_batch) = false;
  MUSTER_ARG(double, clamp) = 0;
  MUSTER_ARG(int64_t, warmup) = 0;
  MUSTER_ARG(double, warmup_lr) = 1e-4;
  MUSTER_ARG(double, weight_decay) = 0;
  MUSTER_ARG(double, momentum) = 0;
  MUSTER_ARG(double, dampening) = 0;
  MUSTER_ARG(bool, nesterov) = false;
  MUSTER_ARG(bool, memory_efficient) = false;

  template <typename Visitor>
  static void Describe(Visitor&& option) {
    option("learning_rate", &AliasOptions::lr_,
           "factor on the step size that is found; 1 is the method's own", Above(0));
    option("distance", &AliasOptions::distance_,
           "how far the loss can fall: estimated on the way (option I, needs gap 1), or by the first loss "
           "(option II)",
           OneOf({"estimate", "loss"}));
    option("f_low", &AliasOptions::f_low_, "a lower bound of the loss, for distance: loss");
    option("initial_distance", &AliasOptions::initial_distance_, "where distance: estimate starts", Above(0));
    option("initial_smoothness", &AliasOptions::initial_smoothness_,
           "where the smoothness starts; 0 probes it", AtLeast(0));
    option("probe", &AliasOptions::probe_, "length of the probing step in every coordinate", Above(0));
    option("gap", &AliasOptions::gap_,
           "steps from one measurement to the next; noise counts gap^2 times less", AtLeast(1));
    option("same_batch", &AliasOptions::same_batch_,
           "measure both gradients on one batch, at the cost of a second evaluation");
    option("clamp", &AliasOptions::clamp_, "largest step size; 0: none", AtLeast(0));
    option("warmup", &AliasOptions::warmup_,
           "first steps, whose size rises to warmup_learning_rate unmeasured", AtLeast(0));
    option("warmup_learning_rate", &AliasOptions::warmup_lr_, "step size at the end of the warm-up",
           Above(0));
    option("weight_decay", &AliasOptions::weight_decay_,
           "share of each weight lost per step, in units of the step size", AtLeast(0));
    option("momentum", &AliasOptions::momentum_, "share of the last direction that is kept", Within(0, 1));
    option("dampening", &AliasOptions::dampening_, "share of the gradient that the momentum leaves out",
           Within(0, 1));
    option("nesterov", &AliasOptions::nesterov_, "look ahead along the momentum");
    option(
        "memory_efficient", &AliasOptions::memory_efficient_,
        "remember one bit of each gradient element instead of two vectors; needs gap 1 and no weight_decay");
  }
};

// Sign-SGD with the step size gamma_t = lr sqrt(d_t / eta_t). In arXiv:2506.03725's terms:
//
//   eta  += ||g_t - g_a||_1 / ||x_t - x_a||_inf     at every gap-th step, a being the step of the last
//   measurement d     = f(x_0) - f_low                          distance: loss (option II) d     = max(d,
//   d~),  d~ += <g_t, x_{t-1} - x_t> distance: estimate (option I); without momentum, decay and clamp
//                                                   the increment is gamma_{t-1} <g_t, sign g_{t-1}>
//
// eta starts at ||grad f(x_0 - h sign g_0) - g_0||_1 / h (the probe), or at initial_smoothness. Norms go over
// all parameters and are summed in double. With momentum the step goes along the sign of the momentum, while
// both estimates are of the raw gradient. memory_efficient bounds ||g_t - g_{t-1}||_inf from the signs, the
// least and the largest magnitude of g_{t-1}, and divides by ||x_t - x_{t-1}||_1, as in the paper; size x
// non-zero signs times that quotient bounds the eta above, so its steps are the shorter ones.
//
// All parameter groups share the options of the first but for lr and weight_decay.
class Alias : public Optimizer {
 public:
  explicit Alias(std::vector<torch::optim::OptimizerParamGroup> groups, AliasOptions defaults = {});
  explicit Alias(std::vector<at::Tensor> parameters, AliasOptions defaults = {})
      : Alias({torch::optim::OptimizerParamGroup(std::move(parameters))}, defaults) {}

  absl::StatusOr<double> Step(Evaluate evaluate) override;

  // Of the last step; before any, 0.
  double step_size() const { return step_size_; }
  // eta, and d.
  double smoothness() const { return smoothness_; }
  double distance() const { return distance_; }
  // Share of the measured steps whose size the clamp cut. Near 1 the clamp has replaced the method.
  double clamped_share() const { return steps_ > 0 ? clamped_ / steps_ : 0; }

 protected:
  bool Needs(size_t slot, const torch::optim::OptimizerOptions& options) const override;
  Fields fields() override;
  void ResetFields() override;

 private:
  enum Slot : size_t { kMomentum, kAnchorValues, kAnchorGradient };

  const AliasOptions& shared() const;
  absl::Status Begin(std::vector<Parameter>& parameters, double loss, Evaluate evaluate);
  absl::Status Measure(std::vector<Parameter>& parameters, Evaluate evaluate);
  // An upper bound of ||g - g_{t-1}||_inf.
  double ChangeFromSigns(const std::vector<Parameter>& parameters) const;
  void RememberSigns(const std::vector<Parameter>& parameters);

  double steps_ = 0;  // measured ones: after the warm-up
  double warmed_ = 0;
  double smoothness_ = 0;
  double distance_ = 0;
  double fallen_ = 0;  // d~
  double step_size_ = 0;
  double clamped_ = 0;
  // memory_efficient: of the last gradient; the signs as one bit an element (set: not negative), 16 to a
  // float, which holds that many bits exactly.
  double least_ = 0;
  double largest_ = 0;
  std::vector<float> signs_;
};

}  // namespace muster::optim

#endif  // MUSTER_OPTIM_ALIAS_H_
