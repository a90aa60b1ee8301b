// The upper half of every float32.
#include <bit>
#include <cmath>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "compression/bucketed.h"
#include "compression/kernels.h"
#include "core/kernel.h"
#include "core/magnitude.h"

namespace muster {
namespace {

constexpr uint16_t kInfinity = 0x7f80;

// To the nearest, ties to even. What would round to infinity stays the largest finite number.
MUSTER_KERNEL void Encode(const float* x, size_t n, uint16_t* out) {
  for (size_t i = 0; i < n; ++i) {
    const auto bits = std::bit_cast<uint32_t>(x[i]);
    const uint32_t magnitude = bits & 0x7fffffff;
    const uint32_t rounded = (magnitude + 0x7fff + (magnitude >> 16 & 1)) >> 16;
    out[i] = static_cast<uint16_t>((rounded < kInfinity ? rounded : kInfinity - 1U) | (bits >> 16 & 0x8000));
  }
}
MUSTER_KERNEL void DecodeValues(const uint16_t* values, size_t n, float* out) {
  for (size_t i = 0; i < n; ++i) out[i] = std::bit_cast<float>(static_cast<uint32_t>(values[i]) << 16);
}

// A bucket: one u16 an element.
class Bfloat16 final : public Bucketed {
 public:
  Bfloat16() : Bucketed(4096) {}

  uint8_t codec() const override { return 3; }
  Traits traits(const Layout& layout) const override {
    return {.delta = 1 - 0x1.0p-16, .bytes = PayloadBytes(layout)};
  }

 protected:
  const char* name() const override { return "bfloat16"; }
  size_t BucketBytes(uint16_t /*levels*/, size_t n) const override { return n * sizeof(uint16_t); }
  bool EncodeBucket(std::span<const float> x, uint16_t /*levels*/, NoiseKey /*noise*/, Ahead& /*ahead*/,
                    uint8_t* out) const override {
    if (!std::isfinite(LargestMagnitude(x))) return false;
    Encode(x.data(), x.size(), reinterpret_cast<uint16_t*>(out));
    return true;
  }
  absl::StatusOr<float> CheckBucket(const uint8_t* bucket, uint16_t /*levels*/, size_t n) const override {
    const uint16_t largest = LargestOf16Bits(bucket, n);
    if (largest >= kInfinity) return InvalidInput("has a value that is not finite");
    return std::bit_cast<float>(static_cast<uint32_t>(largest) << 16);
  }
  void DecodePiece(const uint8_t* bucket, uint16_t /*levels*/, size_t /*n*/, size_t begin,
                   std::span<float> out) const override {
    uint16_t values[kPiece];
    std::memcpy(values, bucket + begin * sizeof(uint16_t), out.size() * sizeof(uint16_t));
    DecodeValues(values, out.size(), out.data());
  }
};

MUSTER_REGISTER(Compressor, Plugin("bfloat16", "The upper 16 bits of every float32, rounded to nearest")
                                .Make<Bfloat16>());

}  // namespace
}  // namespace muster
