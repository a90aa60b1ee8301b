#include "compression/kernels.h"

#include <bit>
#include <cmath>
#include <cstddef>

#include "core/kernel.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace muster {
namespace {

constexpr size_t kLanes = 16;

template <typename Term>
__attribute__((always_inline)) inline double LaneSum(const float* x, size_t n, const Term& term) {
  double lanes[kLanes] = {};
  size_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    for (size_t lane = 0; lane < kLanes; ++lane) lanes[lane] += term(x[i + lane]);
  }
  for (; i < n; ++i) lanes[i % kLanes] += term(x[i]);
  for (size_t width = kLanes / 2; width > 0; width /= 2) {
    for (size_t lane = 0; lane < width; ++lane) lanes[lane] += lanes[lane + width];
  }
  return lanes[0];
}

MUSTER_KERNEL double Magnitudes(const float* x, size_t n) {
  return LaneSum(x, n, [](float value) { return std::fabs(static_cast<double>(value)); });
}
MUSTER_KERNEL double Squares(const float* x, size_t n) {
  return LaneSum(x, n, [](float value) { return static_cast<double>(value) * static_cast<double>(value); });
}

MUSTER_KERNEL void Unpack(const uint8_t* signs, float magnitude, float* out, size_t n) {
  const auto bits = std::bit_cast<uint32_t>(magnitude);
  size_t i = 0;
  for (; i + 8 <= n; i += 8) {
    const uint32_t byte = signs[i / 8];
    for (uint32_t j = 0; j < 8; ++j) out[i + j] = std::bit_cast<float>(bits ^ (byte >> j & 1) << 31);
  }
  for (; i < n; ++i)
    out[i] = std::bit_cast<float>(bits ^ static_cast<uint32_t>(signs[i / 8] >> i % 8 & 1) << 31);
}

}  // namespace

double SumOfMagnitudes(std::span<const float> x) { return Magnitudes(x.data(), x.size()); }
double SumOfSquares(std::span<const float> x) { return Squares(x.data(), x.size()); }

void PackSigns(std::span<const float> x, uint8_t* signs) {
  size_t i = 0;
#if defined(__x86_64__)
  // Four sign bits an instruction on every x86-64; memory is slower than that.
  for (; i + 8 <= x.size(); i += 8) {
    const int low = _mm_movemask_ps(_mm_loadu_ps(&x[i])), high = _mm_movemask_ps(_mm_loadu_ps(&x[i + 4]));
    signs[i / 8] = static_cast<uint8_t>(low | high << 4);
  }
#endif
  for (; i < x.size(); i += 8) {
    uint8_t byte = 0;
    for (size_t j = i; j < x.size() && j < i + 8; ++j) {
      byte |= static_cast<uint8_t>(std::bit_cast<uint32_t>(x[j]) >> 31 << (j - i));
    }
    signs[i / 8] = byte;
  }
}

void UnpackSigns(const uint8_t* signs, float magnitude, std::span<float> out) {
  Unpack(signs, magnitude, out.data(), out.size());
}

}  // namespace muster
