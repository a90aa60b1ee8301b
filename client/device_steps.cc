#include "client/device_steps.h"

#include <ATen/ATen.h>

#include <utility>

namespace muster {

DeviceSteps::DeviceSteps(at::Device place, int64_t losses)
    : losses_(at::empty({losses}, at::TensorOptions(place).dtype(at::kFloat))) {}

void DeviceSteps::Start(const at::Tensor& model) {
  start_ = model.clone();
  count_ = 0;
}

void DeviceSteps::AddLoss(const at::Tensor& loss) { losses_[count_++].copy_(loss.detach()); }

std::vector<float> DeviceSteps::TakeLosses() {
  const at::Tensor here = losses_.narrow(0, 0, std::exchange(count_, 0)).cpu();
  const float* const first = here.data_ptr<float>();
  return {first, first + here.numel()};
}

at::Tensor DeviceSteps::Change(const at::Tensor& model) const { return model - start_; }

}  // namespace muster
