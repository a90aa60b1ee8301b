// A task whose losses, gradients and groups are drawn once: what optimisers and their references are run on.
#ifndef MUSTER_TESTS_OPTIM_RANDOM_TASK_H_
#define MUSTER_TESTS_OPTIM_RANDOM_TASK_H_

#include <ATen/ATen.h>

#include <limits>
#include <numeric>
#include <string>
#include <vector>

#include "core/random.h"
#include "optim/local_optimizer.h"

namespace muster {

// Sample j of step t has the loss 5 + <r_tj, x> + 0.05 ||x||^2 and the group g_tj, over x of kElements.
struct RandomTask {
  static constexpr int64_t kBatch = 6;
  static constexpr int64_t kGroups = 3;
  static constexpr int64_t kElements = 7 * 5 + 33 + 1 + 1;
  static constexpr double kCurvature = 0.1;

  explicit RandomTask(int64_t steps) {
    Random random({.seed = 7});
    for (int64_t t = 0; t < steps; ++t) {
      auto& batch = slopes.emplace_back();
      for (int64_t j = 0; j < kBatch; ++j) {
        auto& slope = batch.emplace_back();
        for (int64_t i = 0; i < kElements; ++i) slope.push_back(0.3 * random.Normal());
      }
      auto& ids = groups.emplace_back();
      for (int64_t j = 0; j < kBatch; ++j) ids.push_back(static_cast<int64_t>(random.Below(kGroups)));
    }
  }

  std::vector<double> SampleLosses(int64_t t, const std::vector<double>& x) const {
    std::vector<double> losses;
    for (const auto& slope : slopes[t]) {
      double loss = 5;
      for (size_t i = 0; i < x.size(); ++i) loss += slope[i] * x[i] + 0.5 * kCurvature * x[i] * x[i];
      losses.push_back(loss);
    }
    return losses;
  }
  double Loss(int64_t t, const std::vector<double>& x) const {
    const std::vector<double> losses = SampleLosses(t, x);
    return std::accumulate(losses.begin(), losses.end(), 0.0) / static_cast<double>(kBatch);
  }
  // Of sum_j weights[j] loss_j.
  std::vector<double> Gradient(int64_t t, const std::vector<double>& x,
                               const std::vector<double>& weights) const {
    std::vector<double> gradient(x.size());
    for (int64_t j = 0; j < kBatch; ++j) {
      for (size_t i = 0; i < x.size(); ++i) gradient[i] += weights[j] * (slopes[t][j][i] + kCurvature * x[i]);
    }
    return gradient;
  }
  std::vector<double> Gradient(int64_t t, const std::vector<double>& x) const {
    return Gradient(t, x, std::vector<double>(kBatch, 1.0 / kBatch));
  }

  std::vector<std::vector<std::vector<double>>> slopes;  // [step][sample][element]
  std::vector<std::vector<int64_t>> groups;              // [step][sample]
  std::vector<int64_t> group_sizes = {30, 50, 20};
};

// Four tensors of kElements in all, one of them a scalar and one of a single element.
inline std::vector<at::Tensor> DrawParameters() {
  Random random({.seed = 3});
  std::vector<at::Tensor> parameters;
  for (const std::vector<int64_t>& shape : std::vector<std::vector<int64_t>>{{7, 5}, {33}, {}, {1}}) {
    at::Tensor tensor = at::empty(shape, at::kFloat);
    for (int64_t i = 0; i < tensor.numel(); ++i)
      tensor.data_ptr<float>()[i] = static_cast<float>(random.Normal());
    parameters.push_back(tensor.requires_grad_());
  }
  return parameters;
}

inline std::vector<float> Flat(const std::vector<at::Tensor>& tensors) {
  std::vector<float> flat;
  for (const at::Tensor& tensor : tensors) {
    flat.insert(flat.end(), tensor.data_ptr<float>(), tensor.data_ptr<float>() + tensor.numel());
  }
  return flat;
}

// The task as an oracle at the values of `parameters`; computed in double, given as float.
class RandomTaskOracle final : public Oracle {
 public:
  RandomTaskOracle(const RandomTask& task, std::vector<at::Tensor> parameters)
      : task_(task), parameters_(std::move(parameters)) {}

  int64_t step = 0;
  bool zero = false;       // all gradients are 0
  int64_t spoilt = -1;     // the parameter whose gradient holds a NaN
  int64_t undefined = -1;  // the parameter that has no gradient

  absl::StatusOr<double> Loss(Batch /*batch*/) override { return task_.Loss(step, Values()); }
  absl::StatusOr<double> Gradient(Batch /*batch*/) override {
    SetGradient(task_.Gradient(step, Values()));
    return task_.Loss(step, Values());
  }
  absl::StatusOr<at::Tensor> SampleLosses(Batch /*batch*/) override {
    const std::vector<double> losses = task_.SampleLosses(step, Values());
    return at::tensor(at::ArrayRef<double>(losses)).to(at::kFloat);
  }
  absl::StatusOr<at::Tensor> WeightedGradient(Batch batch, Weighting weighting) override {
    at::Tensor losses = *SampleLosses(batch);
    const at::Tensor weights = weighting(losses).to(at::kDouble).contiguous();
    SetGradient(task_.Gradient(step, Values(),
                               {weights.data_ptr<double>(), weights.data_ptr<double>() + losses.numel()}));
    return losses;
  }
  absl::StatusOr<at::Tensor> Groups(const std::string& /*by*/) override {
    return at::tensor(at::ArrayRef<int64_t>(task_.groups[step]));
  }
  absl::StatusOr<std::vector<int64_t>> GroupSizes(const std::string& /*by*/) override {
    return task_.group_sizes;
  }

 private:
  std::vector<double> Values() const {
    const std::vector<float> flat = Flat(parameters_);
    return {flat.begin(), flat.end()};
  }
  void SetGradient(const std::vector<double>& gradient) {
    size_t at = 0;
    for (size_t k = 0; k < parameters_.size(); ++k) {
      at::Tensor part = at::empty(parameters_[k].sizes(), at::kFloat);
      for (int64_t i = 0; i < part.numel(); ++i, ++at) {
        part.data_ptr<float>()[i] = zero ? 0.0F : static_cast<float>(gradient[at]);
      }
      if (static_cast<int64_t>(k) == spoilt) part.fill_(std::numeric_limits<float>::quiet_NaN());
      parameters_[k].mutable_grad() = static_cast<int64_t>(k) == undefined ? at::Tensor() : part;
    }
  }

  const RandomTask& task_;
  std::vector<at::Tensor> parameters_;
};

}  // namespace muster

#endif  // MUSTER_TESTS_OPTIM_RANDOM_TASK_H_
