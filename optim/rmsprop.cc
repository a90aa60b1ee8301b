// RMSProp: the LibTorch optimiser and its plug-in.
#include "optim/rmsprop.h"

#include <ATen/ATen.h>

#include <cmath>
#include <memory>
#include <utility>

#include "optim/gradient_method.h"
#include "optim/kernel.h"

namespace muster::optim {
namespace {

struct Rule {
  float rate;
  float alpha;
  float gain;  // 1 - alpha
  float epsilon;
  float momentum;
  float penalty;

  static Rule Make(const RmsPropOptions& options) {
    return {.rate = static_cast<float>(options.lr()),
            .alpha = static_cast<float>(options.alpha()),
            .gain = static_cast<float>(1 - options.alpha()),
            .epsilon = static_cast<float>(options.eps()),
            .momentum = static_cast<float>(options.momentum()),
            .penalty = static_cast<float>(options.weight_decay())};
  }
};

MUSTER_KERNEL bool PlainStep(float* __restrict p, const float* __restrict g, float* __restrict s,
                             int64_t size, Rule r) {
  uint32_t bad = 0;
  for (int64_t i = 0; i < size; ++i) {
    bad |= static_cast<uint32_t>(IsNotFinite(g[i]));
    const float gradient = std::fma(r.penalty, p[i], g[i]);
    s[i] = std::fma(r.alpha, s[i], r.gain * gradient * gradient);
    p[i] = std::fma(-r.rate, gradient / (std::sqrt(s[i]) + r.epsilon), p[i]);
  }
  return bad == 0;
}

MUSTER_KERNEL bool MomentumStep(float* __restrict p, const float* __restrict g, float* __restrict s,
                                float* __restrict b, int64_t size, Rule r) {
  uint32_t bad = 0;
  for (int64_t i = 0; i < size; ++i) {
    bad |= static_cast<uint32_t>(IsNotFinite(g[i]));
    const float gradient = std::fma(r.penalty, p[i], g[i]);
    s[i] = std::fma(r.alpha, s[i], r.gain * gradient * gradient);
    b[i] = std::fma(r.momentum, b[i], gradient / (std::sqrt(s[i]) + r.epsilon));
    p[i] = std::fma(-r.rate, b[i], p[i]);
  }
  return bad == 0;
}

}  // namespace

RmsProp::RmsProp(std::vector<torch::optim::OptimizerParamGroup> groups, RmsPropOptions defaults)
    : ElementwiseOptimizer(std::move(groups), std::make_unique<RmsPropOptions>(defaults),
                           {"mean_square", "momentum"}) {
  defaults.Check();
}

bool RmsProp::Needs(size_t slot, const torch::optim::OptimizerOptions& options) const {
  return slot == 0 || static_cast<const RmsPropOptions&>(options).momentum() > 0;
}

bool RmsProp::Update(const Parameter& parameter) {
  const auto& options = parameter.Get<RmsPropOptions>();
  const Rule rule = Rule::Make(options);
  const auto& [s, b, none, none2] = parameter.slots;
  if (options.momentum() == 0)
    return PlainStep(parameter.values, parameter.gradient, s, parameter.size, rule);
  return MomentumStep(parameter.values, parameter.gradient, s, b, parameter.size, rule);
}

void RmsProp::UpdateRun(const Run& run) {
  const auto& options = run.Get<RmsPropOptions>();
  const Rule rule = Rule::Make(options);
  const at::Tensor gradient =
      rule.penalty > 0 ? at::add(run.gradient, run.values, rule.penalty) : run.gradient;
  const at::Tensor& square = run.slots[0];
  square.mul_(rule.alpha).addcmul_(gradient, gradient, rule.gain);
  const at::Tensor root = at::sqrt(square).add_(rule.epsilon);
  if (options.momentum() == 0) {
    run.values.addcdiv_(gradient, root, -rule.rate);
    return;
  }
  run.slots[1].mul_(rule.momentum).addcdiv_(gradient, root);
  run.values.add_(run.slots[1], -rule.rate);
}

}  // namespace muster::optim

namespace muster {
namespace {

MUSTER_REGISTER(LocalOptimizer,
                optim::DescribedPlugin<optim::RmsPropOptions>(
                    "rmsprop", "Steps divided by the root of the gradient's running mean square",
                    "Tieleman and Hinton 2012")
                    .Make<GradientMethod<optim::RmsProp, optim::RmsPropOptions>>());

}  // namespace
}  // namespace muster
