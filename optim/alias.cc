// ALIAS: the LibTorch optimiser and its plug-in.
#include "optim/alias.h"

#include <algorithm>
#include <cmath>
#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "optim/gradient_method.h"
#include "optim/kernel.h"
#include "optim/norms.h"
#include "optim/sign_sgd.h"

namespace muster::optim {
namespace {

constexpr int64_t kSignsPerFloat = 16;

void MoveAgainst(float* p, const float* g, int64_t size, double length) {
  SignStep(p, g, nullptr, size, {.rate = static_cast<float>(length)});
}

}  // namespace

Alias::Alias(std::vector<torch::optim::OptimizerParamGroup> groups, AliasOptions defaults)
    : Optimizer(std::move(groups), std::make_unique<AliasOptions>(defaults),
                {"momentum", "anchor_values", "anchor_gradient"}) {
  defaults.Check();
  TORCH_CHECK(!defaults.nesterov() || defaults.momentum() > 0, "nesterov: needs a momentum above 0");
  TORCH_CHECK(defaults.distance() == "loss" || defaults.gap() == 1,
              "gap: must be 1 with distance: estimate, which compares consecutive steps");
  TORCH_CHECK(!defaults.memory_efficient() || (defaults.gap() == 1 && defaults.weight_decay() == 0 &&
                                               defaults.distance() == "loss" && !defaults.same_batch()),
              "memory_efficient: needs gap: 1, weight_decay: 0, distance: loss and same_batch: false");
}

const AliasOptions& Alias::shared() const {
  return static_cast<const AliasOptions&>(param_groups_[0].options());
}

bool Alias::Needs(size_t slot, const torch::optim::OptimizerOptions& any_options) const {
  const auto& options = static_cast<const AliasOptions&>(any_options);
  if (slot == kMomentum) return options.momentum() > 0;
  if (slot == kAnchorGradient) return !options.memory_efficient() && !options.same_batch();
  return slot == kAnchorValues && !options.memory_efficient();
}

Optimizer::Fields Alias::fields() {
  Fields fields{.numbers = {{"steps", &steps_},
                            {"warmed", &warmed_},
                            {"smoothness", &smoothness_},
                            {"distance", &distance_},
                            {"fallen", &fallen_},
                            {"step_size", &step_size_},
                            {"clamped", &clamped_}},
                .vectors = {}};
  if (shared().memory_efficient()) {
    fields.numbers["least"] = &least_;
    fields.numbers["largest"] = &largest_;
    fields.vectors["signs"] = &signs_;
  }
  return fields;
}

void Alias::ResetFields() {
  steps_ = warmed_ = smoothness_ = distance_ = fallen_ = step_size_ = clamped_ = least_ = largest_ = 0;
  signs_.clear();
}

absl::StatusOr<double> Alias::Step(Evaluate evaluate) {
  MUSTER_ASSIGN_OR_RETURN(const double loss, evaluate());
  MUSTER_ASSIGN_OR_RETURN(std::vector<Parameter> parameters, Gather());
  if (parameters.empty()) return loss;
  const AliasOptions& options = shared();
  if (warmed_ < static_cast<double>(options.warmup())) {
    ++warmed_;
    step_size_ = options.warmup_lr() * warmed_ / static_cast<double>(options.warmup());
  } else {
    if (std::fmod(steps_, static_cast<double>(options.gap())) == 0) {
      MUSTER_RETURN_IF_ERROR(CheckFinite(parameters));
      MUSTER_RETURN_IF_ERROR(steps_ == 0 ? Begin(parameters, loss, evaluate) : Measure(parameters, evaluate));
      step_size_ = distance_ > 0 ? std::sqrt(distance_ / smoothness_) : 0;
      if (options.memory_efficient()) RememberSigns(parameters);
    }
    ++steps_;
  }
  bool cut = false;
  for (const Parameter& parameter : parameters) {
    const auto& own = parameter.Get<AliasOptions>();
    double rate = step_size_ * own.lr();
    if (own.clamp() > 0 && rate > own.clamp()) {
      rate = own.clamp();
      cut = true;
    }
    const SignRule rule = SignRule::Make(rate, own.weight_decay(), own.momentum(), own.dampening(),
                                         own.nesterov(), parameter.step == 1);
    if (!SignStep(parameter.values, parameter.gradient, parameter.slots[kMomentum], parameter.size, rule)) {
      return NotFinite(parameter.index);
    }
  }
  if (cut && steps_ > 0) ++clamped_;
  return loss;
}

absl::Status Alias::Begin(std::vector<Parameter>& parameters, double loss, Evaluate evaluate) {
  const AliasOptions& options = shared();
  distance_ = options.initial_distance();
  if (options.distance() == "loss") {
    if (!std::isfinite(loss)) return InvalidInput("distance: loss needs the loss, so a closure");
    if (loss < options.f_low()) {
      return InvalidInput(absl::StrCat("f_low: ", options.f_low(), " is above the first loss, ", loss));
    }
    distance_ = loss - options.f_low();
  }
  smoothness_ = options.initial_smoothness();
  if (smoothness_ == 0) {
    MUSTER_ASSIGN_OR_RETURN(const double change,
                            GradientChange(parameters, evaluate, [&](const Parameter& p) {
                              MoveAgainst(p.values, p.gradient, p.size, options.probe());
                            }));
    smoothness_ = change / options.probe();
  }
  if (smoothness_ == 0) {
    // Flat as far as floats tell: the step at which a linear loss would have fallen by the whole distance.
    double norm = 0;
    for (const Parameter& p : parameters) norm += L1Norm(p.gradient, p.size);
    smoothness_ = norm > 0 && distance_ > 0 ? norm * norm / distance_ : 1;
  }
  for (const Parameter& p : parameters) {
    if (p.slots[kAnchorValues] != nullptr) std::copy(p.values, p.values + p.size, p.slots[kAnchorValues]);
    if (p.slots[kAnchorGradient] != nullptr)
      std::copy(p.gradient, p.gradient + p.size, p.slots[kAnchorGradient]);
  }
  return absl::OkStatus();
}

absl::Status Alias::Measure(std::vector<Parameter>& parameters, Evaluate evaluate) {
  const AliasOptions& options = shared();
  if (options.memory_efficient()) {
    // size x non-zero signs x ||dg||_inf / ||dx||_1, where ||dx||_1 is the step size times the non-zero
    // signs.
    const double step = step_size_ * options.lr();
    if (static_cast<int64_t>(signs_.size()) * kSignsPerFloat < elements()) {
      return InvalidInput("the remembered signs are those of another model");
    }
    if (step > 0) smoothness_ += static_cast<double>(elements()) * ChangeFromSigns(parameters) / step;
    return absl::OkStatus();
  }
  double change = 0;
  double moved = 0;
  for (const Parameter& p : parameters) {
    if (p.step <= options.gap()) continue;  // had no gradient yet at the last measurement
    moved = std::max(moved, LInfDistance(p.values, p.slots[kAnchorValues], p.size));
    if (!options.same_batch()) change += L1Distance(p.gradient, p.slots[kAnchorGradient], p.size);
    fallen_ += DotDifference(p.gradient, p.slots[kAnchorValues], p.values, p.size);
  }
  if (options.same_batch() && moved > 0) {
    MUSTER_ASSIGN_OR_RETURN(change, GradientChange(parameters, evaluate, [](const Parameter& p) {
                              std::copy(p.slots[kAnchorValues], p.slots[kAnchorValues] + p.size, p.values);
                            }));
  }
  if (moved > 0) smoothness_ += change / moved;
  if (options.distance() == "estimate") distance_ = std::max(distance_, fallen_);
  for (const Parameter& p : parameters) {
    std::copy(p.values, p.values + p.size, p.slots[kAnchorValues]);
    if (p.slots[kAnchorGradient] != nullptr)
      std::copy(p.gradient, p.gradient + p.size, p.slots[kAnchorGradient]);
  }
  return absl::OkStatus();
}

double Alias::ChangeFromSigns(const std::vector<Parameter>& parameters) const {
  const auto least = static_cast<float>(least_);
  const auto largest = static_cast<float>(largest_);
  float bound = 0;
  int64_t at = 0;
  for (const Parameter& p : parameters) {
    for (int64_t i = 0; i < p.size; ++i, ++at) {
      const auto bits = static_cast<uint32_t>(signs_[static_cast<size_t>(at / kSignsPerFloat)]);
      const bool positive = (bits >> (at % kSignsPerFloat) & 1U) != 0;
      const float g = positive ? p.gradient[i] : -p.gradient[i];
      bound = std::max({bound, std::fabs(g - least), std::fabs(g - largest)});
    }
  }
  return bound;
}

void Alias::RememberSigns(const std::vector<Parameter>& parameters) {
  signs_.assign(static_cast<size_t>((elements() + kSignsPerFloat - 1) / kSignsPerFloat), 0);
  float least = HUGE_VALF;
  float largest = 0;
  int64_t at = 0;
  uint32_t bits = 0;
  const auto flush = [&] {
    signs_[static_cast<size_t>((at - 1) / kSignsPerFloat)] = static_cast<float>(bits);
    bits = 0;
  };
  for (const Parameter& p : parameters) {
    for (int64_t i = 0; i < p.size; ++i) {
      least = std::min(least, std::fabs(p.gradient[i]));
      largest = std::max(largest, std::fabs(p.gradient[i]));
      bits |= static_cast<uint32_t>(p.gradient[i] >= 0) << (at % kSignsPerFloat);
      if (++at % kSignsPerFloat == 0) flush();
    }
  }
  if (at % kSignsPerFloat != 0) flush();
  least_ = least;
  largest_ = largest;
}

}  // namespace muster::optim

namespace muster {
namespace {

class AliasMethod final : public GradientMethod<optim::Alias, optim::AliasOptions> {
 public:
  static absl::StatusOr<std::unique_ptr<LocalOptimizer>> Create(const optim::AliasOptions& options,
                                                                const Context& context) {
    return MakeMethod<AliasMethod>(options, context);
  }
  using GradientMethod::GradientMethod;
  Numbers Report() const override {
    const auto& alias = static_cast<const optim::Alias&>(optimizer());
    return {{"step_size", {alias.step_size()}}, {"clamped_share", {alias.clamped_share()}}};
  }
};

MUSTER_REGISTER(LocalOptimizer,
                optim::DescribedPlugin<optim::AliasOptions>(
                    "alias", "Sign-SGD that estimates its step size as it goes; no learning rate to tune",
                    "arXiv:2506.03725, ALIAS, options I and II")
                    .Make<AliasMethod>());

}  // namespace
}  // namespace muster
