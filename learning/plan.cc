#include "learning/plan.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>

#include "core/kernel.h"
#include "learning/dense.h"
#include "learning/models/forward_random.h"

namespace muster {
namespace {

MUSTER_KERNEL void Relu(float* values, int64_t size) {
  for (int64_t i = 0; i < size; ++i) values[i] = values[i] <= 0 ? 0 : values[i];  // NaN stays
}
// Gradients are 0 where ReLU gave no positive value.
MUSTER_KERNEL void RestrictToPositive(const float* __restrict values, int64_t size,
                                      float* __restrict gradients) {
  for (int64_t i = 0; i < size; ++i) gradients[i] = values[i] > 0 ? gradients[i] : 0;
}

}  // namespace

std::unique_ptr<FeedForwardPlan> FeedForwardPlan::Make(FlatModel& model, LossKind loss, const Dataset& data) {
  const std::optional<FeedForward> form = model.model().feed_forward();
  if (!form || !HasFastDense() || (!form->convolutions.empty() && !HasFastLongRows())) return nullptr;
  // Autograd has the words for a model that was made for other data.
  auto plan = std::unique_ptr<FeedForwardPlan>(new FeedForwardPlan(model, *form, loss));
  if (!plan->AddFilters(*form, data)) return nullptr;
  const int64_t inputs =
      plan->filters_.empty() ? data.sample_size() : plan->filters_.back().convolution.output_shape().size();
  if (!plan->AddLayers(*form, inputs, ModelOutputs(loss, data))) return nullptr;
  return plan;
}

FeedForwardPlan::FeedForwardPlan(FlatModel& model, const FeedForward& form, LossKind loss)
    : parameters_(model.parameters()), activation_(form.activation), loss_(loss) {
  for (const at::Tensor& parameter : parameters_) gradients_.push_back(at::zeros_like(parameter));
}

bool FeedForwardPlan::AddFilters(const FeedForward& form, const Dataset& data) {
  if (form.convolutions.empty()) return true;
  if (data.sample_shape.size() != 3) return false;
  ImageShape shape{data.sample_shape[0], data.sample_shape[1], data.sample_shape[2]};
  for (const FeedForward::Convolution& convolution : form.convolutions) {
    const size_t p = 2 * filters_.size();
    const at::IntArrayRef sizes = parameters_[p].sizes();
    if (sizes.size() != 4 || sizes[1] != shape.channels || sizes[2] != sizes[3]) return false;
    filters_.push_back(
        {.convolution = Convolution(shape, sizes[0], sizes[2], convolution.padding, convolution.pool),
         .weight = parameters_[p].data_ptr<float>(),
         .bias = parameters_[p + 1].data_ptr<float>(),
         .weight_gradient = gradients_[p].data_ptr<float>(),
         .bias_gradient = gradients_[p + 1].data_ptr<float>()});
    shape = filters_.back().convolution.output_shape();
    if (shape.height < 1 || shape.width < 1) return false;
  }
  return true;
}

bool FeedForwardPlan::AddLayers(const FeedForward& form, int64_t inputs, int64_t outputs) {
  for (size_t p = 2 * filters_.size(); p + 1 < parameters_.size(); p += 2) {
    Layer& layer = layers_.emplace_back();
    layer.outputs = parameters_[p].size(0);
    layer.inputs = parameters_[p].size(1);
    if (layer.inputs != inputs) return false;
    inputs = layer.outputs;
    if (layers_.size() <= form.dropout.size()) layer.dropout = form.dropout[layers_.size() - 1];
    layer.weight = parameters_[p].data_ptr<float>();
    layer.bias = parameters_[p + 1].data_ptr<float>();
    layer.weight_gradient = gradients_[p].data_ptr<float>();
    layer.bias_gradient = gradients_[p + 1].data_ptr<float>();
    for (int64_t n = 0; n < layer.outputs; ++n) layer.weight_rows.push_back(layer.weight + n * layer.inputs);
  }
  return inputs == outputs;
}

void FeedForwardPlan::Reserve(size_t batch) {
  samples_.resize(batch);
  for (Filter& filter : filters_) filter.convolution.SetBatch(static_cast<int64_t>(batch));
  if (!filters_.empty()) {
    const auto inputs = static_cast<size_t>(layers_.front().inputs);
    if (batch > capacity_) {
      flat_.resize(batch * inputs);
      by_flat_.resize(batch * inputs);
    }
    for (size_t b = 0; b < batch; ++b) samples_[b] = &flat_[b * inputs];
  }
  for (Layer& layer : layers_) {
    const auto outputs = static_cast<size_t>(layer.outputs);
    if (batch > capacity_) {
      layer.out.resize(batch * outputs);
      layer.gradient.resize(batch * outputs);
      if (layer.dropout > 0) layer.mask.resize(batch * static_cast<size_t>(layer.inputs));
    }
    layer.out_rows.resize(batch);
    for (size_t b = 0; b < batch; ++b) layer.out_rows[b] = &layer.out[b * outputs];
  }
  capacity_ = std::max(capacity_, batch);
}

void FeedForwardPlan::Forward(const Dataset& data, std::span<const uint32_t> batch, bool training) {
  if (batch.size() != samples_.size()) Reserve(batch.size());
  const auto size = static_cast<size_t>(data.sample_size());
  if (filters_.empty()) {
    for (size_t b = 0; b < batch.size(); ++b) samples_[b] = &data.inputs[batch[b] * size];
  } else {
    Convolve(data, batch);
    if (training) DropInputs(0, ValuesOf(flat_, layers_.front().inputs));
  }
  for (size_t l = 0; l < layers_.size(); ++l) {
    Layer& layer = layers_[l];
    DenseForward(InputsOf(l), layer.weight, layer.bias, layer.inputs, layer.outputs, layer.out.data());
    if (l + 1 == layers_.size()) break;
    const std::span<float> out = ValuesOf(layer.out, layer.outputs);
    Activate(out);
    if (training) DropInputs(l + 1, out);
  }
}

at::Tensor FeedForwardPlan::Outputs(const Dataset& data, std::span<const uint32_t> batch) {
  Forward(data, batch, /*training=*/false);
  Layer& last = layers_.back();
  return at::from_blob(last.out.data(), {std::ssize(batch), last.outputs}, at::kFloat);
}

double FeedForwardPlan::Gradient(const Dataset& data, std::span<const uint32_t> batch,
                                 std::span<const int64_t> relabel) {
  Forward(data, batch, /*training=*/true);
  const double loss = Loss(data, batch, relabel);
  for (size_t l = layers_.size(); l-- > 0;) {
    Layer& layer = layers_[l];
    const float* const by_out = layer.gradient.data();
    DenseOuter(InputsOf(l), by_out, layer.outputs, 1, layer.outputs, layer.inputs, layer.weight_gradient);
    std::fill_n(layer.bias_gradient, layer.outputs, 0.0F);
    for (size_t b = 0; b < batch.size(); ++b) {
      for (int64_t n = 0; n < layer.outputs; ++n) {
        layer.bias_gradient[n] += by_out[static_cast<int64_t>(b) * layer.outputs + n];
      }
    }
    if (l == 0 && filters_.empty()) break;
    const std::span<float> by_in = ValuesOf(l == 0 ? by_flat_ : layers_[l - 1].gradient, layer.inputs);
    DenseOuter(layer.weight_rows, by_out, 1, layer.outputs, static_cast<int64_t>(batch.size()), layer.inputs,
               by_in.data());
    if (layer.dropout > 0) {
      for (size_t i = 0; i < by_in.size(); ++i) by_in[i] *= layer.mask[i];
    }
    if (l > 0) Deactivate(ValuesOf(layers_[l - 1].out, layer.inputs), by_in);
  }
  if (!filters_.empty()) ConvolveBack();
  for (size_t p = 0; p < parameters_.size(); ++p) {
    at::Tensor& gradient = parameters_[p].mutable_grad();
    if (!gradient.is_same(gradients_[p])) gradient = gradients_[p];
  }
  return loss;
}

std::span<float> FeedForwardPlan::ValuesOf(std::vector<float>& values, int64_t width) const {
  return std::span(values).first(samples_.size() * static_cast<size_t>(width));
}

std::span<const float* const> FeedForwardPlan::InputsOf(size_t l) const {
  return l == 0 ? samples_ : layers_[l - 1].out_rows;
}

void FeedForwardPlan::DropInputs(size_t l, std::span<float> inputs) {
  Layer& layer = layers_[l];
  if (layer.dropout == 0) return;
  DrawDropout(layer.dropout, std::span(layer.mask).first(inputs.size()));
  for (size_t i = 0; i < inputs.size(); ++i) inputs[i] *= layer.mask[i];
}

Images FeedForwardPlan::Flat(std::vector<float>& values) const {
  const ImageShape shape = filters_.back().convolution.output_shape();
  return {values.data(), shape.size(), shape.height * shape.width, shape.width};
}

void FeedForwardPlan::Convolve(const Dataset& data, std::span<const uint32_t> batch) {
  const Images first = filters_.front().convolution.input();
  const ImageShape shape = filters_.front().convolution.input_shape();
  for (size_t b = 0; b < batch.size(); ++b) {
    const float* from = &data.inputs[batch[b] * static_cast<size_t>(shape.size())];
    for (int64_t c = 0; c < shape.channels; ++c) {
      for (int64_t y = 0; y < shape.height; ++y, from += shape.width)
        std::copy_n(from, shape.width, first.line(static_cast<int64_t>(b), c, y));
    }
  }
  for (size_t f = 0; f < filters_.size(); ++f) {
    Filter& filter = filters_[f];
    filter.convolution.Forward(filter.weight, filter.bias);
    filter.convolution.Activate(f + 1 < filters_.size() ? filters_[f + 1].convolution.input() : Flat(flat_));
  }
}

void FeedForwardPlan::ConvolveBack() {
  Images by_output = Flat(by_flat_);
  for (size_t f = filters_.size(); f-- > 0;) {
    Filter& filter = filters_[f];
    filter.convolution.Backward(by_output, filter.weight_gradient, filter.bias_gradient);
    if (f > 0) by_output = filter.convolution.BackwardInput(filter.weight);
  }
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
    Relu(values.data(), std::ssize(values));
  }
}

void FeedForwardPlan::Deactivate(std::span<const float> values, std::span<float> gradients) const {
  if (activation_ == FeedForward::Activation::kTanh) {
    for (size_t i = 0; i < values.size(); ++i) gradients[i] *= 1 - values[i] * values[i];
  } else {
    RestrictToPositive(values.data(), std::ssize(values), gradients.data());
  }
}

}  // namespace muster
