// Sums in lanes: element k is added to lane k mod kLanes, so vectors of any width form the same sum.
#ifndef MUSTER_LEARNING_LANES_H_
#define MUSTER_LEARNING_LANES_H_

#include <algorithm>
#include <cstdint>

namespace muster {

inline constexpr int64_t kLanes = 16;

// The lanes' sum: the upper half is added to the lower, and so on.
inline float SumOfLanes(const float* lanes) {
  float sums[kLanes];
  std::copy_n(lanes, kLanes, sums);
  for (int64_t half = kLanes / 2; half > 0; half /= 2) {
    for (int64_t i = 0; i < half; ++i) sums[i] += sums[i + half];
  }
  return sums[0];
}

}  // namespace muster

#endif  // MUSTER_LEARNING_LANES_H_
