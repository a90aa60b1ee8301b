// MUSTER_KERNEL for the loops of optimisers, and what those loops share.
#ifndef MUSTER_OPTIM_KERNEL_H_
#define MUSTER_OPTIM_KERNEL_H_

#include <bit>
#include <cstdint>

#include "core/kernel.h"

namespace muster::optim {

// Elements that one PrefetchPage covers.
template <typename T>
constexpr int64_t kPrefetched = 256 / sizeof(T);

// In integers, which vectorises and no compiler flag can assume away.
[[gnu::always_inline]] inline bool IsNotFinite(float x) {
  constexpr uint32_t kExponent = 0x7f800000;  // all ones: NaN or infinity
  return (std::bit_cast<uint32_t>(x) & kExponent) == kExponent;
}

// -1, 0 or 1; 0 for NaN.
[[gnu::always_inline]] inline float Sign(float x) {
  return static_cast<float>(x > 0) - static_cast<float>(x < 0);
}

}  // namespace muster::optim

#endif  // MUSTER_OPTIM_KERNEL_H_
