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
  constexpr size_t kBlock = 64;
  int32_t largest = 0;
  size_t i = 0;
  for (; i + kBlock <= n; i += kBlock) {
    PrefetchPage(x + i);
    for (size_t j = i; j < i + kBlock; ++j) {
      largest = std::max(largest, std::bit_cast<int32_t>(x[j]) & kMagnitude);
    }
  }
  for (; i < n; ++i) largest = std::max(largest, std::bit_cast<int32_t>(x[i]) & kMagnitude);
  return largest;
}

}  // namespace

float LargestMagnitude(std::span<const float> x) {
  return std::bit_cast<float>(LargestBits(x.data(), x.size()));
}

}  // namespace muster
