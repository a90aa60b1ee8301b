// ALIAS's Adam version: the LibTorch optimiser and its plug-in.
#include "optim/alias_adam.h"

#include <algorithm>
#include <cmath>
#include <memory>
#include <utility>

#include "optim/gradient_method.h"
#include "optim/kernel.h"
#include "optim/norms.h"

namespace muster::optim {
namespace {

struct Rule {
  float rate;
  float distance;
  float epsilon;
  float beta1;
  float beta2;
  float shrink;
};

MUSTER_KERNEL bool VisionStep(float* __restrict p, const float* __restrict g, float* __restrict m,
                              float* __restrict v, float* __restrict last, int64_t size, Rule r) {
  const float gain1 = 1 - r.beta1;
  const float gain2 = 1 - r.beta2;
  uint32_t bad = 0;
  for (int64_t i = 0; i < size; ++i) {
    bad |= static_cast<uint32_t>(IsNotFinite(g[i]));
    const float scaled = r.distance * g[i];
    m[i] = std::fma(r.beta1, m[i], gain1 * scaled);
    v[i] = std::fma(r.beta2, v[i], gain2 * scaled * scaled);
    last[i] = g[i];
    p[i] = std::fma(-r.rate * r.distance, m[i] / (std::sqrt(v[i]) + r.epsilon), r.shrink * p[i]);
  }
  return bad == 0;
}

MUSTER_KERNEL bool LanguageStep(float* __restrict p, const float* __restrict g, float* __restrict m,
                                float* __restrict v, float* __restrict last, int64_t size, Rule r) {
  const float gain1 = 1 - r.beta1;
  const float gain2 = 1 - r.beta2;
  uint32_t bad = 0;
  for (int64_t i = 0; i < size; ++i) {
    bad |= static_cast<uint32_t>(IsNotFinite(g[i]));
    const float scaled = r.distance * g[i];
    m[i] = std::fma(r.beta1, m[i], gain1 * scaled);
    v[i] = std::fma(r.beta2, v[i], gain2 * scaled * scaled);
    last[i] = g[i];
    const float length = std::sqrt(std::fma(m[i], m[i], r.epsilon) / (v[i] + r.epsilon));
    p[i] = r.shrink * std::fma(-r.rate * r.distance, Sign(m[i]) * length, p[i]);
  }
  return bad == 0;
}

}  // namespace

AliasAdam::AliasAdam(std::vector<torch::optim::OptimizerParamGroup> groups, AliasAdamOptions defaults)
    : ElementwiseOptimizer(std::move(groups), std::make_unique<AliasAdamOptions>(defaults),
                           {"first_moment", "second_moment", "last_gradient"}) {
  defaults.Check();
}

void AliasAdam::ResetFields() {
  distances_.clear();
  averages_.clear();
}

bool AliasAdam::Update(const Parameter& parameter) {
  const auto& options = parameter.Get<AliasAdamOptions>();
  const bool vision = options.form() == "vision";
  const auto& [m, v, last, none] = parameter.slots;
  const auto start = static_cast<float>(options.initial_distance());
  if (distances_.size() <= parameter.index) distances_.resize(parameter.index + 1, start);
  if (averages_.size() <= parameter.index) averages_.resize(parameter.index + 1, vision ? 0 : start);
  float& d = distances_[parameter.index];
  float& r = averages_[parameter.index];
  if (parameter.step > 1) {
    const double q = vision ? SignDot(parameter.gradient, last, parameter.size)
                            : AbsoluteDot(parameter.gradient, last, parameter.size);
    const double keep = std::sqrt(options.beta2());
    r = static_cast<float>(keep * r + (1 - keep) * d * q);
    d = std::max(d, r);
  }
  const Rule rule{.rate = static_cast<float>(options.lr()),
                  .distance = d,
                  .epsilon = static_cast<float>(options.eps()),
                  .beta1 = static_cast<float>(options.beta1()),
                  .beta2 = static_cast<float>(options.beta2()),
                  .shrink = static_cast<float>(1 - options.lr() * options.weight_decay())};
  return (vision ? VisionStep : LanguageStep)(parameter.values, parameter.gradient, m, v, last,
                                              parameter.size, rule);
}

}  // namespace muster::optim

namespace muster {
namespace {

MUSTER_REGISTER(LocalOptimizer, optim::DescribedPlugin<optim::AliasAdamOptions>(
                                    "alias_adam", "Adam scaled by a running estimate of the distance to go",
                                    "arXiv:2506.03725, ALIAS Adam version, in the authors' two forms")
                                    .Make<GradientMethod<optim::AliasAdam, optim::AliasAdamOptions>>());

}  // namespace
}  // namespace muster
