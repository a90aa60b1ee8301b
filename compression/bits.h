// Small numbers packed into bytes: number i has its bits from bit i * width on, lowest bit first, bit 0 of a
// byte being its lowest. Unused bits of the last byte are 0.
#ifndef MUSTER_COMPRESSION_BITS_H_
#define MUSTER_COMPRESSION_BITS_H_

#include <cstddef>
#include <cstdint>
#include <span>

namespace muster {

constexpr size_t PackedBytes(size_t count, int width) { return (count * static_cast<size_t>(width) + 7) / 8; }

// Writes PackedBytes bytes. Every number fits `width` bits, 1 <= width <= 16.
void PackBits(std::span<const uint8_t> numbers, int width, uint8_t* out);
void PackBits(std::span<const uint16_t> numbers, int width, uint8_t* out);
// Reads as many numbers as `numbers` has. `bytes` starts at the first one's. Numbers of 8 bits at most for
// uint8_t.
void UnpackBits(const uint8_t* bytes, int width, std::span<uint8_t> numbers);
void UnpackBits(const uint8_t* bytes, int width, std::span<uint16_t> numbers);

// Whether the bits behind the last number are 0.
inline bool PaddingIsZero(const uint8_t* bytes, size_t count, int width) {
  const size_t bits = count * static_cast<size_t>(width);
  return bits % 8 == 0 || bytes[bits / 8] >> bits % 8 == 0;
}

}  // namespace muster

#endif  // MUSTER_COMPRESSION_BITS_H_
