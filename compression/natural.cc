// Natural compression: every element is rounded at random to one of the two powers of two around it.
#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "compression/bits.h"
#include "compression/bucketed.h"
#include "compression/kernels.h"
#include "core/kernel.h"

namespace muster {
namespace {

constexpr uint8_t kLargestExponent = 254;  // 255 is infinity and NaN

// (1 + f) 2^e goes up with probability f: a uniform 23-bit integer is added to the mantissa, which is then
// dropped.
MUSTER_KERNEL void Exponents(const float* x, size_t n, NoiseKey noise, uint8_t* out) {
  for (size_t i = 0; i < n; ++i) {
    const int32_t magnitude = std::bit_cast<int32_t>(x[i]) & 0x7fffffff;
    const auto up = static_cast<int32_t>(NoiseBits(noise, static_cast<uint32_t>(i)) >> 9);
    const int32_t exponent = std::min<int32_t>((magnitude + up) >> 23, kLargestExponent);
    out[i] = static_cast<uint8_t>(magnitude < 1 << 23 ? 0 : exponent);
  }
}
MUSTER_KERNEL uint8_t LargestOf(const uint8_t* exponents, size_t n) {
  uint8_t largest = 0;
  for (size_t i = 0; i < n; ++i) largest = std::max(largest, exponents[i]);
  return largest;
}
MUSTER_KERNEL void Powers(const uint8_t* exponents, const uint8_t* signs, size_t n, float* out) {
  size_t i = 0;
  for (; i + 8 <= n; i += 8) {
    const uint32_t byte = signs[i / 8];
    for (uint32_t j = 0; j < 8; ++j) {
      out[i + j] =
          std::bit_cast<float>(static_cast<uint32_t>(exponents[i + j]) << 23 | (byte >> j & 1) << 31);
    }
  }
  for (; i < n; ++i) {
    const uint32_t sign = signs[i / 8] >> i % 8 & 1;
    out[i] = std::bit_cast<float>(static_cast<uint32_t>(exponents[i]) << 23 | sign << 31);
  }
}

// A bucket: one byte an element, the biased exponent of float32 (0 stands for 0), then sign bits. Unbiased
// with omega = 1/8; float32's largest binade rounds down, and what is below its smallest normal number is 0.
class Natural final : public Bucketed {
 public:
  Natural() : Bucketed(4096) {}

  uint8_t codec() const override { return 5; }
  Traits traits(const Layout& layout) const override {
    return {.omega = 0.125, .delta = 0.875, .bytes = PayloadBytes(layout)};
  }

 protected:
  const char* name() const override { return "natural"; }
  size_t BucketBytes(uint16_t /*levels*/, size_t n) const override { return n + PackedBytes(n, 1); }
  bool EncodeBucket(std::span<const float> x, uint16_t /*levels*/, NoiseKey noise, Ahead& /*ahead*/,
                    uint8_t* out) const override {
    if (!std::isfinite(PackSigns(x, out + x.size()))) return false;
    Exponents(x.data(), x.size(), noise, out);
    return true;
  }
  absl::StatusOr<float> CheckBucket(const uint8_t* bucket, uint16_t /*levels*/, size_t n) const override {
    const uint8_t largest = LargestOf(bucket, n);
    if (largest > kLargestExponent) return InvalidInput("has an exponent out of range");
    if (!PaddingIsZero(bucket + n, n, 1)) return InvalidInput("has padding that is not zero");
    return std::bit_cast<float>(static_cast<uint32_t>(largest) << 23);
  }
  void DecodePiece(const uint8_t* bucket, uint16_t /*levels*/, size_t n, size_t begin,
                   std::span<float> out) const override {
    Powers(bucket + begin, bucket + n + begin / 8, out.size(), out.data());
  }
};

MUSTER_REGISTER(Compressor,
                Plugin("natural", "Stochastic rounding to powers of two, 9 bits an element; unbiased",
                       "Horvath et al. 2019, arXiv:1905.10988, definition 1")
                    .Make<Natural>());

}  // namespace
}  // namespace muster
