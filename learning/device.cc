#include "learning/device.h"

#include <ATen/ATen.h>
#include <c10/core/impl/VirtualGuardImpl.h>
#include <torch/version.h>

#include <cstdlib>
#include <exception>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "learning/torch_message.h"

namespace muster {
namespace {

constexpr char kCuda[] = "cuda";

// How many are there. INVALID_ARGUMENT for none.
absl::StatusOr<int> CountCudaDevices(const std::string& name) {
  if (!c10::impl::hasDeviceGuardImpl(at::kCUDA)) {
    return InvalidInput(absl::StrCat("--device ", name, ": this build's LibTorch ", TORCH_VERSION,
                                     " has no CUDA; build with the preset cuda (docs/gpu.md)"));
  }
  const int count = c10::impl::VirtualGuardImpl(at::kCUDA).deviceCount();
  if (count > 0) return count;
  return InvalidInput(
      absl::StrCat("--device ", name,
                   ": no CUDA device is visible; see nvidia-smi and CUDA_VISIBLE_DEVICES, or use "
                   "--device cpu"));
}

// The settings are LibTorch's own and hold for the whole process.
void ComputeTheSameEachTime() {
  // cuBLAS is deterministic over several streams only with workspaces of fixed sizes; it reads this when it
  // starts.
  ::setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8", /*overwrite=*/0);
  at::Context& context = at::globalContext();
  context.setDeterministicAlgorithms(true, /*warn_only=*/false);
  context.setDeterministicCuDNN(true);
  context.setBenchmarkCuDNN(false);
  context.setAllowTF32CuDNN(false);
  context.setAllowTF32CuBLAS(false);
  // LibTorch 2 would fill all new memory with NaN, which only tells wrong programs apart.
  [](auto& any_version) {
    if constexpr (requires { any_version.setDeterministicFillUninitializedMemory(false); }) {
      any_version.setDeterministicFillUninitializedMemory(false);
    }
  }(context);
}

template <typename T>
at::Tensor View(const std::vector<T>& values, at::IntArrayRef shape, at::ScalarType type) {
  // Read only.
  return at::from_blob(const_cast<T*>(values.data()), shape,
                       type);  // NOLINT(cppcoreguidelines-pro-type-const-cast)
}

}  // namespace

absl::StatusOr<std::shared_ptr<ComputeDevice>> ComputeDevice::Find(const std::string& name, int local_rank) {
  if (name == "cpu") return nullptr;
  int index = 0;
  const bool any = name == kCuda;
  const std::string prefix = absl::StrCat(kCuda, ":");
  if (!any &&
      !(name.starts_with(prefix) && absl::SimpleAtoi(name.substr(prefix.size()), &index) && index >= 0)) {
    return InvalidInput(
        absl::StrCat("--device ", name, ": must be cpu, cuda, or cuda:I with a number I from 0"));
  }
  MUSTER_ASSIGN_OR_RETURN(const int count, CountCudaDevices(name));
  if (any) index = local_rank % count;
  if (index >= count) {
    return InvalidInput(absl::StrCat("--device ", name, ": there are only cuda:0 to cuda:", count - 1));
  }
  ComputeTheSameEachTime();
  const at::Device place(at::kCUDA, static_cast<at::DeviceIndex>(index));
  try {
    at::zeros({1}, at::TensorOptions(place)).cpu();  // a driver that does not fit shows here, not in a round
  } catch (const std::exception& e) {
    return InvalidInput(absl::StrCat("--device ", name, ": ", TorchMessage(e.what())));
  }
  return std::make_shared<ComputeDevice>(place);
}

const ComputeDevice::Samples* ComputeDevice::Hold(const Dataset& data) {
  const MutexLock lock(&mutex_);
  const auto [place, is_new] = held_.try_emplace(&data);
  std::optional<Samples>& held = place->second;
  if (!is_new) return held ? &*held : nullptr;
  std::vector<int64_t> shape = {data.size()};
  shape.insert(shape.end(), data.sample_shape.begin(), data.sample_shape.end());
  try {
    // Twice what it takes, of which one half is given back.
    at::Tensor inputs = at::empty(shape, at::TensorOptions(place_).dtype(at::kFloat));
    if (is_cuda()) at::empty_like(inputs);
    inputs.copy_(View(data.inputs, shape, at::kFloat));
    held.emplace();
    held->inputs = std::move(inputs);
    if (!data.labels.empty()) held->labels = View(data.labels, {data.size()}, at::kLong).to(place_);
    if (!data.values.empty()) held->values = View(data.values, {data.size()}, at::kFloat).to(place_);
    return &*held;
  } catch (const c10::OutOfMemoryError&) {
    held.reset();
    return nullptr;
  }
}

std::optional<c10::Stream> ComputeDevice::NewStream() const {
  if (!is_cuda()) return std::nullopt;
  return c10::impl::VirtualGuardImpl(place_.type()).getStreamFromGlobalPool(place_);
}

at::Tensor ComputeDevice::HostVector(int64_t size) const {
  return at::empty({size}, at::TensorOptions().dtype(at::kFloat).pinned_memory(is_cuda()));
}

std::string KindOf(const std::shared_ptr<ComputeDevice>& device) {
  return device != nullptr && device->is_cuda() ? kCuda : "cpu";
}

}  // namespace muster
