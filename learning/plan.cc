#include "learning/plan.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>

#include "learning/dense.h"

namespace muster {

std::unique_ptr<FeedForwardPlan> FeedForwardPlan::Make(FlatModel& model, LossKind loss, const Dataset& data) {
  const std::optional<FeedForward> form = model.model().feed_forward();
  if (!form || !HasFastDense()) return nullptr;
  // Autograd has the words for a model that was made for other data.
  if (model.parameters().front().size(1) != data.sample_size()) return nullptr;
  if (model.parameters().back().size(0) != ModelOutputs(loss, data)) return nullptr;
  return std::unique_ptr<FeedForwardPlan>(new FeedForwardPlan(model, *form, loss));
}

FeedForwardPlan::FeedForwardPlan(FlatModel& model, const FeedForward& form, LossKind loss)
    : parameters_(model.parameters()), activation_(form.activation), loss_(loss) {
  for (const at::Tensor& parameter : parameters_) gradients_.push_back(at::zeros_like(parameter));
  for (size_t p = 0; p + 1 < parameters_.size(); p += 2) {
    Layer& layer = layers_.emplace_back();
    layer.outputs = parameters_[p].size(0);
    layer.inputs = parameters_[p].size(1);
    layer.weight = parameters_[p].data_ptr<float>();
    layer.bias = parameters_[p + 1].data_ptr<float>();
    layer.weight_gradient = gradients_[p].data_ptr<float>();
    layer.bias_gradient = gradients_[p + 1].data_ptr<float>();
    for (int64_t n = 0; n < layer.outputs; ++n) layer.weight_rows.push_back(layer.weight + n * layer.inputs);
  }
}

void FeedForwardPlan::Reserve(size_t batch) {
  samples_.resize(batch);
  for (Layer& layer : layers_) {
    const auto outputs = static_cast<size_t>(layer.outputs);
    if (batch > capacity_) {
      layer.out.resize(batch * outputs);
      layer.gradient.resize(batch * outputs);
    }
    layer.out_rows.resize(batch);
    for (size_t b = 0; b < batch; ++b) layer.out_rows[b] = &layer.out[b * outputs];
  }
  capacity_ = std::max(capacity_, batch);
}

double FeedForwardPlan::Gradient(const Dataset& data, std::span<const uint32_t> batch,
                                 std::span<const int64_t> relabel) {
  if (batch.size() != samples_.size()) Reserve(batch.size());
  const auto size = static_cast<size_t>(data.sample_size());
  for (size_t b = 0; b < batch.size(); ++b) samples_[b] = &data.inputs[batch[b] * size];

  std::span<const float* const> inputs = samples_;
  for (Layer& layer : layers_) {
    DenseForward(inputs, layer.weight, layer.bias, layer.inputs, layer.outputs, layer.out.data());
    inputs = layer.out_rows;
    if (&layer != &layers_.back())
      Activate({layer.out.data(), batch.size() * static_cast<size_t>(layer.outputs)});
  }
  const double loss = Loss(data, batch, relabel);
  for (size_t l = layers_.size(); l-- > 0;) {
    Layer& layer = layers_[l];
    const float* const by_out = layer.gradient.data();
    inputs = l == 0 ? std::span<const float* const>(samples_) : layers_[l - 1].out_rows;
    DenseOuter(inputs, by_out, layer.outputs, 1, layer.outputs, layer.inputs, layer.weight_gradient);
    std::fill_n(layer.bias_gradient, layer.outputs, 0.0F);
    for (size_t b = 0; b < batch.size(); ++b) {
      for (int64_t n = 0; n < layer.outputs; ++n) {
        layer.bias_gradient[n] += by_out[static_cast<int64_t>(b) * layer.outputs + n];
      }
    }
    if (l == 0) break;
    Layer& below = layers_[l - 1];
    DenseOuter(layer.weight_rows, by_out, 1, layer.outputs, static_cast<int64_t>(batch.size()), layer.inputs,
               below.gradient.data());
    const size_t values = batch.size() * static_cast<size_t>(below.outputs);
    Deactivate({below.out.data(), values}, {below.gradient.data(), values});
  }
  for (size_t p = 0; p < parameters_.size(); ++p) {
    at::Tensor& gradient = parameters_[p].mutable_grad();
    if (!gradient.is_same(gradients_[p])) gradient = gradients_[p];
  }
  return loss;
}

double FeedForwardPlan::Loss(const Dataset& data, std::span<const uint32_t> batch,
                             std::span<const int64_t> relabel) {
  Layer& last = layers_.back();
  const auto share = static_cast<float>(1.0 / static_cast<double>(batch.size()));
  const auto label_of = [&](uint32_t sample) {
    const int64_t label = data.labels[sample];
    return relabel.empty() ? label : relabel[static_cast<size_t>(label)];
  };
  double sum = 0;
  for (size_t b = 0; b < batch.size(); ++b) {
    const float* const out = last.out_rows[b];
    float* const gradient = &last.gradient[b * static_cast<size_t>(last.outputs)];
    if (loss_ == LossKind::kCrossEntropy) {
      const int64_t label = label_of(batch[b]);
      const float largest = *std::max_element(out, out + last.outputs);
      float total = 0;
      for (int64_t n = 0; n < last.outputs; ++n) total += gradient[n] = std::exp(out[n] - largest);
      sum += std::log(total) - (out[label] - largest);
      for (int64_t n = 0; n < last.outputs; ++n) gradient[n] *= share / total;
      gradient[label] -= share;
    } else if (loss_ == LossKind::kMse) {
      const float error = out[0] - data.values[batch[b]];
      sum += error * error;
      gradient[0] = 2 * share * error;
    } else {
      const auto target = static_cast<float>(label_of(batch[b]));
      sum += std::max(out[0], 0.0F) - out[0] * target + std::log1p(std::exp(-std::fabs(out[0])));
      gradient[0] = share * (1 / (1 + std::exp(-out[0])) - target);
    }
  }
  return sum / static_cast<double>(batch.size());
}

void FeedForwardPlan::Activate(std::span<float> values) const {
  if (activation_ == FeedForward::Activation::kTanh) {
    for (float& value : values) value = std::tanh(value);
  } else {
    for (float& value : values) value = value <= 0 ? 0 : value;  // NaN stays
  }
}

void FeedForwardPlan::Deactivate(std::span<const float> values, std::span<float> gradients) const {
  if (activation_ == FeedForward::Activation::kTanh) {
    for (size_t i = 0; i < values.size(); ++i) gradients[i] *= 1 - values[i] * values[i];
  } else {
    for (size_t i = 0; i < values.size(); ++i) gradients[i] = values[i] > 0 ? gradients[i] : 0;
  }
}

}  // namespace muster
