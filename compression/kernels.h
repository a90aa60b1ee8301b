// The vectorised loops that several compressors share. Sums are formed in sixteen fixed lanes of doubles, so
// that their bits do not depend on the CPU.
#ifndef MUSTER_COMPRESSION_KERNELS_H_
#define MUSTER_COMPRESSION_KERNELS_H_

#include <cstdint>
#include <span>

namespace muster {

double SumOfMagnitudes(std::span<const float> x);
double SumOfSquares(std::span<const float> x);

// Bit i of `signs` (lowest first) is the sign bit of x_i; unused bits of the last byte are 0. Writes
// (x.size() + 7) / 8 bytes.
void PackSigns(std::span<const float> x, uint8_t* signs);
// out_i = -magnitude where bit i is set, else magnitude.
void UnpackSigns(const uint8_t* signs, float magnitude, std::span<float> out);

}  // namespace muster

#endif  // MUSTER_COMPRESSION_KERNELS_H_
