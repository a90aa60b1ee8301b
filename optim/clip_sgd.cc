// Clip-SGD: the LibTorch optimiser and its plug-in.
#include "optim/clip_sgd.h"

#include <algorithm>
#include <cmath>
#include <memory>
#include <utility>

#include "optim/gradient_method.h"
#include "optim/kernel.h"
#include "optim/norms.h"

namespace muster::optim {
namespace {

// p -= rate * clamp(scale * g, -bound, bound)
MUSTER_KERNEL void PlainStep(float* __restrict p, const float* __restrict g, int64_t size, float rate,
                             float scale, float bound) {
  for (int64_t i = 0; i < size; ++i) {
    const float clipped = std::min(std::max(scale * g[i], -bound), bound);
    p[i] = std::fma(-rate, clipped, p[i]);
  }
}

MUSTER_KERNEL void MomentumStep(float* __restrict p, const float* __restrict g, float* __restrict m,
                                int64_t size, float rate, float scale, float bound, float keep) {
  for (int64_t i = 0; i < size; ++i) {
    const float clipped = std::min(std::max(scale * g[i], -bound), bound);
    m[i] = std::fma(keep, m[i], clipped);
    p[i] = std::fma(-rate, m[i], p[i]);
  }
}

}  // namespace

ClipSchedule ScheduleClipping(const ClipProblem& problem) {
  const double a = std::log(4 * static_cast<double>(problem.horizon) / problem.delta);
  const double smooth =
      problem.l1 > 0 ? std::min(problem.l0 / problem.l1, problem.l0 * problem.r0) : problem.l0 * problem.r0;
  const double noisy = problem.sigma * std::pow(static_cast<double>(problem.horizon) / a, 1 / problem.alpha);
  ClipSchedule schedule;
  schedule.level = std::max(smooth, noisy);
  schedule.step_size = problem.r0 / (problem.c * schedule.level * std::max(problem.l1 * problem.r0, a));
  return schedule;
}

ClipSgd::ClipSgd(std::vector<torch::optim::OptimizerParamGroup> groups, ClipSgdOptions defaults)
    : Optimizer(std::move(groups), std::make_unique<ClipSgdOptions>(defaults), {"momentum"}) {
  defaults.Check();
  TORCH_CHECK(defaults.rule() != "quantile" || defaults.norm() == "global",
              "norm: must be global with rule: quantile");
  level_ = defaults.level();
  if (defaults.rule() == "schedule") {
    const ClipSchedule schedule = ScheduleClipping({.l0 = defaults.l0(),
                                                    .l1 = defaults.l1(),
                                                    .r0 = defaults.r0(),
                                                    .sigma = defaults.sigma(),
                                                    .alpha = defaults.alpha(),
                                                    .horizon = defaults.horizon(),
                                                    .delta = defaults.delta(),
                                                    .c = defaults.c()});
    level_ = schedule.level;
    schedule_step_ = schedule.step_size;
  }
}

const ClipSgdOptions& ClipSgd::shared() const {
  return static_cast<const ClipSgdOptions&>(param_groups_[0].options());
}

bool ClipSgd::Needs(size_t /*slot*/, const torch::optim::OptimizerOptions& options) const {
  return static_cast<const ClipSgdOptions&>(options).momentum() > 0;
}

Optimizer::Fields ClipSgd::fields() {
  return {.numbers = {{"steps", &steps_}, {"clipped", &clipped_}}, .vectors = {{"norms", &norms_}}};
}

void ClipSgd::ResetFields() {
  steps_ = clipped_ = 0;
  norms_.clear();
}

double ClipSgd::Level(double norm) {
  const ClipSgdOptions& options = shared();
  if (options.rule() != "quantile") return level_;
  const auto window = static_cast<size_t>(options.window());
  if (norms_.size() >= window) norms_.erase(norms_.begin(), norms_.end() - static_cast<int64_t>(window) + 1);
  norms_.push_back(static_cast<float>(norm));
  std::vector<float> sorted = norms_;
  const auto rank =
      static_cast<size_t>(std::ceil(options.quantile() * static_cast<double>(sorted.size()))) - 1;
  std::nth_element(sorted.begin(), sorted.begin() + static_cast<int64_t>(rank), sorted.end());
  const double growth = std::pow(1 + steps_ / static_cast<double>(window), 1 / options.alpha() - 0.5);
  return static_cast<double>(sorted[rank]) * growth;
}

absl::StatusOr<double> ClipSgd::Step(Evaluate evaluate) {
  MUSTER_ASSIGN_OR_RETURN(const double loss, evaluate());
  MUSTER_ASSIGN_OR_RETURN(const std::vector<Parameter> parameters, Gather());
  const std::string& norm_kind = shared().norm();
  const bool by_element = norm_kind == "coordinate";
  // One norm a tensor, then one over all if it is global.
  std::vector<double> norms;
  double sum = 0;
  for (const Parameter& p : parameters) {
    // The largest element tells as surely as the sum whether all are finite; NaN compares false.
    double norm = by_element ? LInfNorm(p.gradient, p.size) : SumOfSquares(p.gradient, p.size);
    if (by_element ? !AllFinite(p.gradient, p.size) : !std::isfinite(norm)) return NotFinite(p.index);
    sum += norm;
    norms.push_back(by_element ? norm : std::sqrt(norm));
  }
  if (norm_kind == "global") norms.assign(norms.size(), std::sqrt(sum));
  level_ = Level(std::sqrt(sum));
  ++steps_;
  bool clipped = false;
  for (size_t i = 0; i < parameters.size(); ++i) {
    const Parameter& p = parameters[i];
    const auto& own = p.Get<ClipSgdOptions>();
    const bool over = norms[i] > level_;
    clipped = clipped || over;
    const auto rate = static_cast<float>(own.lr() * schedule_step_);
    const float scale = over && !by_element ? static_cast<float>(level_ / norms[i]) : 1.0F;
    const float bound = by_element ? static_cast<float>(level_) : HUGE_VALF;
    if (own.momentum() > 0) {
      MomentumStep(p.values, p.gradient, p.slots[0], p.size, rate, scale, bound,
                   static_cast<float>(own.momentum()));
    } else {
      PlainStep(p.values, p.gradient, p.size, rate, scale, bound);
    }
  }
  if (clipped) ++clipped_;
  return loss;
}

}  // namespace muster::optim

namespace muster {
namespace {

class ClipSgdMethod final : public GradientMethod<optim::ClipSgd, optim::ClipSgdOptions> {
 public:
  static absl::StatusOr<std::unique_ptr<LocalOptimizer>> Create(const optim::ClipSgdOptions& options,
                                                                const Context& context) {
    return MakeMethod<ClipSgdMethod>(options, context);
  }
  using GradientMethod::GradientMethod;
  Numbers Report() const override {
    const auto& clip = static_cast<const optim::ClipSgd&>(optimizer());
    return {{"clip_level", {clip.level()}}, {"clipped_share", {clip.clipped_share()}}};
  }
};

MUSTER_REGISTER(LocalOptimizer,
                optim::DescribedPlugin<optim::ClipSgdOptions>(
                    "clip_sgd", "SGD with clipped gradients, for heavy-tailed noise and steep losses",
                    "arXiv:2505.20817")
                    .Make<ClipSgdMethod>());

}  // namespace
}  // namespace muster
