// Stochastic gradient descent: the LibTorch optimiser and its plug-in.
#include "optim/sgd.h"

#include <bit>
#include <cmath>
#include <memory>

#include "absl/strings/str_cat.h"
#include "optim/gradient_method.h"
#include "optim/kernel.h"
#include "optim/local_optimizer.h"
#include "optim/param_state.h"

namespace muster::optim {
namespace {

constexpr uint32_t kExponent = 0x7f800000;  // all ones: NaN or infinity

// p -= rate * (g + decay * p). Returns whether some g is not finite.
MUSTER_KERNEL bool PlainStep(float* __restrict p, const float* __restrict g, int64_t size, float rate,
                             float decay) {
  uint32_t bad = 0;
  for (int64_t i = 0; i < size; ++i) {
    bad |= (std::bit_cast<uint32_t>(g[i]) & kExponent) == kExponent;
    p[i] = std::fma(-rate, std::fma(decay, p[i], g[i]), p[i]);
  }
  return bad != 0;
}

// How the new momentum m' and the direction follow from gradient g and momentum m.
struct MomentumRule {
  float keep;  // m' = keep * m + gain * g
  float gain;
  float along;  // direction = along * m' + across * g
  float across;
};

MUSTER_KERNEL bool MomentumStep(float* __restrict p, const float* __restrict g, float* __restrict m,
                                int64_t size, float rate, float decay, MomentumRule rule) {
  uint32_t bad = 0;
  for (int64_t i = 0; i < size; ++i) {
    bad |= (std::bit_cast<uint32_t>(g[i]) & kExponent) == kExponent;
    const float gradient = std::fma(decay, p[i], g[i]);
    const float momentum = std::fma(rule.gain, gradient, rule.keep * m[i]);
    m[i] = momentum;
    p[i] = std::fma(-rate, std::fma(rule.along, momentum, rule.across * gradient), p[i]);
  }
  return bad != 0;
}

}  // namespace

void SgdOptions::serialize(torch::serialize::OutputArchive& archive) const {
  _TORCH_OPTIM_SERIALIZE_TORCH_ARG(lr);
  _TORCH_OPTIM_SERIALIZE_TORCH_ARG(momentum);
  _TORCH_OPTIM_SERIALIZE_TORCH_ARG(dampening);
  _TORCH_OPTIM_SERIALIZE_TORCH_ARG(weight_decay);
  _TORCH_OPTIM_SERIALIZE_TORCH_ARG(nesterov);
}

void SgdOptions::serialize(torch::serialize::InputArchive& archive) {
  _TORCH_OPTIM_DESERIALIZE_TORCH_ARG(double, lr);
  _TORCH_OPTIM_DESERIALIZE_TORCH_ARG(double, momentum);
  _TORCH_OPTIM_DESERIALIZE_TORCH_ARG(double, dampening);
  _TORCH_OPTIM_DESERIALIZE_TORCH_ARG(double, weight_decay);
  _TORCH_OPTIM_DESERIALIZE_TORCH_ARG(bool, nesterov);
}

void SgdParamState::serialize(torch::serialize::OutputArchive& archive) const {
  _TORCH_OPTIM_SERIALIZE_TORCH_ARG(momentum_buffer);
  _TORCH_OPTIM_SERIALIZE_TORCH_ARG(step);
}

void SgdParamState::serialize(torch::serialize::InputArchive& archive) {
  _TORCH_OPTIM_DESERIALIZE_TORCH_ARG(torch::Tensor, momentum_buffer);
  _TORCH_OPTIM_DESERIALIZE_TORCH_ARG(int64_t, step);
}

Sgd::Sgd(std::vector<torch::optim::OptimizerParamGroup> groups, SgdOptions defaults)
    : Optimizer(std::move(groups), std::make_unique<SgdOptions>(defaults)) {
  TORCH_CHECK(defaults.lr() >= 0, "Invalid learning rate: ", defaults.lr());
  TORCH_CHECK(defaults.momentum() >= 0, "Invalid momentum value: ", defaults.momentum());
  TORCH_CHECK(defaults.weight_decay() >= 0, "Invalid weight_decay value: ", defaults.weight_decay());
  TORCH_CHECK(!defaults.nesterov() || (defaults.momentum() > 0 && defaults.dampening() == 0),
              "Nesterov momentum requires a momentum and zero dampening");
}

Sgd::Sgd(std::vector<torch::Tensor> parameters, SgdOptions defaults)
    : Sgd({torch::optim::OptimizerParamGroup(std::move(parameters))}, defaults) {}

torch::Tensor Sgd::step(LossClosure closure) {
  torch::NoGradGuard no_grad;
  torch::Tensor loss;
  if (closure != nullptr) {
    at::AutoGradMode with_grad(true);
    loss = closure();
  }
  non_finite_gradient_ = -1;
  int64_t index = -1;
  for (auto& group : param_groups_) {
    const auto& options = static_cast<const SgdOptions&>(group.options());
    const auto rate = static_cast<float>(options.lr());
    const auto decay = static_cast<float>(options.weight_decay());
    const auto momentum = static_cast<float>(options.momentum());
    for (const torch::Tensor& parameter : group.params()) {
      ++index;
      if (!parameter.grad().defined()) continue;
      TORCH_CHECK(parameter.is_contiguous() && parameter.scalar_type() == torch::kFloat && parameter.is_cpu(),
                  "Sgd: parameter ", index, " is not a contiguous float32 tensor on the CPU");
      const torch::Tensor gradient = parameter.grad().contiguous();
      auto* const p = parameter.data_ptr<float>();
      const auto* const g = gradient.data_ptr<float>();
      bool bad = false;
      if (options.momentum() == 0) {
        bad = PlainStep(p, g, parameter.numel(), rate, decay);
      } else {
        auto& state = ParamStateOf<SgdParamState>(state_, parameter);
        if (!state.momentum_buffer().defined()) {
          state.momentum_buffer(torch::zeros_like(parameter, torch::MemoryFormat::Contiguous));
        }
        const bool first = state.step() == 0;
        state.step(state.step() + 1);
        const MomentumRule rule{.keep = momentum,
                                .gain = first ? 1.0F : static_cast<float>(1 - options.dampening()),
                                .along = options.nesterov() ? momentum : 1.0F,
                                .across = options.nesterov() ? 1.0F : 0.0F};
        bad = MomentumStep(p, g, state.momentum_buffer().data_ptr<float>(), parameter.numel(), rate, decay,
                           rule);
      }
      if (bad && non_finite_gradient_ < 0) non_finite_gradient_ = index;
    }
  }
  return loss;
}

void Sgd::Reset() {
  for (auto& [key, any_state] : state_) {
    auto& state = static_cast<SgdParamState&>(*any_state);
    state.step(0);
    state.momentum_buffer().zero_();
  }
}

// LibTorch's own macro, which expects the archive, `self` and the names Sgd*.
template <typename Self, typename Archive>
void Sgd::Serialize(Self& self, Archive& archive) {
  _TORCH_OPTIM_SERIALIZE_WITH_TEMPLATE_ARG(Sgd);
}
void Sgd::save(torch::serialize::OutputArchive& archive) const { Serialize(*this, archive); }
void Sgd::load(torch::serialize::InputArchive& archive) { Serialize(*this, archive); }

}  // namespace muster::optim

namespace muster {
namespace {

struct SgdConfig {
  double learning_rate = 0.1;
  double momentum = 0;
  bool nesterov = false;
  double weight_decay = 0;
};

class SgdMethod final : public GradientMethod<optim::Sgd> {
 public:
  static absl::StatusOr<std::unique_ptr<LocalOptimizer>> Create(const SgdConfig& config,
                                                                const Context& context) {
    if (config.nesterov && config.momentum == 0) {
      return InvalidInput("nesterov: needs a momentum above 0");
    }
    return std::make_unique<SgdMethod>(context, optim::SgdOptions(config.learning_rate)
                                                    .momentum(config.momentum)
                                                    .nesterov(config.nesterov)
                                                    .weight_decay(config.weight_decay));
  }
  using GradientMethod::GradientMethod;
};

MUSTER_REGISTER(LocalOptimizer,
                Plugin<SgdConfig>("sgd", "Stochastic gradient descent, with momentum if wanted",
                                  "Sutskever et al. 2013")
                    .Option("learning_rate", &SgdConfig::learning_rate, "step size", Above(0))
                    .Option("momentum", &SgdConfig::momentum, "share of the last direction that is kept",
                            Within(0, 1))
                    .Option("nesterov", &SgdConfig::nesterov, "look ahead along the momentum")
                    .Option("weight_decay", &SgdConfig::weight_decay, "L2 penalty's factor", AtLeast(0))
                    .Make<SgdMethod>());

}  // namespace
}  // namespace muster
