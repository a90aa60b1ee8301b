// IEEE half precision with one power of two a bucket, so that neither small nor huge updates lose precision.
#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "compression/bucketed.h"
#include "compression/kernels.h"

namespace muster {
namespace {

constexpr uint16_t kInfinity = 0x7c00;
// Biased float32 exponents of a bucket's largest element; smaller ones count as the smallest, so that no half
// decodes to a denormal.
constexpr int kSmallestExponent = 40, kLargestExponent = 254;

// 2^(exponent - 141): a bucket's largest element becomes one of [2^14, 2^15).
float Unit(int exponent) { return std::bit_cast<float>(static_cast<uint32_t>(exponent - 141 + 127) << 23); }
float InverseUnit(int exponent) {
  return std::bit_cast<float>(static_cast<uint32_t>(141 - exponent + 127) << 23);
}

int ExponentOf(const uint8_t* bucket) {
  uint16_t exponent = 0;
  std::memcpy(&exponent, bucket, sizeof exponent);
  return exponent;
}

// A bucket: u16 exponent E, then one half an element; element = half * 2^(E - 141).
class Float16 final : public Bucketed {
 public:
  Float16() : Bucketed(4096) {}

  uint8_t codec() const override { return 2; }
  // A normal half errs by 2^-11 of itself; a smaller one by 2^-25 units where the largest is at least 2^14 of
  // them.
  Traits traits(const Layout& layout) const override {
    return {.delta = 1 - 0x1.0p-20, .bytes = PayloadBytes(layout)};
  }

 protected:
  const char* name() const override { return "float16"; }
  size_t BucketBytes(uint16_t /*levels*/, size_t n) const override { return (1 + n) * sizeof(uint16_t); }
  bool EncodeBucket(std::span<const float> x, uint16_t /*levels*/, NoiseKey /*noise*/, Ahead& ahead,
                    uint8_t* out) const override {
    const auto largest = static_cast<int>(std::bit_cast<uint32_t>(Largest(x, ahead)) >> 23);
    if (largest > kLargestExponent) return false;
    const int exponent = std::max(largest, kSmallestExponent);
    auto* const halves = reinterpret_cast<uint16_t*>(out);  // EncodeBucket's memory is aligned
    halves[0] = static_cast<uint16_t>(exponent);
    ahead.largest = EncodeHalves(x, InverseUnit(exponent), halves + 1, ahead.next);
    return true;
  }
  absl::StatusOr<float> CheckBucket(const uint8_t* bucket, uint16_t /*levels*/, size_t n) const override {
    const int exponent = ExponentOf(bucket);
    if (exponent < kSmallestExponent || exponent > kLargestExponent) {
      return InvalidInput(absl::StrCat("has the exponent ", exponent));
    }
    const uint16_t largest = LargestOf16Bits(bucket + sizeof(uint16_t), n);
    if (largest >= kInfinity) return InvalidInput("has a half that is not finite");
    float value = 0;
    DecodeHalves(&largest, Unit(exponent), {&value, 1});
    return value;
  }
  void DecodePiece(const uint8_t* bucket, uint16_t /*levels*/, size_t /*n*/, size_t begin,
                   std::span<float> out) const override {
    uint16_t halves[kPiece];
    std::memcpy(halves, bucket + (1 + begin) * sizeof(uint16_t), out.size() * sizeof(uint16_t));
    DecodeHalves(halves, Unit(ExponentOf(bucket)), out);
  }
};

MUSTER_REGISTER(Compressor, Plugin("float16", "IEEE half precision, scaled by one power of two a bucket")
                                .Make<Float16>());

}  // namespace
}  // namespace muster
