// Adam: the rule that other methods contain, the LibTorch optimiser and its plug-in.
#include "optim/adam.h"

#include <ATen/ATen.h>

#include <cmath>
#include <memory>
#include <type_traits>
#include <utility>

#include "optim/gradient_method.h"
#include "optim/kernel.h"

namespace muster::optim {
namespace {

// `largest` is the second moment's running maximum (AMSGrad).
MUSTER_KERNEL bool AmsGradStep(float* __restrict p, const float* __restrict g, float* __restrict m,
                               float* __restrict v, float* __restrict largest, int64_t size, AdamRule rule) {
  const float gain1 = 1 - rule.beta1;
  const float gain2 = 1 - rule.beta2;
  uint32_t bad = 0;
  for (int64_t i = 0; i < size; ++i) {
    bad |= static_cast<uint32_t>(IsNotFinite(g[i]));
    const float gradient = std::fma(rule.penalty, p[i], g[i]);
    const float first = std::fma(rule.beta1, m[i], gain1 * gradient);
    const float second = std::fma(rule.beta2, v[i], gain2 * gradient * gradient);
    const float most = second > largest[i] ? second : largest[i];
    m[i] = first;
    v[i] = second;
    largest[i] = most;
    p[i] = std::fma(-rule.rate, first / std::fma(std::sqrt(most), rule.root_scale, rule.epsilon),
                    rule.shrink * p[i]);
  }
  return bad != 0;
}

template <typename Options>
AdamRule RuleAtStep(int64_t step, const Options& options) {
  AdamRule rule = AdamRule::AtStep(step, options.lr(), options.beta1(), options.beta2(), options.eps());
  if constexpr (std::is_same_v<Options, AdamWOptions>) {
    rule.shrink = static_cast<float>(1 - options.lr() * options.weight_decay());
  } else {
    rule.penalty = static_cast<float>(options.weight_decay());
  }
  return rule;
}

}  // namespace

AdamRule AdamRule::AtStep(int64_t step, double rate, double beta1, double beta2, double epsilon) {
  const auto t = static_cast<double>(step);
  return {.rate = static_cast<float>(rate / (1 - std::pow(beta1, t))),
          .root_scale = static_cast<float>(1 / std::sqrt(1 - std::pow(beta2, t))),
          .epsilon = static_cast<float>(epsilon),
          .beta1 = static_cast<float>(beta1),
          .beta2 = static_cast<float>(beta2)};
}

MUSTER_KERNEL bool AdamStep(float* p, const float* from, const float* g, float scale, float* m, float* v,
                            int64_t size, const AdamRule& rule) {
  const AdamRule r = rule;
  const float gain1 = 1 - r.beta1;
  const float gain2 = 1 - r.beta2;
  uint32_t bad = 0;
// Element i depends on element i alone, whether or not `from` is p.
#pragma GCC ivdep
  for (int64_t i = 0; i < size; ++i) {
    bad |= static_cast<uint32_t>(IsNotFinite(g[i]));
    const float gradient = std::fma(r.penalty, from[i], scale * g[i]);
    const float first = std::fma(r.beta1, m[i], gain1 * gradient);
    const float second = std::fma(r.beta2, v[i], gain2 * gradient * gradient);
    m[i] = first;
    v[i] = second;
    p[i] =
        std::fma(-r.rate, first / std::fma(std::sqrt(second), r.root_scale, r.epsilon), r.shrink * from[i]);
  }
  return bad == 0;
}

template <typename Options>
AdamOf<Options>::AdamOf(std::vector<torch::optim::OptimizerParamGroup> groups, Options defaults)
    : ElementwiseOptimizer(std::move(groups), std::make_unique<Options>(defaults),
                           {"first_moment", "second_moment", "largest_second_moment"}) {
  defaults.Check();
}

template <typename Options>
bool AdamOf<Options>::Needs(size_t slot, const torch::optim::OptimizerOptions& options) const {
  return slot < 2 || static_cast<const Options&>(options).amsgrad();
}

template <typename Options>
bool AdamOf<Options>::Update(const Parameter& parameter) {
  const auto& options = parameter.Get<Options>();
  const AdamRule rule = RuleAtStep(parameter.step, options);
  const auto& [m, v, largest, none] = parameter.slots;
  if (options.amsgrad()) {
    return !AmsGradStep(parameter.values, parameter.gradient, m, v, largest, parameter.size, rule);
  }
  return AdamStep(parameter.values, parameter.values, parameter.gradient, 1, m, v, parameter.size, rule);
}

template <typename Options>
void AdamOf<Options>::UpdateRun(const Run& run) {
  const auto& options = run.Get<Options>();
  const AdamRule rule = RuleAtStep(run.step, options);
  const at::Tensor gradient =
      rule.penalty > 0 ? at::add(run.gradient, run.values, rule.penalty) : run.gradient;
  const auto& [first, second, largest, none] = run.slots;
  first.mul_(rule.beta1).add_(gradient, 1 - rule.beta1);
  second.mul_(rule.beta2).addcmul_(gradient, gradient, 1 - rule.beta2);
  if (options.amsgrad()) largest.copy_(at::maximum(largest, second));
  const at::Tensor root =
      at::sqrt(options.amsgrad() ? largest : second).mul_(rule.root_scale).add_(rule.epsilon);
  if (rule.shrink != 1) run.values.mul_(rule.shrink);
  run.values.addcdiv_(first, root, -rule.rate);
}

template class AdamOf<AdamOptions>;
template class AdamOf<AdamWOptions>;

}  // namespace muster::optim

namespace muster {
namespace {

MUSTER_REGISTER(LocalOptimizer,
                optim::DescribedPlugin<optim::AdamOptions>("adam",
                                                           "Steps scaled by running moments of the gradient",
                                                           "Kingma and Ba 2015; AMSGrad: Reddi et al. 2018")
                    .Make<GradientMethod<optim::Adam, optim::AdamOptions>>());

}  // namespace
}  // namespace muster
