// Batches as tensors.
#ifndef MUSTER_CLIENT_BATCHER_H_
#define MUSTER_CLIENT_BATCHER_H_

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <span>
#include <utility>

#include "learning/dataset.h"
#include "learning/device.h"
#include "learning/loss.h"

namespace muster {

// Copies samples into tensors whose memory is kept from batch to batch; on a device that holds the data set
// it picks them there. One thread.
class Batcher {
 public:
  // nullptr: for the CPU.
  explicit Batcher(std::shared_ptr<ComputeDevice> device) : device_(std::move(device)) {}

  // `targets` is int64 classes for cross entropy, else float32. `relabel` as in TrainingJob. `places`: the
  // samples as int64 on the device, if they are there already.
  void Gather(const Dataset& data, LossKind loss, std::span<const uint32_t> samples, int64_t capacity,
              std::span<const int64_t> relabel = {}, const at::Tensor& places = {});
  // The targets alone, with the host, for whoever reads the inputs where they lie. Without a device.
  void GatherTargets(const Dataset& data, LossKind loss, std::span<const uint32_t> samples, int64_t capacity);
  const at::Tensor& inputs() const { return inputs_; }
  const at::Tensor& targets() const { return targets_; }

  // `samples` as `places`.
  static at::Tensor Places(std::span<const uint32_t> samples, at::Device device);

 private:
  void Reserve(const Dataset& data, LossKind loss, int64_t capacity);
  void CopyInputs(const Dataset& data, std::span<const uint32_t> samples);
  void CopyTargets(const Dataset& data, LossKind loss, std::span<const uint32_t> samples,
                   std::span<const int64_t> relabel);
  void Pick(const ComputeDevice::Samples& held, LossKind loss, std::span<const int64_t> relabel,
            const at::Tensor& places);

  std::shared_ptr<ComputeDevice> device_;
  at::Tensor all_inputs_;   // [capacity, sample_shape...], with the host
  at::Tensor all_targets_;  // [capacity]
  at::Tensor inputs_;
  at::Tensor targets_;
};

}  // namespace muster

#endif  // MUSTER_CLIENT_BATCHER_H_
