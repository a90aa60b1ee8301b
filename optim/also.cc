// ALSO: the LibTorch optimiser and its plug-in.
#include "optim/also.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <numeric>
#include <utility>

#include "absl/strings/str_cat.h"
#include "optim/adam.h"
#include "optim/gradient_method.h"
#include "optim/groups.h"

namespace muster::optim {
namespace {

// ADAM's half-step number s.
AdamRule HalfStep(int64_t s, const AlsoOptions& options) {
  const auto t = static_cast<double>(s);
  return {.rate = static_cast<float>(options.lr() * std::sqrt(1 - std::pow(options.beta2(), t)) /
                                     (1 - std::pow(options.beta1(), t))),
          .root_scale = 1,
          .epsilon = static_cast<float>(options.eps()),
          .beta1 = static_cast<float>(options.beta1()),
          .beta2 = static_cast<float>(options.beta2()),
          .penalty = static_cast<float>(options.weight_decay())};
}

std::vector<double> ToDouble(const std::vector<float>& values) { return {values.begin(), values.end()}; }
std::vector<float> ToFloat(const std::vector<double>& values) { return {values.begin(), values.end()}; }

}  // namespace

Also::Also(std::vector<torch::optim::OptimizerParamGroup> groups, std::vector<double> prior,
           AlsoOptions defaults)
    : Optimizer(std::move(groups), std::make_unique<AlsoOptions>(defaults),
                {"first_moment", "second_moment", "last_gradient"}, /*scratch=*/1) {
  defaults.Check();
  const absl::Status status = SetPrior(prior);
  TORCH_CHECK(status.ok(), "prior: ", Message(status));
}

const AlsoOptions& Also::shared() const {
  return static_cast<const AlsoOptions&>(param_groups_[0].options());
}

bool Also::Needs(size_t slot, const torch::optim::OptimizerOptions& options) const {
  return slot <= kSecondMoment || static_cast<const AlsoOptions&>(options).mode() == "optimistic";
}

Optimizer::Fields Also::fields() {
  return {.numbers = {{"loss_scale", &scale_}}, .vectors = {{"pi", &weights_}, {"last_gains", &last_gains_}}};
}

void Also::ResetFields() {
  weights_ = ToFloat(prior_);
  last_gains_.clear();
  scale_ = 0;
}

absl::Status Also::SetPrior(const std::vector<double>& prior) {
  MUSTER_ASSIGN_OR_RETURN(prior_, Normalized(prior));
  if (!last_gains_.empty() && weights_.size() == prior_.size()) return absl::OkStatus();
  weights_ = ToFloat(prior_);
  last_gains_.clear();
  return absl::OkStatus();
}

std::vector<double> Also::Mirror(const std::vector<float>& gains) const {
  const AlsoOptions& options = shared();
  return MirrorStep(ToDouble(weights_), prior_, ToDouble(gains),
                    {.rate = options.pi_lr(),
                     .decay = options.pi_decay(),
                     .epsilon = options.eps(),
                     .temperature = options.temperature()});
}

// Line 1: from every parameter that has a last gradient.
std::vector<Optimizer::Parameter> Also::Extrapolate() {
  std::vector<Parameter> extrapolated = GatherStepped();
  for (const Parameter& p : extrapolated) {
    std::copy(p.values, p.values + p.size, p.slots[kStart]);
    const auto& own = p.Get<AlsoOptions>();
    AdamStep(p.values, p.values, p.slots[kLastGradient], static_cast<float>(own.alpha()),
             p.slots[kFirstMoment], p.slots[kSecondMoment], p.size, HalfStep(p.step, own));
  }
  return extrapolated;
}

void Also::PutBack(const std::vector<Parameter>& parameters) {
  for (const Parameter& p : parameters) std::copy(p.slots[kStart], p.slots[kStart] + p.size, p.values);
}

absl::StatusOr<double> Also::Step(Evaluate evaluate, absl::FunctionRef<absl::StatusOr<at::Tensor>()> groups) {
  const AlsoOptions& options = shared();
  const bool optimistic = options.mode() == "optimistic";
  const auto count = static_cast<int64_t>(prior_.size());
  if (weights_.size() != prior_.size() || (!last_gains_.empty() && last_gains_.size() != prior_.size())) {
    return InvalidInput("the weights are those of another number of groups");
  }
  std::vector<Parameter> extrapolated;
  std::vector<float> half = weights_;
  if (optimistic && !last_gains_.empty()) {
    extrapolated = Extrapolate();
    half = ToFloat(Mirror(last_gains_));
  }
  absl::Status status;
  at::Tensor ids;
  const absl::StatusOr<at::Tensor> losses = evaluate([&](const at::Tensor& values) {
    at::Tensor weights = at::zeros_like(values);
    absl::StatusOr<at::Tensor> found = groups();
    if (!found.ok()) {
      status = found.status();
      return weights;
    }
    ids = found->to(at::kLong).contiguous();
    if (ids.numel() != values.numel() || ids.min().item<int64_t>() < 0 ||
        ids.max().item<int64_t>() >= count) {
      status = InvalidInput(absl::StrCat("groups: need one of 0 .. ", count - 1, " for every sample"));
      return weights;
    }
    if (scale_ == 0) {
      scale_ = options.loss_scale() > 0 ? options.loss_scale()
                                        : static_cast<double>(count) / static_cast<double>(values.numel());
    }
    for (int64_t j = 0; j < ids.numel(); ++j) {
      weights.data_ptr<float>()[j] = static_cast<float>(scale_ * half[ids.data_ptr<int64_t>()[j]]);
    }
    return weights;
  });
  if (status.ok()) status = losses.status();
  if (!status.ok()) {
    PutBack(extrapolated);
    return status;
  }
  MUSTER_ASSIGN_OR_RETURN(const std::vector<Parameter> parameters, Gather());
  // A parameter that has lost its gradient is skipped in both half-steps.
  for (const Parameter& moved : extrapolated) {
    if (!moved.tensor.grad().defined()) PutBack({moved});
  }
  for (const Parameter& p : parameters) {
    const auto& own = p.Get<AlsoOptions>();
    const bool moved = std::any_of(extrapolated.begin(), extrapolated.end(),
                                   [&](const Parameter& other) { return other.index == p.index; });
    if (!AdamStep(p.values, moved ? p.slots[kStart] : p.values, p.gradient, 1, p.slots[kFirstMoment],
                  p.slots[kSecondMoment], p.size, HalfStep(p.step, own))) {
      return NotFinite(p.index);
    }
    if (optimistic) std::copy(p.gradient, p.gradient + p.size, p.slots[kLastGradient]);
  }
  std::vector<double> gains(prior_.size());
  const at::Tensor values = losses->contiguous();
  double sum = 0;
  for (int64_t j = 0; j < ids.numel(); ++j) {
    const double loss = values.data_ptr<float>()[j];
    gains[ids.data_ptr<int64_t>()[j]] += scale_ * loss;
    sum += loss;
  }
  last_gains_ = ToFloat(gains);
  weights_ = ToFloat(Mirror(last_gains_));
  return sum / static_cast<double>(ids.numel());
}

torch::Tensor Also::step(const LossClosure& losses, const at::Tensor& groups) {
  torch::Tensor returned;
  const absl::StatusOr<double> done = Step(
      [&](Oracle::Weighting weighting) -> absl::StatusOr<at::Tensor> {
        const at::AutoGradMode with_grad(true);
        zero_grad();
        returned = losses();
        at::Tensor values = returned.detach().to(at::kFloat);
        (returned * weighting(values)).sum().backward();
        return values;
      },
      [&]() -> absl::StatusOr<at::Tensor> { return groups; });
  TORCH_CHECK(done.ok(), Message(done.status()));
  return returned;
}

absl::StatusOr<double> Also::Step(Optimizer::Evaluate /*evaluate*/) {
  return InvalidInput("ALSO needs per-sample losses and groups: use its own form of a step");
}

torch::Tensor Also::step(LossClosure /*closure*/) {
  TORCH_CHECK(false, "ALSO needs per-sample losses and groups: use step(losses, groups)");
}

std::vector<int64_t> SelectBatch(const std::vector<float>& weights, double mass, bool by_weight,
                                 Random& random) {
  std::vector<float> sorted = weights;
  std::sort(sorted.begin(), sorted.end(), std::greater<>());
  size_t heavy = 0;
  for (double sum = 0; heavy < sorted.size() && sum < mass; ++heavy)
    sum += static_cast<double>(sorted[heavy]);
  const size_t size = std::max<size_t>(1, sorted.size() - heavy);
  if (!by_weight) return random.Sample(static_cast<int64_t>(weights.size()), static_cast<int64_t>(size));
  // The `size` largest of w^(1/u)-keys are a weighted sample without replacement (Efraimidis and Spirakis
  // 2006).
  std::vector<std::pair<double, int64_t>> keys;
  for (size_t i = 0; i < weights.size(); ++i) {
    keys.emplace_back(std::log1p(-random.Uniform()) / static_cast<double>(weights[i]),
                      static_cast<int64_t>(i));
  }
  std::sort(keys.begin(), keys.end(), std::greater<>());
  std::vector<int64_t> batch;
  for (size_t i = 0; i < size; ++i) batch.push_back(keys[i].second);
  return batch;
}

}  // namespace muster::optim

namespace muster {
namespace {

struct AlsoConfig : public optim::AlsoOptions, public GroupOptions {
  template <typename Visitor>
  static void Describe(Visitor&& option) {
    optim::AlsoOptions::Describe(option);
    GroupOptions::Describe(option);
  }
};

class AlsoMethod final : public OptimizerMethod {
 public:
  AlsoMethod(const AlsoConfig& config, const Context& context)
      : OptimizerMethod(context,
                        std::make_unique<optim::Also>(context.parameters, std::vector<double>{1}, config)),
        groups_(config) {}

  absl::StatusOr<StepReport> Step(Oracle& oracle) override {
    auto& also = static_cast<optim::Also&>(optimizer());
    if (!prior_known_) {
      MUSTER_ASSIGN_OR_RETURN(const std::vector<double> prior, GroupPrior(groups_, oracle));
      MUSTER_RETURN_IF_ERROR(also.SetPrior(prior));
      prior_known_ = true;
    }
    StepReport report;
    MUSTER_ASSIGN_OR_RETURN(report.loss, also.Step(
                                             [&](Oracle::Weighting weighting) {
                                               return oracle.WeightedGradient(Oracle::Batch::kCurrent,
                                                                              weighting);
                                             },
                                             [&] { return oracle.Groups(groups_.groups); }));
    return report;
  }
  void Reset() override {
    OptimizerMethod::Reset();
    prior_known_ = false;
  }
  Numbers Report() const override {
    const auto& weights = static_cast<const optim::Also&>(optimizer()).weights();
    return {{"group_weights", {weights.begin(), weights.end()}}};
  }

 private:
  const GroupOptions groups_;
  bool prior_known_ = false;
};

MUSTER_REGISTER(LocalOptimizer,
                optim::DescribedPlugin<AlsoConfig>(
                    "also", "Adam that learns which groups of samples to weigh up while it trains",
                    "arXiv:2508.16734")
                    .Make<AlsoMethod>());

}  // namespace
}  // namespace muster
