#include "compression/bits.h"

#include <cstring>

#include "core/kernel.h"

namespace muster {
namespace {

template <typename T>
void Pack(std::span<const T> numbers, int width, uint8_t* out) {
  uint64_t word = 0;
  int filled = 0;
  for (const T number : numbers) {
    word |= static_cast<uint64_t>(number) << filled;
    for (filled += width; filled >= 8; filled -= 8, word >>= 8) *out++ = static_cast<uint8_t>(word);
  }
  if (filled > 0) *out = static_cast<uint8_t>(word);
}

template <typename T>
void Unpack(const uint8_t* bytes, int width, std::span<T> numbers) {
  uint64_t word = 0;
  int filled = 0;
  for (T& number : numbers) {
    for (; filled < width; filled += 8) word |= static_cast<uint64_t>(*bytes++) << filled;
    number = static_cast<T>(word & ((uint64_t{1} << width) - 1));
    word >>= width;
    filled -= width;
  }
}

// Eight numbers of a width known to the compiler are `width` bytes. Returns how many numbers it did.
template <int kWidth>
size_t PackEights(std::span<const uint8_t> numbers, uint8_t* out) {
  size_t i = 0;
  for (; i + 8 <= numbers.size(); i += 8, out += kWidth) {
    uint64_t word = 0;
    for (int j = 0; j < 8; ++j) word |= static_cast<uint64_t>(numbers[i + j]) << (j * kWidth);
    std::memcpy(out, &word, kWidth);
  }
  return i;
}
template <int kWidth>
size_t UnpackEights(const uint8_t* bytes, std::span<uint8_t> numbers) {
  size_t i = 0;
  for (; i + 8 <= numbers.size(); i += 8, bytes += kWidth) {
    uint64_t word = 0;
    std::memcpy(&word, bytes, kWidth);
    for (int j = 0; j < 8; ++j)
      numbers[i + j] = static_cast<uint8_t>(word >> (j * kWidth) & ((1 << kWidth) - 1));
  }
  return i;
}
MUSTER_KERNEL void PackNibbles(const uint8_t* numbers, size_t pairs, uint8_t* out) {
  for (size_t i = 0; i < pairs; ++i) out[i] = static_cast<uint8_t>(numbers[2 * i] | numbers[2 * i + 1] << 4);
}
MUSTER_KERNEL void UnpackNibbles(const uint8_t* bytes, size_t pairs, uint8_t* numbers) {
  for (size_t i = 0; i < pairs; ++i) {
    numbers[2 * i] = bytes[i] & 15;
    numbers[2 * i + 1] = static_cast<uint8_t>(bytes[i] >> 4);
  }
}

}  // namespace

void PackBits(std::span<const uint8_t> numbers, int width, uint8_t* out) {
  size_t done = 0;
  switch (width) {
    case 3:
      done = PackEights<3>(numbers, out);
      break;
    case 4:
      done = numbers.size() / 8 * 8, PackNibbles(numbers.data(), done / 2, out);
      break;
    case 5:
      done = PackEights<5>(numbers, out);
      break;
    case 6:
      done = PackEights<6>(numbers, out);
      break;
    case 7:
      done = PackEights<7>(numbers, out);
      break;
    default:
      break;
  }
  Pack(numbers.subspan(done), width, out + done / 8 * static_cast<size_t>(width));
}
void PackBits(std::span<const uint16_t> numbers, int width, uint8_t* out) { Pack(numbers, width, out); }

void UnpackBits(const uint8_t* bytes, int width, std::span<uint8_t> numbers) {
  size_t done = 0;
  switch (width) {
    case 3:
      done = UnpackEights<3>(bytes, numbers);
      break;
    case 4:
      done = numbers.size() / 8 * 8, UnpackNibbles(bytes, done / 2, numbers.data());
      break;
    case 5:
      done = UnpackEights<5>(bytes, numbers);
      break;
    case 6:
      done = UnpackEights<6>(bytes, numbers);
      break;
    case 7:
      done = UnpackEights<7>(bytes, numbers);
      break;
    default:
      break;
  }
  Unpack(bytes + done / 8 * static_cast<size_t>(width), width, numbers.subspan(done));
}
void UnpackBits(const uint8_t* bytes, int width, std::span<uint16_t> numbers) {
  Unpack(bytes, width, numbers);
}

}  // namespace muster
