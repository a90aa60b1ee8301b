// Adagrad: the LibTorch optimiser and its plug-in.
#include "optim/adagrad.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <utility>

#include "optim/gradient_method.h"
#include "optim/kernel.h"

namespace muster::optim {
namespace {

MUSTER_KERNEL bool AdagradStep(float* __restrict p, const float* __restrict g, float* __restrict s,
                               int64_t size, float rate, float epsilon, float penalty) {
  uint32_t bad = 0;
  for (int64_t i = 0; i < size; ++i) {
    bad |= static_cast<uint32_t>(IsNotFinite(g[i]));
    const float gradient = std::fma(penalty, p[i], g[i]);
    s[i] = std::fma(gradient, gradient, s[i]);
    p[i] = std::fma(-rate, gradient / (std::sqrt(s[i]) + epsilon), p[i]);
  }
  return bad == 0;
}

double RateAt(const AdagradOptions& options, int64_t step) {
  return options.lr() / (1 + static_cast<double>(step - 1) * options.lr_decay());
}

}  // namespace

Adagrad::Adagrad(std::vector<torch::optim::OptimizerParamGroup> groups, AdagradOptions defaults)
    : ElementwiseOptimizer(std::move(groups), std::make_unique<AdagradOptions>(defaults),
                           {"sum_of_squares"}) {
  defaults.Check();
}

bool Adagrad::Update(const Parameter& parameter) {
  const auto& options = parameter.Get<AdagradOptions>();
  float* const sum = parameter.slots[0];
  if (parameter.step == 1) std::fill(sum, sum + parameter.size, static_cast<float>(options.initial_sum()));
  return AdagradStep(parameter.values, parameter.gradient, sum, parameter.size,
                     static_cast<float>(RateAt(options, parameter.step)), static_cast<float>(options.eps()),
                     static_cast<float>(options.weight_decay()));
}

void Adagrad::UpdateRun(const Run& run) {
  const auto& options = run.Get<AdagradOptions>();
  const at::Tensor& sum = run.slots[0];
  if (run.step == 1) sum.fill_(options.initial_sum());
  const double penalty = options.weight_decay();
  const at::Tensor gradient = penalty > 0 ? at::add(run.gradient, run.values, penalty) : run.gradient;
  sum.addcmul_(gradient, gradient);
  run.values.addcdiv_(gradient, at::sqrt(sum).add_(options.eps()), -RateAt(options, run.step));
}

}  // namespace muster::optim

namespace muster {
namespace {

MUSTER_REGISTER(LocalOptimizer,
                optim::DescribedPlugin<optim::AdagradOptions>(
                    "adagrad", "Steps divided by the root of the sum of all squared gradients",
                    "Duchi, Hazan and Singer 2011")
                    .Make<GradientMethod<optim::Adagrad, optim::AdagradOptions>>());

}  // namespace
}  // namespace muster
