// Batches as tensors.
#ifndef MUSTER_CLIENT_BATCHER_H_
#define MUSTER_CLIENT_BATCHER_H_

#include <ATen/ATen.h>

#include <cstdint>
#include <cstring>
#include <span>
#include <vector>

#include "learning/dataset.h"
#include "learning/loss.h"

namespace muster {

// Copies samples into tensors whose memory is kept from batch to batch.
class Batcher {
 public:
  // `targets` is int64 classes for cross entropy, else float32. `relabel` as in TrainingJob.
  void Gather(const Dataset& data, LossKind loss, std::span<const uint32_t> samples, int64_t capacity,
              std::span<const int64_t> relabel = {}) {
    Reserve(data, loss, capacity);
    const auto batch = static_cast<int64_t>(samples.size());
    const int64_t size = data.sample_size();
    auto* input = all_inputs_.data_ptr<float>();
    for (const uint32_t sample : samples) {
      std::memcpy(input, data.inputs.data() + sample * size, static_cast<size_t>(size) * sizeof(float));
      input += size;
    }
    for (int64_t i = 0; i < batch; ++i) {
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
    if (batch == inputs_.size(0)) return;
    inputs_ = all_inputs_.narrow(0, 0, batch);
    targets_ = all_targets_.narrow(0, 0, batch);
  }
  const at::Tensor& inputs() const { return inputs_; }
  const at::Tensor& targets() const { return targets_; }

 private:
  void Reserve(const Dataset& data, LossKind loss, int64_t capacity) {
    if (all_inputs_.defined() && all_inputs_.size(0) >= capacity) return;
    std::vector<int64_t> shape = {capacity};
    shape.insert(shape.end(), data.sample_shape.begin(), data.sample_shape.end());
    inputs_ = all_inputs_ = at::empty(shape, at::kFloat);
    targets_ = all_targets_ = at::empty({capacity}, loss == LossKind::kCrossEntropy ? at::kLong : at::kFloat);
  }

  at::Tensor all_inputs_;   // [capacity, sample_shape...]
  at::Tensor all_targets_;  // [capacity]
  at::Tensor inputs_;       // the front of it that is filled
  at::Tensor targets_;
};

}  // namespace muster

#endif  // MUSTER_CLIENT_BATCHER_H_
