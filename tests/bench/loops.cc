#include "tests/bench/loops.h"

#include <cblas.h>

#include <algorithm>
#include <cmath>
#include <utility>

#include "core/random.h"
#include "learning/models/forward_random.h"

namespace muster {
namespace {

template <typename Index>
std::vector<Index> BatchOrder(std::span<const uint32_t> samples, uint64_t seed, uint64_t round,
                              uint64_t client) {
  std::vector<Index> order(samples.begin(), samples.end());
  Random({.seed = seed, .purpose = Purpose::kBatchOrder, .round = round, .client = client})
      .Shuffle(std::span<Index>(order));
  return order;
}

class BareLoop final : public Loop {
 public:
  BareLoop(const Dataset& data, std::unique_ptr<Model> model, LoopOptions options)
      : options_(std::move(options)),
        place_(options_.device != nullptr ? options_.device->place() : at::Device(at::kCPU)),
        model_(std::move(model)) {
    std::vector<int64_t> shape = {data.size()};
    shape.insert(shape.end(), data.sample_shape.begin(), data.sample_shape.end());
    inputs_ = at::tensor(at::ArrayRef<float>(data.inputs)).view(shape).to(place_);
    labels_ = at::tensor(at::ArrayRef<int64_t>(data.labels)).to(place_);
    for (auto& [name, tensor] : model_->Buffers()) tensor.set_data(tensor.to(place_));
    for (auto& [name, tensor] : model_->Parameters()) {
      tensor.set_data(tensor.to(place_));
      parameters_.push_back(tensor);
    }
    model_->SetTraining(true);
  }

  void Train(std::span<const uint32_t> samples, uint64_t round, uint64_t client) override {
    torch::optim::SGD sgd(parameters_, torch::optim::SGDOptions(options_.learning_rate));
    SeedForwardRandom(
        {.seed = options_.seed, .purpose = Purpose::kDropout, .round = round, .client = client});
    const std::vector<int64_t> order = BatchOrder<int64_t>(samples, options_.seed, round, client);
    const at::Tensor indices = at::tensor(at::ArrayRef<int64_t>(order)).to(place_);
    std::vector<at::Tensor> losses;
    for (int64_t begin = 0; begin < indices.numel(); begin += options_.batch_size) {
      const at::Tensor batch =
          indices.narrow(0, begin, std::min(options_.batch_size, indices.numel() - begin));
      const at::Tensor outputs = model_->Forward(inputs_.index_select(0, batch));
      const at::Tensor loss = at::cross_entropy_loss(outputs, labels_.index_select(0, batch));
      for (const at::Tensor& parameter : parameters_) parameter.mutable_grad().reset();
      loss.backward();
      sgd.step();
      losses.push_back(loss.detach());
    }
    loss_sum_ += at::stack(losses).sum().item<double>();
  }
  std::vector<std::span<float>> values() override {
    std::vector<std::span<float>> pieces;
    for (const at::Tensor& parameter : parameters_) {
      pieces.emplace_back(parameter.data_ptr<float>(), static_cast<size_t>(parameter.numel()));
    }
    return pieces;
  }

 private:
  const LoopOptions options_;
  const at::Device place_;
  std::unique_ptr<Model> model_;
  at::Tensor inputs_, labels_;
  std::vector<at::Tensor> parameters_;
  double loss_sum_ = 0;
};

class LoopByHand final : public Loop {
 public:
  LoopByHand(const Dataset& data, const std::vector<int64_t>& widths, LoopOptions options)
      : data_(data), options_(std::move(options)) {
    Random random({.seed = 4});
    for (size_t l = 0; l + 1 < widths.size(); ++l) {
      Layer& layer =
          layers_.emplace_back(Layer{static_cast<int>(widths[l]), static_cast<int>(widths[l + 1])});
      layer.weight.resize(static_cast<size_t>(widths[l] * widths[l + 1]));
      for (float& value : layer.weight) value = static_cast<float>(0.01 * random.Normal());
      layer.bias.resize(static_cast<size_t>(widths[l + 1]));
      layer.in.resize(static_cast<size_t>(options_.batch_size * widths[l]));
      layer.by_out.resize(static_cast<size_t>(options_.batch_size * widths[l + 1]));
    }
  }

  void Train(std::span<const uint32_t> samples, uint64_t round, uint64_t client) override {
    const std::vector<uint32_t> order = BatchOrder<uint32_t>(samples, options_.seed, round, client);
    const auto batch_size = static_cast<size_t>(options_.batch_size);
    for (size_t begin = 0; begin < order.size(); begin += batch_size) {
      Step(std::span(order).subspan(begin, std::min(batch_size, order.size() - begin)));
    }
  }
  std::vector<std::span<float>> values() override {
    std::vector<std::span<float>> pieces;
    for (Layer& layer : layers_) {
      pieces.emplace_back(layer.weight);
      pieces.emplace_back(layer.bias);
    }
    return pieces;
  }

 private:
  struct Layer {
    int inputs, outputs;
    std::vector<float> weight = {}, bias = {}, in = {}, by_out = {};
  };

  void Step(std::span<const uint32_t> batch) {
    const int n = static_cast<int>(batch.size());
    const auto size = static_cast<size_t>(layers_[0].inputs);
    for (size_t i = 0; i < batch.size(); ++i) {
      std::copy_n(&data_.inputs[batch[i] * size], size, &layers_[0].in[i * size]);
    }
    for (size_t l = 0; l < layers_.size(); ++l) {
      Layer& layer = layers_[l];
      const bool last = l + 1 == layers_.size();
      float* const out = last ? layer.by_out.data() : layers_[l + 1].in.data();
      for (int i = 0; i < n; ++i) std::copy(layer.bias.begin(), layer.bias.end(), out + i * layer.outputs);
      cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, n, layer.outputs, layer.inputs, 1, layer.in.data(),
                  layer.inputs, layer.weight.data(), layer.inputs, 1, out, layer.outputs);
      if (!last) {
        for (int i = 0; i < n * layer.outputs; ++i) out[i] = out[i] > 0 ? out[i] : 0;
      }
    }
    LossGradient(batch);
    const auto rate = static_cast<float>(options_.learning_rate);
    for (size_t l = layers_.size(); l-- > 0;) {
      Layer& layer = layers_[l];
      if (l > 0) {
        Layer& below = layers_[l - 1];
        cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, n, layer.inputs, layer.outputs, 1,
                    layer.by_out.data(), layer.outputs, layer.weight.data(), layer.inputs, 0,
                    below.by_out.data(), layer.inputs);
        for (int i = 0; i < n * layer.inputs; ++i) below.by_out[i] *= layer.in[i] > 0 ? 1.0F : 0.0F;
      }
      cblas_sgemm(CblasRowMajor, CblasTrans, CblasNoTrans, layer.outputs, layer.inputs, n, -rate,
                  layer.by_out.data(), layer.outputs, layer.in.data(), layer.inputs, 1, layer.weight.data(),
                  layer.inputs);
      for (int i = 0; i < n; ++i) {
        cblas_saxpy(layer.outputs, -rate, &layer.by_out[static_cast<size_t>(i * layer.outputs)], 1,
                    layer.bias.data(), 1);
      }
    }
  }
  // Of the mean cross-entropy, in the place of the last layer's outputs.
  void LossGradient(std::span<const uint32_t> batch) {
    Layer& top = layers_.back();
    const auto n = static_cast<float>(batch.size());
    for (size_t i = 0; i < batch.size(); ++i) {
      float* const out = &top.by_out[i * static_cast<size_t>(top.outputs)];
      const float largest = *std::max_element(out, out + top.outputs);
      float total = 0;
      for (int c = 0; c < top.outputs; ++c) total += out[c] = std::exp(out[c] - largest);
      for (int c = 0; c < top.outputs; ++c) out[c] /= total * n;
      out[data_.labels[batch[i]]] -= 1 / n;
    }
  }

  const Dataset& data_;
  const LoopOptions options_;
  std::vector<Layer> layers_;
};

}  // namespace

std::unique_ptr<Loop> MakeBareLoop(const Dataset& data, std::unique_ptr<Model> model, LoopOptions options) {
  return std::make_unique<BareLoop>(data, std::move(model), std::move(options));
}

std::unique_ptr<Loop> MakeLoopByHand(const Dataset& data, const std::vector<int64_t>& widths,
                                     LoopOptions options) {
  return std::make_unique<LoopByHand>(data, widths, std::move(options));
}

void AverageRound(Loop& loop, const Partition& partition, std::span<const int64_t> cohort, uint64_t round,
                  std::vector<float>& model) {
  const std::vector<std::span<float>> pieces = loop.values();
  std::vector<float> sum(model.size(), 0.0F);
  float weights = 0;
  for (const int64_t client : cohort) {
    const std::span<const uint32_t> samples = partition.samples(client);
    auto from = model.begin();
    for (const std::span<float> piece : pieces) {
      std::copy_n(from, piece.size(), piece.begin());
      from += static_cast<int64_t>(piece.size());
    }
    loop.Train(samples, round, static_cast<uint64_t>(client));
    const auto weight = static_cast<float>(samples.size());
    weights += weight;
    auto to = sum.begin();
    for (const std::span<float> piece : pieces) {
      for (const float value : piece) *to++ += weight * value;
    }
  }
  for (size_t i = 0; i < model.size(); ++i) model[i] = sum[i] / weights;
}

}  // namespace muster
