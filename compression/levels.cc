#include "compression/levels.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "compression/bits.h"
#include "compression/kernels.h"
#include "core/kernel.h"
#include "core/magnitude.h"

namespace muster {
namespace {

// Below it a bucket is sent as zeros, so that 1 / step is finite.
constexpr float kSmallest = 0x1.0p-100f;
constexpr int kDigitsPerByte = 5;
constexpr uint8_t kByteStates = 243;  // 3^5

// One loop for codes of 8 and of 16 bits; inlined into the kernels below.
template <typename Code>
__attribute__((always_inline)) inline void ScaleLoop(const Code* codes, size_t n, float step, int32_t levels,
                                                     float* out) {
  for (size_t i = 0; i < n; ++i) out[i] = step * static_cast<float>(static_cast<int32_t>(codes[i]) - levels);
}
template <typename Code>
__attribute__((always_inline)) inline Code LargestLoop(const Code* codes, size_t n) {
  Code largest = 0;
  for (size_t i = 0; i < n; ++i) largest = std::max(largest, codes[i]);
  return largest;
}

MUSTER_KERNEL void Scale(const uint8_t* codes, size_t n, float step, int32_t levels, float* out) {
  ScaleLoop(codes, n, step, levels, out);
}
MUSTER_KERNEL void Scale(const uint16_t* codes, size_t n, float step, int32_t levels, float* out) {
  ScaleLoop(codes, n, step, levels, out);
}
MUSTER_KERNEL uint8_t LargestCode(const uint8_t* codes, size_t n) { return LargestLoop(codes, n); }
MUSTER_KERNEL uint16_t LargestCode(const uint16_t* codes, size_t n) { return LargestLoop(codes, n); }

// No step: every code is the one of zero, which noise must not move.
float Inverse(float step) { return step > 0 ? 1 / step : 0; }

// Bits of a code where codes are packed in bits.
int Width(uint16_t levels) { return static_cast<int>(std::bit_width(2U * levels)); }

void PackDigits(std::span<const uint8_t> codes, uint8_t* out) {
  for (size_t i = 0; i < codes.size(); i += kDigitsPerByte) {
    uint8_t byte = 0;
    for (size_t j = std::min(codes.size(), i + kDigitsPerByte); j > i; --j) byte = byte * 3 + codes[j - 1];
    *out++ = byte;
  }
}
void UnpackDigits(const uint8_t* bytes, std::span<uint8_t> codes) {
  for (size_t i = 0; i < codes.size(); i += kDigitsPerByte) {
    uint8_t byte = *bytes++;
    for (size_t j = i; j < std::min(codes.size(), i + kDigitsPerByte); ++j, byte /= 3) codes[j] = byte % 3;
  }
}

// The codes of elements [begin, begin + codes.size()).
template <typename Code>
void ReadCodes(const uint8_t* packed, uint16_t levels, size_t begin, std::span<Code> codes) {
  if constexpr (sizeof(Code) == 1) {
    if (levels == 1) return UnpackDigits(packed + begin / kDigitsPerByte, codes);
    if (Width(levels) == 8) {
      std::memcpy(codes.data(), packed + begin, codes.size());
      return;
    }
  }
  UnpackBits(packed + begin / 8 * static_cast<size_t>(Width(levels)), Width(levels), codes);
}

}  // namespace

size_t Levels::BucketBytes(uint16_t levels, size_t n) const {
  const size_t packed =
      levels == 1 ? (n + kDigitsPerByte - 1) / kDigitsPerByte : PackedBytes(n, Width(levels));
  return sizeof(float) + packed;
}

float Levels::StoredStep(std::span<const float> x, float largest) const {
  const float step = largest < kSmallest ? 0 : Step(x, largest);
  return std::isfinite(step * levels()) ? step : std::nextafter(step, 0.0F);
}

absl::StatusOr<Bucketed::OnDevice> Levels::EncodeOnDevice(const DeviceVector& x, int64_t bucket,
                                                          std::span<const NoiseKey> noise) const {
  OnDevice encoded;
  if (!StepByLargest() || levels() > 127) return encoded;
  MUSTER_ASSIGN_OR_RETURN(const std::vector<float> largest, x.LargestMagnitudes(bucket));
  std::vector<float> steps(largest.size()), inverses(largest.size());
  for (size_t i = 0; i < largest.size(); ++i) {
    if (!std::isfinite(largest[i])) return encoded;
    steps[i] = StoredStep({}, largest[i]);
    inverses[i] = Inverse(steps[i]);
  }
  MUSTER_ASSIGN_OR_RETURN(encoded.packed, x.RoundToLevels(bucket, levels(), inverses, noise));
  encoded.floats = std::move(steps);
  return encoded;
}

bool Levels::EncodeBucket(std::span<const float> x, uint16_t levels, NoiseKey noise, Ahead& ahead,
                          uint8_t* out) const {
  const float largest = Largest(x, ahead);
  if (!std::isfinite(largest)) return false;
  ahead.largest.reset();
  const float step = StoredStep(x, largest), inverse = Inverse(step);
  std::memcpy(out, &step, sizeof step);
  out += sizeof step;
  std::array<uint16_t, kPiece> codes;
  auto* const bytes = reinterpret_cast<uint8_t*>(codes.data());
  for (size_t begin = 0; begin < x.size(); begin += kPiece) {
    const size_t n = std::min(kPiece, x.size() - begin);
    const NoiseKey piece_noise{noise.a + static_cast<uint32_t>(begin), noise.b};
    const std::span<const uint8_t> small(bytes, n);
    const std::span<const uint16_t> large(codes.data(), n);
    if (levels > 127) {
      RoundToLevels(x.subspan(begin, n), inverse, levels, piece_noise, codes.data());
      PackBits(large, Width(levels), out + begin / 8 * static_cast<size_t>(Width(levels)));
    } else if (Width(levels) == 8) {
      // A bucket in several pieces sees the next one with its first.
      const std::span<const float> next = begin == 0 ? ahead.next : std::span<const float>();
      const float largest_of_next =
          RoundToLevels(x.subspan(begin, n), inverse, levels, piece_noise, out + begin, next);
      if (begin == 0) ahead.largest = largest_of_next;
    } else {
      RoundToLevels(x.subspan(begin, n), inverse, levels, piece_noise, bytes, {});
      if (levels == 1) {
        PackDigits(small, out + begin / kDigitsPerByte);
      } else {
        PackBits(small, Width(levels), out + begin / 8 * static_cast<size_t>(Width(levels)));
      }
    }
  }
  return true;
}

absl::StatusOr<float> Levels::CheckBucket(const uint8_t* bucket, uint16_t levels, size_t n) const {
  float step = 0;
  std::memcpy(&step, bucket, sizeof step);
  const uint8_t* const packed = bucket + sizeof step;
  const float largest = step * levels;
  if (std::signbit(step) || !std::isfinite(largest)) return InvalidInput(absl::StrCat("has the step ", step));
  if (levels == 1) {
    const size_t bytes = BucketBytes(levels, n) - sizeof step;
    if (bytes > 0 && LargestCode(packed, bytes) >= kByteStates)
      return InvalidInput("has a level out of range");
    uint8_t last = bytes > 0 ? packed[bytes - 1] : 0;
    for (size_t digits = n % kDigitsPerByte; digits > 0 && last > 0 && digits-- > 0;) last /= 3;
    if (n % kDigitsPerByte != 0 && last != 0) return InvalidInput("has padding that is not zero");
    return largest;
  }
  if (!PaddingIsZero(packed, n, Width(levels))) return InvalidInput("has padding that is not zero");
  std::array<uint16_t, kPiece> codes;
  auto* const bytes = reinterpret_cast<uint8_t*>(codes.data());
  for (size_t begin = 0; begin < n; begin += kPiece) {
    const size_t count = std::min(kPiece, n - begin);
    uint16_t most = 0;
    if (levels > 127) {
      ReadCodes(packed, levels, begin, std::span(codes.data(), count));
      most = LargestCode(codes.data(), count);
    } else if (Width(levels) == 8) {
      most = LargestCode(packed + begin, count);
    } else {
      ReadCodes(packed, levels, begin, std::span(bytes, count));
      most = LargestCode(bytes, count);
    }
    if (most > 2 * levels) return InvalidInput("has a level out of range");
  }
  return largest;
}

void Levels::DecodePiece(const uint8_t* bucket, uint16_t levels, size_t /*n*/, size_t begin,
                         std::span<float> out) const {
  float step = 0;
  std::memcpy(&step, bucket, sizeof step);
  const uint8_t* const packed = bucket + sizeof step;
  std::array<uint16_t, kPiece> codes;
  auto* const bytes = reinterpret_cast<uint8_t*>(codes.data());
  if (levels > 127) {
    ReadCodes(packed, levels, begin, std::span(codes.data(), out.size()));
    Scale(codes.data(), out.size(), step, levels, out.data());
  } else if (Width(levels) == 8) {
    Scale(packed + begin, out.size(), step, levels, out.data());
  } else {
    ReadCodes(packed, levels, begin, std::span(bytes, out.size()));
    Scale(bytes, out.size(), step, levels, out.data());
  }
}

}  // namespace muster
