#include "optim/gradient_method.h"

#include <bit>

#include "absl/strings/str_cat.h"
#include "optim/kernel.h"

namespace muster {
namespace {

MUSTER_KERNEL bool AllFinite(const float* x, int64_t size) {
  constexpr uint32_t kExponent = 0x7f800000;  // all ones: NaN or infinity
  uint32_t bad = 0;
  for (int64_t i = 0; i < size; ++i) bad |= (std::bit_cast<uint32_t>(x[i]) & kExponent) == kExponent;
  return bad == 0;
}

}  // namespace

int64_t FindNonFiniteGradient(const std::vector<at::Tensor>& parameters) {
  for (size_t i = 0; i < parameters.size(); ++i) {
    if (!parameters[i].grad().defined()) continue;
    const at::Tensor gradient = parameters[i].grad().contiguous();
    if (!AllFinite(gradient.data_ptr<float>(), gradient.numel())) return static_cast<int64_t>(i);
  }
  return -1;
}

absl::Status CheckGradients(int64_t index) {
  if (index < 0) return absl::OkStatus();
  return InvalidInput(absl::StrCat("the gradient of parameter ", index,
                                   " holds a NaN or an infinity; a lower learning rate may help"));
}

}  // namespace muster
