#include "client/batched_layers.h"

#include <ATen/ATen.h>

#include <utility>

namespace muster {
namespace {

// Each sample's loss differentiated by the outputs, [samples, outputs]; arguments as for SampleLosses.
at::Tensor LossGradients(LossKind loss, const at::Tensor& outputs, const at::Tensor& targets) {
  switch (loss) {
    case LossKind::kCrossEntropy: {
      const at::Tensor classes = at::arange(outputs.size(1), targets.options());
      return at::softmax(outputs, 1).sub_(at::eq(targets.unsqueeze(1), classes).to(outputs.scalar_type()));
    }
    case LossKind::kMse:
      return at::sub(outputs, targets.view_as(outputs)).mul_(2);
    case LossKind::kBinary:
      return at::sigmoid(outputs).sub_(targets.view_as(outputs));
  }
  return {};
}

// Of the first n models, [n, rows, columns].
at::Tensor Matrices(const at::Tensor& models, int64_t n, int64_t place, int64_t rows, int64_t columns) {
  return models.narrow(0, 0, n).narrow(1, place, rows * columns).view({n, rows, columns});
}

}  // namespace

std::optional<BatchedLayers> BatchedLayers::Of(FlatModel& model, int64_t inputs, int64_t outputs) {
  const std::optional<FeedForward> form = model.model().feed_forward();
  const std::vector<Layout::Entry>& entries = model.layout().entries;
  if (!form || !form->convolutions.empty() || !form->dropout.empty() || entries.size() % 2 != 0) {
    return std::nullopt;
  }
  BatchedLayers layers(form->activation);
  for (size_t i = 0; i < entries.size(); i += 2) {
    const Layout::Entry &weight = entries[i], &bias = entries[i + 1];
    if (weight.shape.size() != 2 || weight.shape[1] != inputs || bias.size() != weight.shape[0]) {
      return std::nullopt;
    }
    layers.layers_.push_back(
        {.inputs = inputs, .outputs = weight.shape[0], .weight = weight.offset, .bias = bias.offset});
    inputs = weight.shape[0];
  }
  if (inputs != outputs) return std::nullopt;
  return layers;
}

int64_t BatchedLayers::width() const {
  int64_t sum = layers_.front().inputs;
  for (const Layer& layer : layers_) sum += layer.outputs;
  return sum;
}

at::Tensor BatchedLayers::Gradient(LossKind loss, const at::Tensor& models, const Batches& batches,
                                   const at::Tensor& gradients) const {
  const std::vector<at::Tensor> outputs = Forward(models, batches.inputs);
  const at::Tensor last = outputs.back().flatten(0, 1);
  const at::Tensor losses = SampleLosses(loss, last, batches.targets).view_as(batches.weights);
  Backward(
      models, outputs,
      LossGradients(loss, last, batches.targets).view_as(outputs.back()).mul_(batches.weights.unsqueeze(2)),
      gradients);
  return at::mul(losses, batches.weights).sum(1);
}

std::vector<at::Tensor> BatchedLayers::Forward(const at::Tensor& models, const at::Tensor& inputs) const {
  const int64_t n = inputs.size(0);
  std::vector<at::Tensor> outputs = {inputs};
  for (const Layer& layer : layers_) {
    at::Tensor out =
        at::baddbmm(Matrices(models, n, layer.bias, 1, layer.outputs), outputs.back(),
                    Matrices(models, n, layer.weight, layer.outputs, layer.inputs).transpose(1, 2));
    if (&layer != &layers_.back()) {
      activation_ == FeedForward::Activation::kTanh ? out.tanh_() : out.relu_();
    }
    outputs.push_back(std::move(out));
  }
  return outputs;
}

void BatchedLayers::Backward(const at::Tensor& models, const std::vector<at::Tensor>& outputs,
                             at::Tensor gradient, const at::Tensor& gradients) const {
  const int64_t n = gradient.size(0);
  for (size_t l = layers_.size(); l-- > 0;) {
    const Layer& layer = layers_[l];
    at::Tensor weight = Matrices(gradients, n, layer.weight, layer.outputs, layer.inputs);
    at::bmm_out(weight, gradient.transpose(1, 2), outputs[l]);
    at::Tensor bias = Matrices(gradients, n, layer.bias, 1, layer.outputs);
    at::sum_out(bias, gradient, at::IntArrayRef{1}, /*keepdim=*/true);
    if (l == 0) break;
    gradient = at::bmm(gradient, Matrices(models, n, layer.weight, layer.outputs, layer.inputs));
    gradient = activation_ == FeedForward::Activation::kTanh
                   ? at::tanh_backward(gradient, outputs[l])
                   : at::threshold_backward(gradient, outputs[l], 0);
  }
}

}  // namespace muster
