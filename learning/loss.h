// Task losses and what is measured beside them.
#ifndef MUSTER_LEARNING_LOSS_H_
#define MUSTER_LEARNING_LOSS_H_

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>
#include <vector>

#include "core/status.h"
#include "learning/dataset.h"

namespace muster {

enum class LossKind { kCrossEntropy, kMse, kBinary };

// `name` is training.loss; auto follows the data. INVALID_ARGUMENT where loss and data do not fit (binary with 10
// classes, cross_entropy without labels); the message starts with "training.loss".
absl::StatusOr<LossKind> ResolveLoss(const std::string& name, const Dataset& data);
// Outputs the model needs for these data under this loss.
int64_t ModelOutputs(LossKind loss, const Dataset& data);

// Per-sample losses, [batch], of outputs [batch, outputs] and targets ([batch] int64 classes for cross entropy,
// float32 otherwise). Differentiable.
at::Tensor SampleLosses(LossKind loss, const at::Tensor& outputs, const at::Tensor& targets);
// Their mean, a scalar, by LibTorch's fused form where there is one.
at::Tensor MeanLoss(LossKind loss, const at::Tensor& outputs, const at::Tensor& targets);

// Sums over samples; two of them merge by addition in a fixed order.
struct EvaluationSums {
  int64_t samples = 0;
  double loss = 0;                        // sum of sample losses
  std::vector<int64_t> class_samples;     // [num_classes]; empty for regression
  std::vector<int64_t> class_correct;     // [num_classes]
  std::vector<int64_t> class_predicted;   // [num_classes]: how often predicted

  void Merge(const EvaluationSums& other);
};
// Adds one batch (no gradient is recorded).
void AddBatch(LossKind loss, const at::Tensor& outputs, const at::Tensor& targets, int64_t num_classes,
              EvaluationSums& sums);

}  // namespace muster

#endif  // MUSTER_LEARNING_LOSS_H_
