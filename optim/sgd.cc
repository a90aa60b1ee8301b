// Stochastic gradient descent: the LibTorch optimiser and its plug-in.
#include "optim/sgd.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <utility>

#include "optim/gradient_method.h"
#include "optim/kernel.h"

namespace muster::optim {
namespace {

// p -= rate * (g + decay * p). Returns whether some g is not finite.
MUSTER_KERNEL bool PlainStep(float* __restrict p, const float* __restrict g, int64_t size, float rate,
                             float decay) {
  uint32_t bad = 0;
  for (int64_t begin = 0; begin < size; begin += kPrefetched<float>) {
    PrefetchPage(p + begin);
    PrefetchPage(g + begin);
    const int64_t end = std::min(begin + kPrefetched<float>, size);
    for (int64_t i = begin; i < end; ++i) {
      bad |= static_cast<uint32_t>(IsNotFinite(g[i]));
      p[i] = std::fma(-rate, std::fma(decay, p[i], g[i]), p[i]);
    }
  }
  return bad != 0;
}

// How the new momentum m' and the direction follow from gradient g and momentum m.
struct MomentumRule {
  float keep;  // m' = keep * m + gain * g
  float gain;
  float along;  // direction = along * m' + across * g
  float across;

  // `first`: m is empty and takes the gradient over as it is.
  static MomentumRule Make(const SgdOptions& options, bool first) {
    const auto momentum = static_cast<float>(options.momentum());
    return {.keep = momentum,
            .gain = first ? 1.0F : static_cast<float>(1 - options.dampening()),
            .along = options.nesterov() ? momentum : 1.0F,
            .across = options.nesterov() ? 1.0F : 0.0F};
  }
};

MUSTER_KERNEL bool MomentumStep(float* __restrict p, const float* __restrict g, float* __restrict m,
                                int64_t size, float rate, float decay, MomentumRule rule) {
  uint32_t bad = 0;
  for (int64_t i = 0; i < size; ++i) {
    bad |= static_cast<uint32_t>(IsNotFinite(g[i]));
    const float gradient = std::fma(decay, p[i], g[i]);
    const float momentum = std::fma(rule.gain, gradient, rule.keep * m[i]);
    m[i] = momentum;
    p[i] = std::fma(-rate, std::fma(rule.along, momentum, rule.across * gradient), p[i]);
  }
  return bad != 0;
}

}  // namespace

Sgd::Sgd(std::vector<torch::optim::OptimizerParamGroup> groups, SgdOptions defaults)
    : ElementwiseOptimizer(std::move(groups), std::make_unique<SgdOptions>(defaults), {"momentum"}) {
  defaults.Check();
  TORCH_CHECK(!defaults.nesterov() || (defaults.momentum() > 0 && defaults.dampening() == 0),
              "nesterov: needs a momentum above 0 and no dampening");
}

Sgd::Sgd(std::vector<at::Tensor> parameters, SgdOptions defaults)
    : Sgd({torch::optim::OptimizerParamGroup(std::move(parameters))}, defaults) {}

bool Sgd::Needs(size_t /*slot*/, const torch::optim::OptimizerOptions& options) const {
  return static_cast<const SgdOptions&>(options).momentum() > 0;
}

bool Sgd::Update(const Parameter& parameter) {
  const auto& options = parameter.Get<SgdOptions>();
  const auto rate = static_cast<float>(options.lr());
  const auto decay = static_cast<float>(options.weight_decay());
  if (options.momentum() == 0)
    return !PlainStep(parameter.values, parameter.gradient, parameter.size, rate, decay);
  const MomentumRule rule = MomentumRule::Make(options, parameter.step == 1);
  return !MomentumStep(parameter.values, parameter.gradient, parameter.slots[0], parameter.size, rate, decay,
                       rule);
}

void Sgd::UpdateRun(const Run& run) {
  const auto& options = run.Get<SgdOptions>();
  const double rate = options.lr(), decay = options.weight_decay();
  const at::Tensor gradient = decay > 0 ? at::add(run.gradient, run.values, decay) : run.gradient;
  if (options.momentum() == 0) {
    run.values.add_(gradient, -rate);
    return;
  }
  const MomentumRule rule = MomentumRule::Make(options, run.step == 1);
  const at::Tensor& momentum = run.slots[0];
  momentum.mul_(rule.keep).add_(gradient, rule.gain);
  run.values.add_(momentum, -rate * rule.along);
  if (rule.across > 0) run.values.add_(gradient, -rate * rule.across);
}

}  // namespace muster::optim

namespace muster {
namespace {

MUSTER_REGISTER(LocalOptimizer,
                optim::DescribedPlugin<optim::SgdOptions>(
                    "sgd", "Stochastic gradient descent, with momentum if wanted", "Sutskever et al. 2013")
                    .Make<GradientMethod<optim::Sgd, optim::SgdOptions>>());

}  // namespace
}  // namespace muster
