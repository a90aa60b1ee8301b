#include "learning/loss.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "core/options.h"

namespace muster {
namespace {

void AddTo(std::vector<int64_t>& sums, const std::vector<int64_t>& terms) {
  if (sums.size() < terms.size()) sums.resize(terms.size());
  for (size_t i = 0; i < terms.size(); ++i) sums[i] += terms[i];
}

// The class with the largest output, the lowest one among equals; for one logit, whether it is above 0.
int64_t Predict(LossKind loss, const float* outputs, int64_t count) {
  if (loss == LossKind::kBinary) return outputs[0] > 0 ? 1 : 0;
  return std::max_element(outputs, outputs + count) - outputs;
}

}  // namespace

absl::StatusOr<LossKind> ResolveLoss(const std::string& name, const Dataset& data) {
  const bool classes = data.num_classes > 0;
  if (name == "auto") return classes ? LossKind::kCrossEntropy : LossKind::kMse;
  if (name == "cross_entropy") {
    if (classes) return LossKind::kCrossEntropy;
    return InvalidInput(
        "training.loss: cross_entropy needs classes, the data have numbers as targets; use mse");
  }
  if (name == "mse") {
    if (!classes) return LossKind::kMse;
    return InvalidInput(
        "training.loss: mse needs numbers as targets, the data have classes; use cross_entropy");
  }
  if (name == "binary") {
    if (data.num_classes == 2) return LossKind::kBinary;
    return InvalidInput(absl::StrCat("training.loss: binary needs 2 classes, the data have ",
                                     data.num_classes, "; use ", classes ? "cross_entropy" : "mse"));
  }
  return InvalidInput(absl::StrCat("training.loss: unknown '", name, "'",
                                   Suggestion(name, {"auto", "cross_entropy", "mse", "binary"})));
}

int64_t ModelOutputs(LossKind loss, const Dataset& data) {
  return loss == LossKind::kCrossEntropy ? data.num_classes : 1;
}

at::Tensor SampleLosses(LossKind loss, const at::Tensor& outputs, const at::Tensor& targets) {
  switch (loss) {
    case LossKind::kCrossEntropy:
      return at::cross_entropy_loss(outputs, targets, {}, at::Reduction::None);
    case LossKind::kMse:
      return at::mse_loss(outputs.reshape(-1), targets, at::Reduction::None);
    case LossKind::kBinary:
      return at::binary_cross_entropy_with_logits(outputs.reshape(-1), targets, {}, {}, at::Reduction::None);
  }
  return {};
}

at::Tensor MeanLoss(LossKind loss, const at::Tensor& outputs, const at::Tensor& targets) {
  switch (loss) {
    case LossKind::kCrossEntropy:
      return at::cross_entropy_loss(outputs, targets);
    case LossKind::kMse:
      return at::mse_loss(outputs.reshape(-1), targets);
    case LossKind::kBinary:
      return at::binary_cross_entropy_with_logits(outputs.reshape(-1), targets);
  }
  return {};
}

void EvaluationSums::Merge(const EvaluationSums& other) {
  samples += other.samples;
  loss += other.loss;
  AddTo(class_samples, other.class_samples);
  AddTo(class_correct, other.class_correct);
  AddTo(class_predicted, other.class_predicted);
}

void AddBatch(LossKind loss, const at::Tensor& outputs, const at::Tensor& targets, int64_t num_classes,
              EvaluationSums& sums) {
  const torch::NoGradGuard no_grad;
  const at::Tensor losses = SampleLosses(loss, outputs, targets).contiguous();
  const float* const sample_losses = losses.data_ptr<float>();
  const int64_t batch = losses.numel();
  for (int64_t i = 0; i < batch; ++i) sums.loss += sample_losses[i];
  sums.samples += batch;
  if (loss == LossKind::kMse) return;

  for (auto* counts : {&sums.class_samples, &sums.class_correct, &sums.class_predicted}) {
    counts->resize(static_cast<size_t>(num_classes));
  }
  const at::Tensor classes = targets.to(at::kLong).contiguous();
  const at::Tensor rows = outputs.contiguous();
  const int64_t width = rows.numel() / std::max<int64_t>(batch, 1);
  for (int64_t i = 0; i < batch; ++i) {
    const int64_t truth = classes.data_ptr<int64_t>()[i];
    const int64_t predicted = Predict(loss, rows.data_ptr<float>() + i * width, width);
    ++sums.class_samples[truth];
    ++sums.class_predicted[predicted];
    sums.class_correct[truth] += predicted == truth;
  }
}

}  // namespace muster
