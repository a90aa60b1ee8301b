// Devices that train beside the CPU: finding one, what is settled for all of its users, and data sets that
// were put there. On ATen alone: the same source serves LibTorch with and without CUDA.
#ifndef MUSTER_LEARNING_DEVICE_H_
#define MUSTER_LEARNING_DEVICE_H_

#include <ATen/core/Tensor.h>
#include <c10/core/Stream.h>

#include <map>
#include <memory>
#include <optional>
#include <string>

#include "core/mutex.h"
#include "core/status.h"
#include "learning/dataset.h"

namespace muster {

// One device, shared by all trainers of a process. Thread-safe.
class ComputeDevice {
 public:
  // A data set's samples, all of them, on the device.
  struct Samples {
    at::Tensor inputs;  // [size, sample_shape...] float32
    at::Tensor labels;  // [size] int64; undefined for regression
    at::Tensor values;  // [size] float32; undefined for classification
  };

  // `name` is cpu, cuda or cuda:I. nullptr for cpu: nothing is beside it. cuda alone takes the device of
  // number `local_rank` modulo how many there are, so that the processes of one machine spread over its
  // devices, or share them. INVALID_ARGUMENT, in one line, for another name, a LibTorch without CUDA, and a
  // device that is not there. From then on LibTorch computes on devices by deterministic algorithms and in
  // full float32 (no TF32), and refuses operations that have none: to be called before other threads start.
  static absl::StatusOr<std::shared_ptr<ComputeDevice>> Find(const std::string& name, int local_rank);

  explicit ComputeDevice(at::Device place) : place_(place) {}
  at::Device place() const { return place_; }
  bool is_cuda() const { return place_.is_cuda(); }

  // The samples of `data`, which outlives the device; put there once. nullptr if they would take more than
  // half of the memory that is free: then batches are copied as they come.
  const Samples* Hold(const Dataset& data) ABSL_LOCKS_EXCLUDED(mutex_);

  // A queue of work for one thread; none where there are no queues.
  std::optional<c10::Stream> NewStream() const;
  // Memory of the host that the device can copy from and to by itself, [size] float32.
  at::Tensor HostVector(int64_t size) const;

 private:
  const at::Device place_;
  Mutex mutex_;
  std::map<const Dataset*, std::optional<Samples>> held_ ABSL_GUARDED_BY(mutex_);
};

// "cpu" for none, "cuda": what is part of a result's bits.
std::string KindOf(const std::shared_ptr<ComputeDevice>& device);

}  // namespace muster

#endif  // MUSTER_LEARNING_DEVICE_H_
