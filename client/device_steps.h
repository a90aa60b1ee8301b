// What steps on a device leave there, until somebody asks for it: no step waits for the device.
#ifndef MUSTER_CLIENT_DEVICE_STEPS_H_
#define MUSTER_CLIENT_DEVICE_STEPS_H_

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

namespace muster {

// Of one job at a time, by one thread. Errors are LibTorch's exceptions.
class DeviceSteps {
 public:
  // Losses are taken before there are more than `losses`.
  DeviceSteps(at::Device place, int64_t losses);

  // A job starts from `model`, the flat model on the device, which then changes.
  void Start(const at::Tensor& model);
  void AddLoss(const at::Tensor& loss);
  // Those added since the last time: waits for the device.
  std::vector<float> TakeLosses();
  // model - what Start was given; a tensor of its own.
  at::Tensor Change(const at::Tensor& model) const;

 private:
  at::Tensor start_;
  at::Tensor losses_;
  int64_t count_ = 0;
};

}  // namespace muster

#endif  // MUSTER_CLIENT_DEVICE_STEPS_H_
