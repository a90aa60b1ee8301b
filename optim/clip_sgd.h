// Clip-SGD (arXiv:2505.20817).
#ifndef MUSTER_OPTIM_CLIP_SGD_H_
#define MUSTER_OPTIM_CLIP_SGD_H_

#include <cstdint>
#include <string>
#include <vector>

#include "optim/optimizer.h"
#include "optim/options.h"

namespace muster::optim {

// What is known of a convex problem: ||hessian|| <= L0 + L1 ||gradient||, R0 >= ||x_0 - x*||, and noise with
// E ||g - grad f||^alpha <= sigma^alpha.
struct ClipProblem {
  double l0 = 1;
  double l1 = 0;
  double r0 = 1;
  double sigma = 0;
  double alpha = 1.5;      // in (1, 2]
  int64_t horizon = 1000;  // K, steps that will be made
  double delta = 0.05;     // probability of failure
  double c = 4;            // 4: theory; 0.5: practical
};
struct ClipSchedule {
  double level = 0;      // lambda
  double step_size = 0;  // gamma
};
// One level for both demands of arXiv:2505.20817, a fixed one of (L0, L1)-smoothness and a growing one of
// heavy tails; the constants are derived from its conditions, not quoted. With A = ln(4 K / delta):
//   lambda = max{ min(L0 / L1, L0 R0), sigma (K / A)^(1/alpha) },  gamma = R0 / (c lambda max{L1 R0, A})
ClipSchedule ScheduleClipping(const ClipProblem& problem);

struct ClipSgdOptions : public OptionsOf<ClipSgdOptions> {
  ClipSgdOptions(double learning_rate = 0.1) : lr_(learning_rate) {}  // NOLINT: implicit, as in torch::optim
  MUSTER_ARG(double, lr);
  MUSTER_ARG(std::string, norm) = "global";
  MUSTER_ARG(std::string, rule) = "fixed";
  MUSTER_ARG(double, level) = 1;
  MUSTER_ARG(double, momentum) = 0;
  MUSTER_ARG(double, quantile) = 0.9;
  MUSTER_ARG(int64_t, window) = 200;
  MUSTER_ARG(double, alpha) = 1.5;
  MUSTER_ARG(double, l0) = 1;
  MUSTER_ARG(double, l1) = 0;
  MUSTER_ARG(double, r0) = 1;
  MUSTER_ARG(double, sigma) = 0;
  MUSTER_ARG(int64_t, horizon) = 1000;
  MUSTER_ARG(double, delta) = 0.05;
  MUSTER_ARG(double, c) = 4;

  template <typename Visitor>
  static void Describe(Visitor&& option) {
    option("learning_rate", &ClipSgdOptions::lr_, "step size; with rule: schedule a factor on its step size",
           Above(0));
    option("norm", &ClipSgdOptions::norm_, "what is clipped: the whole gradient, every tensor, every element",
           OneOf({"global", "layer", "coordinate"}));
    option("rule", &ClipSgdOptions::rule_,
           "the level: given, by the recent norms, or by the paper's schedule",
           OneOf({"fixed", "quantile", "schedule"}));
    option("level", &ClipSgdOptions::level_, "largest norm, for rule: fixed", Above(0));
    option("momentum", &ClipSgdOptions::momentum_, "share of the last direction that is kept", Within(0, 1));
    option("quantile", &ClipSgdOptions::quantile_, "of the recent norms, for rule: quantile",
           AboveUpTo(0, 1));
    option("window", &ClipSgdOptions::window_, "how many norms are recent, for rule: quantile", AtLeast(1));
    option("alpha", &ClipSgdOptions::alpha_,
           "the noise's moment that is finite, for rule: quantile and schedule", AboveUpTo(1, 2));
    option("l0", &ClipSgdOptions::l0_, "smoothness where the gradient is 0, for rule: schedule", Above(0));
    option("l1", &ClipSgdOptions::l1_, "growth of the smoothness with the gradient, for rule: schedule",
           AtLeast(0));
    option("r0", &ClipSgdOptions::r0_, "distance from the start to the solution, for rule: schedule",
           Above(0));
    option("sigma", &ClipSgdOptions::sigma_, "size of the noise, for rule: schedule", AtLeast(0));
    option("horizon", &ClipSgdOptions::horizon_, "steps that will be made, for rule: schedule", AtLeast(1));
    option("delta", &ClipSgdOptions::delta_, "probability of failure, for rule: schedule", Between(1e-12, 1));
    option("c", &ClipSgdOptions::c_, "4 for the theory, 0.5 for practice; for rule: schedule", Above(0));
  }
};

// x <- x - lr clip(g, lambda), clip(g, lambda) = g min(1, lambda / ||g||); with momentum, the clipped
// gradients are accumulated. Norms are computed in double, so that no finite gradient overflows. A gradient
// that is not finite is refused before anything changes.
//
// rule: quantile has lambda_k = the quantile of the last `window` norms, this one's included, times
// (1 + k / window)^(1/alpha - 1/2) (no theorem covers it). It needs norm: global.
//
// All parameter groups share the options of the first but for lr and momentum.
class ClipSgd : public Optimizer {
 public:
  explicit ClipSgd(std::vector<torch::optim::OptimizerParamGroup> groups, ClipSgdOptions defaults = {});
  explicit ClipSgd(std::vector<at::Tensor> parameters, ClipSgdOptions defaults = {})
      : ClipSgd({torch::optim::OptimizerParamGroup(std::move(parameters))}, defaults) {}

  absl::StatusOr<double> Step(Evaluate evaluate) override;

  // Of the last step.
  double level() const { return level_; }
  // Share of the steps that clipped something.
  double clipped_share() const { return steps_ > 0 ? clipped_ / steps_ : 0; }

 protected:
  bool Needs(size_t slot, const torch::optim::OptimizerOptions& options) const override;
  Fields fields() override;
  void ResetFields() override;

 private:
  const ClipSgdOptions& shared() const;
  // The clip level of this step, whose gradient has that norm.
  double Level(double norm);

  double schedule_step_ = 1;
  double level_ = 0;
  double steps_ = 0;
  double clipped_ = 0;
  std::vector<float> norms_;  // the recent ones, oldest first; rule: quantile only
};

}  // namespace muster::optim

#endif  // MUSTER_OPTIM_CLIP_SGD_H_
