// Sign-SGD: the step that other methods contain, the LibTorch optimiser and its plug-in.
#include "optim/sign_sgd.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <utility>

#include "optim/gradient_method.h"
#include "optim/kernel.h"

namespace muster::optim {
namespace {

MUSTER_KERNEL bool PlainStep(float* __restrict p, const float* __restrict g, int64_t size, float rate,
                             float shrink) {
  uint32_t bad = 0;
  for (int64_t begin = 0; begin < size; begin += kPrefetched<float>) {
    PrefetchPage(p + begin);
    PrefetchPage(g + begin);
    const int64_t end = std::min(begin + kPrefetched<float>, size);
    for (int64_t i = begin; i < end; ++i) {
      bad |= static_cast<uint32_t>(IsNotFinite(g[i]));
      p[i] = std::fma(-rate, Sign(g[i]), shrink * p[i]);
    }
  }
  return bad == 0;
}

MUSTER_KERNEL bool MomentumStep(float* __restrict p, const float* __restrict g, float* __restrict b,
                                int64_t size, SignRule r) {
  uint32_t bad = 0;
  for (int64_t i = 0; i < size; ++i) {
    bad |= static_cast<uint32_t>(IsNotFinite(g[i]));
    const float momentum = std::fma(r.keep, b[i], r.gain * g[i]);
    b[i] = momentum;
    p[i] = std::fma(-r.rate, Sign(std::fma(r.along, momentum, r.across * g[i])), r.shrink * p[i]);
  }
  return bad == 0;
}

}  // namespace

SignRule SignRule::Make(double rate, double weight_decay, double momentum, double dampening, bool nesterov,
                        bool first) {
  return {.rate = static_cast<float>(rate),
          .shrink = static_cast<float>(1 - rate * weight_decay),
          .keep = static_cast<float>(momentum),
          .gain = first ? 1.0F : static_cast<float>(1 - dampening),
          .along = nesterov ? static_cast<float>(momentum) : 1.0F,
          .across = nesterov ? 1.0F : 0.0F};
}

bool SignStep(float* p, const float* g, float* b, int64_t size, const SignRule& rule) {
  if (b == nullptr) return PlainStep(p, g, size, rule.rate, rule.shrink);
  return MomentumStep(p, g, b, size, rule);
}

SignSgd::SignSgd(std::vector<torch::optim::OptimizerParamGroup> groups, SignSgdOptions defaults)
    : ElementwiseOptimizer(std::move(groups), std::make_unique<SignSgdOptions>(defaults), {"momentum"}) {
  defaults.Check();
  TORCH_CHECK(!defaults.nesterov() || defaults.momentum() > 0, "nesterov: needs a momentum above 0");
}

bool SignSgd::Needs(size_t /*slot*/, const torch::optim::OptimizerOptions& options) const {
  return static_cast<const SignSgdOptions&>(options).momentum() > 0;
}

bool SignSgd::Update(const Parameter& parameter) {
  const auto& options = parameter.Get<SignSgdOptions>();
  return SignStep(parameter.values, parameter.gradient, parameter.slots[0], parameter.size,
                  SignRule::Make(options.lr(), options.weight_decay(), options.momentum(),
                                 options.dampening(), options.nesterov(), parameter.step == 1));
}

void SignSgd::UpdateRun(const Run& run) {
  const auto& options = run.Get<SignSgdOptions>();
  const SignRule rule = SignRule::Make(options.lr(), options.weight_decay(), options.momentum(),
                                       options.dampening(), options.nesterov(), run.step == 1);
  at::Tensor direction = run.gradient;
  if (options.momentum() > 0) {
    const at::Tensor& momentum = run.slots[0];
    momentum.mul_(rule.keep).add_(run.gradient, rule.gain);
    direction =
        rule.across > 0 ? at::add(at::mul(momentum, rule.along), run.gradient, rule.across) : momentum;
  }
  if (rule.shrink != 1) run.values.mul_(rule.shrink);
  run.values.add_(at::sign(direction), -rule.rate);
}

}  // namespace muster::optim

namespace muster {
namespace {

MUSTER_REGISTER(LocalOptimizer,
                optim::DescribedPlugin<optim::SignSgdOptions>(
                    "sign_sgd", "Steps of one length along the sign of the gradient or of its momentum",
                    "Bernstein et al. 2018, arXiv:1802.04434; arXiv:2506.03725")
                    .Make<GradientMethod<optim::SignSgd, optim::SignSgdOptions>>());

}  // namespace
}  // namespace muster
