// Small numbers packed into bytes: number i has its bits from bit i * width on, lowest bit first, bit 0 of a
// byte being its lowest. Unused bits of the last byte are 0.
#ifndef MUSTER_COMPRESSION_BITS_H_
#define MUSTER_COMPRESSION_BITS_H_

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>

namespace muster {

constexpr size_t PackedBytes(size_t count, int width) { return (count * static_cast<size_t>(width) + 7) / 8; }

// Writes PackedBytes bytes. Every number fits `width` bits, 1 <= width <= 16.
template <typename T>
void PackBits(std::span<const T> numbers, int width, uint8_t* out) {
  uint64_t word = 0;
  int filled = 0;
  for (const T number : numbers) {
    word |= static_cast<uint64_t>(number) << filled;
    for (filled += width; filled >= 8; filled -= 8, word >>= 8) *out++ = static_cast<uint8_t>(word);
  }
  if (filled > 0) *out = static_cast<uint8_t>(word);
}

// Reads as many numbers as `numbers` has. `bytes` starts at the first one's.
template <typename T>
void UnpackBits(const uint8_t* bytes, int width, std::span<T> numbers) {
  const uint64_t mask = (uint64_t{1} << width) - 1;
  size_t i = 0;
  // Eight numbers are `width` whole bytes.
  for (; i + 8 <= numbers.size(); i += 8, bytes += width) {
    uint64_t low = 0, high = 0;
    std::memcpy(&low, bytes, std::min(width, 8));
    if (width > 8) std::memcpy(&high, bytes + 8, width - 8);
    for (int j = 0; j < 8; ++j) {
      const int bit = j * width;
      uint64_t word = bit < 64 ? low >> bit : high >> (bit - 64);
      if (bit < 64 && bit + width > 64) word |= high << (64 - bit);
      numbers[i + j] = static_cast<T>(word & mask);
    }
  }
  for (size_t bit = 0; i < numbers.size(); ++i) {
    uint64_t number = 0;
    for (int j = 0; j < width; ++j, ++bit)
      number |= static_cast<uint64_t>(bytes[bit / 8] >> bit % 8 & 1) << j;
    numbers[i] = static_cast<T>(number);
  }
}

// Whether the bits behind the last number are 0.
inline bool PaddingIsZero(const uint8_t* bytes, size_t count, int width) {
  const size_t bits = count * static_cast<size_t>(width);
  return bits % 8 == 0 || bytes[bits / 8] >> bits % 8 == 0;
}

}  // namespace muster

#endif  // MUSTER_COMPRESSION_BITS_H_
