// The hot loops. Each has a portable form and, where compilers need help, one for AVX2 or AVX-512, chosen
// when the program runs; all give the same bits. Sums are formed in sixteen fixed lanes of doubles.
#ifndef MUSTER_COMPRESSION_KERNELS_H_
#define MUSTER_COMPRESSION_KERNELS_H_

#include <cstddef>
#include <cstdint>
#include <span>

#include "compression/noise.h"

namespace muster {

double SumOfMagnitudes(std::span<const float> x);
double SumOfSquares(std::span<const float> x);

// Bit i of `signs` (lowest first) is the sign bit of x_i; unused bits of the last byte are 0. Writes
// (x.size() + 7) / 8 bytes. Returns SumOfMagnitudes(x), which is finite if and only if all of x is.
double PackSigns(std::span<const float> x, uint8_t* signs);
// out_i = -magnitude where bit i is set, else magnitude.
void UnpackSigns(const uint8_t* signs, float magnitude, std::span<float> out);

// codes_i = min(max(floor(x_i * inverse + u_i), -levels), levels) + levels, u_i from the upper noise bits of
// element i, uniform in [0, 1). |x_i * inverse| < 2^31. Returns LargestMagnitude(next), read while x, which
// is in the cache, is encoded.
float RoundToLevels(std::span<const float> x, float inverse, int32_t levels, NoiseKey noise, uint8_t* codes,
                    std::span<const float> next);
void RoundToLevels(std::span<const float> x, float inverse, int32_t levels, NoiseKey noise, uint16_t* codes);

// halves_i = x_i * factor as IEEE half, to nearest, ties to even, for |x_i * factor| < 2^15; and back.
// Returns LargestMagnitude(next), likewise.
float EncodeHalves(std::span<const float> x, float factor, uint16_t* halves, std::span<const float> next);
void DecodeHalves(const uint16_t* halves, float unit, std::span<float> out);

// The largest of n numbers of 16 bits whose top bit is a sign, which does not count; `packed` need not be
// aligned.
uint16_t LargestOf16Bits(const uint8_t* packed, size_t n);

// The forms for any CPU. For tests: the others must equal them.
namespace portable {
double PackSigns(std::span<const float> x, uint8_t* signs);
void RoundToLevels(std::span<const float> x, float inverse, int32_t levels, NoiseKey noise, uint8_t* codes);
void EncodeHalves(std::span<const float> x, float factor, uint16_t* halves);
void DecodeHalves(const uint16_t* halves, float unit, std::span<float> out);
}  // namespace portable

}  // namespace muster

#endif  // MUSTER_COMPRESSION_KERNELS_H_
