#include "core/magnitude.h"

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>

#include "core/kernel.h"

namespace muster {
namespace {

// Magnitudes are compared as integers, whose order is the same, and NaN comes out beyond infinity.
MUSTER_KERNEL int32_t LargestBits(const float* x, size_t n) {
  constexpr int32_t kMagnitude = 0x7fffffff;
  int32_t largest = 0;
  for (size_t i = 0; i < n; ++i) largest = std::max(largest, std::bit_cast<int32_t>(x[i]) & kMagnitude);
  return largest;
}

}  // namespace

float LargestMagnitude(std::span<const float> x) {
  return std::bit_cast<float>(LargestBits(x.data(), x.size()));
}

}  // namespace muster
