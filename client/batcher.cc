#include "client/batcher.h"

#include <ATen/ATen.h>

#include <cstring>
#include <vector>

namespace muster {
namespace {

// part = the first `size` of `all`, unless it is that already.
void Narrow(const at::Tensor& all, int64_t size, at::Tensor& part) {
  if (part.size(0) != size) part = all.narrow(0, 0, size);
}

}  // namespace

void Batcher::Gather(const Dataset& data, LossKind loss, std::span<const uint32_t> samples, int64_t capacity,
                     std::span<const int64_t> relabel, const at::Tensor& places) {
  const ComputeDevice::Samples* const held = device_ != nullptr ? device_->Hold(data) : nullptr;
  if (held != nullptr) {
    Pick(*held, loss, relabel, places.defined() ? places : Places(samples, device_->place()));
    return;
  }
  Reserve(data, loss, capacity);
  CopyInputs(data, samples);
  CopyTargets(data, loss, samples, relabel);
  const auto batch = static_cast<int64_t>(samples.size());
  if (device_ != nullptr) {
    inputs_ = all_inputs_.narrow(0, 0, batch).to(device_->place());
    targets_ = all_targets_.narrow(0, 0, batch).to(device_->place());
  } else {
    Narrow(all_inputs_, batch, inputs_);
    Narrow(all_targets_, batch, targets_);
  }
}

void Batcher::GatherTargets(const Dataset& data, LossKind loss, std::span<const uint32_t> samples,
                            int64_t capacity) {
  Reserve(data, loss, capacity);
  CopyTargets(data, loss, samples, /*relabel=*/{});
  Narrow(all_targets_, static_cast<int64_t>(samples.size()), targets_);
}

at::Tensor Batcher::Places(std::span<const uint32_t> samples, at::Device device) {
  const at::Tensor places = at::empty({static_cast<int64_t>(samples.size())}, at::kLong);
  for (size_t i = 0; i < samples.size(); ++i) places.data_ptr<int64_t>()[i] = samples[i];
  return places.to(device);
}

void Batcher::Pick(const ComputeDevice::Samples& held, LossKind loss, std::span<const int64_t> relabel,
                   const at::Tensor& places) {
  inputs_ = held.inputs.index_select(0, places);
  if (loss == LossKind::kMse) {
    targets_ = held.values.index_select(0, places);
    return;
  }
  targets_ = held.labels.index_select(0, places);
  if (!relabel.empty()) {
    targets_ = at::tensor(at::ArrayRef<int64_t>(relabel.data(), relabel.size()))
                   .to(places.device())
                   .index_select(0, targets_);
  }
  if (loss == LossKind::kBinary) targets_ = targets_.to(at::kFloat);
}

void Batcher::CopyInputs(const Dataset& data, std::span<const uint32_t> samples) {
  const int64_t size = data.sample_size();
  auto* input = all_inputs_.data_ptr<float>();
  for (const uint32_t sample : samples) {
    std::memcpy(input, data.inputs.data() + sample * size, static_cast<size_t>(size) * sizeof(float));
    input += size;
  }
}

void Batcher::CopyTargets(const Dataset& data, LossKind loss, std::span<const uint32_t> samples,
                          std::span<const int64_t> relabel) {
  for (size_t i = 0; i < samples.size(); ++i) {
    const uint32_t sample = samples[i];
    if (loss == LossKind::kMse) {
      all_targets_.data_ptr<float>()[i] = data.values[sample];
      continue;
    }
    int64_t label = data.labels[sample];
    if (!relabel.empty()) label = relabel[static_cast<size_t>(label)];
    if (loss == LossKind::kCrossEntropy) {
      all_targets_.data_ptr<int64_t>()[i] = label;
    } else {
      all_targets_.data_ptr<float>()[i] = static_cast<float>(label);
    }
  }
}

void Batcher::Reserve(const Dataset& data, LossKind loss, int64_t capacity) {
  if (all_inputs_.defined() && all_inputs_.size(0) >= capacity) return;
  std::vector<int64_t> shape = {capacity};
  shape.insert(shape.end(), data.sample_shape.begin(), data.sample_shape.end());
  const auto host = at::TensorOptions().pinned_memory(device_ != nullptr && device_->is_cuda());
  inputs_ = all_inputs_ = at::empty(shape, host.dtype(at::kFloat));
  targets_ = all_targets_ =
      at::empty({capacity}, host.dtype(loss == LossKind::kCrossEntropy ? at::kLong : at::kFloat));
}

}  // namespace muster
