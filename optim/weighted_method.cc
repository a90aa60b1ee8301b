#include "optim/weighted_method.h"

#include <ATen/ATen.h>

#include <utility>

#include "absl/strings/str_cat.h"
#include "core/state.h"

namespace muster {

// Losses and gradients weighted; everything else as the task has it.
class WeightedMethod::WeightedOracle final : public Oracle {
 public:
  WeightedOracle(Oracle& task, WeightedMethod& method) : task_(task), method_(method) {}

  absl::StatusOr<double> Loss(Batch batch) override {
    MUSTER_ASSIGN_OR_RETURN(const at::Tensor losses, task_.SampleLosses(batch));
    MUSTER_ASSIGN_OR_RETURN(const at::Tensor weights, method_.Weigh(task_, losses));
    return (losses * weights).sum().item<double>();
  }
  absl::StatusOr<double> Gradient(Batch batch) override {
    double loss = 0;
    MUSTER_RETURN_IF_ERROR(WeightedGradient(batch, [&](const at::Tensor& losses) {
                             loss = losses.mean().item<double>();
                             return at::ones_like(losses);
                           }).status());
    return loss;
  }
  absl::StatusOr<at::Tensor> SampleLosses(Batch batch) override { return task_.SampleLosses(batch); }
  absl::StatusOr<at::Tensor> WeightedGradient(Batch batch, Weighting weighting) override {
    absl::Status status;
    auto losses = task_.WeightedGradient(batch, [&](const at::Tensor& values) {
      absl::StatusOr<at::Tensor> weights = method_.Weigh(task_, values);
      if (weights.ok()) return *weights * weighting(values);
      status = weights.status();
      return at::zeros_like(values);
    });
    if (!status.ok()) return status;
    return losses;
  }
  absl::StatusOr<at::Tensor> Groups(const std::string& by) override { return task_.Groups(by); }
  absl::StatusOr<std::vector<int64_t>> GroupSizes(const std::string& by) override {
    return task_.GroupSizes(by);
  }

 private:
  Oracle& task_;
  WeightedMethod& method_;
};

absl::StatusOr<std::unique_ptr<LocalOptimizer>> WeightedMethod::MakeInner(const WeightedOptions& options,
                                                                          const Context& context) {
  const auto& registry = Registry<LocalOptimizer>::Get();
  PluginConfig inner{options.optimizer, {{"learning_rate", options.learning_rate}}};
  if (options.weight_decay > 0) inner.options["weight_decay"] = options.weight_decay;
  auto made = registry.Create(inner, context);
  if (!made.ok()) return Annotate(made.status(), "optimizer");
  return made;
}

absl::StatusOr<at::Tensor> WeightedMethod::Weigh(Oracle& oracle, const at::Tensor& losses) {
  MUSTER_ASSIGN_OR_RETURN(const at::Tensor ids, oracle.Groups(options_.groups));
  const auto* const id = ids.data_ptr<int64_t>();
  std::vector<Group> groups(weights_.size());
  for (int64_t j = 0; j < losses.numel(); ++j) {
    groups[id[j]].loss += static_cast<double>(losses.data_ptr<float>()[j]);
    ++groups[id[j]].samples;
  }
  // A method that evaluates more than once a step learns from the first time only.
  if (count_) {
    Observe(groups);
    for (size_t g = 0; g < groups.size(); ++g) {
      met_[g].loss += groups[g].loss;
      met_[g].samples += groups[g].samples;
    }
    count_ = false;
  }
  at::Tensor weights = at::empty_like(losses);
  for (int64_t j = 0; j < losses.numel(); ++j) {
    const auto g = static_cast<size_t>(id[j]);
    weights.data_ptr<float>()[j] = static_cast<float>(Factor(g, groups[g], losses.numel()));
  }
  return weights;
}

absl::StatusOr<StepReport> WeightedMethod::Step(Oracle& oracle) {
  if (weights_.empty()) {
    MUSTER_ASSIGN_OR_RETURN(const std::vector<double> prior, GroupPrior(options_, oracle));
    weights_.assign(prior.begin(), prior.end());
  }
  if (met_.empty()) met_.resize(weights_.size());
  count_ = true;
  WeightedOracle weighted(oracle, *this);
  return inner_->Step(weighted);
}

void WeightedMethod::Reset() {
  inner_->Reset();
  weights_.clear();
  met_.clear();
}

void WeightedMethod::Save(State& state) const {
  State inner;
  inner_->Save(inner);
  PutUnder("inner", std::move(inner), state);
  state.vectors["group_weights"] = weights_;
}

absl::Status WeightedMethod::Load(const State& state) {
  Reset();
  State rest = state;
  MUSTER_RETURN_IF_ERROR(inner_->Load(TakeUnder("inner", rest)));
  if (const auto found = rest.vectors.find("group_weights"); found != rest.vectors.end())
    weights_ = found->second;
  return absl::OkStatus();
}

LocalOptimizer::Numbers WeightedMethod::Report() const {
  Numbers numbers;
  numbers["group_weights"].assign(weights_.begin(), weights_.end());
  for (const Group& group : met_) {
    numbers["group_loss"].push_back(group.loss);
    numbers["group_samples"].push_back(static_cast<double>(group.samples));
  }
  return numbers;
}

}  // namespace muster
