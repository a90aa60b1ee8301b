// Stochastic rounding to evenly spaced levels: the form that quantize, qsgd and ternary share. They differ in
// how far apart the levels of a bucket are.
#ifndef MUSTER_COMPRESSION_LEVELS_H_
#define MUSTER_COMPRESSION_LEVELS_H_

#include <span>

#include "compression/bucketed.h"

namespace muster {

// x_i -> step * q_i with q_i = floor(x_i / step + u), u uniform in [0, 1): an integer of -L..L, unbiased.
// A bucket: f32 step, then the codes q_i + L of 0..2L: for L = 1 five to a byte, the first the lowest digit
// in base 3; else packed with as many bits as 2L needs (bits.h).
class Levels : public Bucketed {
 public:
  uint8_t codec() const final { return 4; }

 protected:
  // 1 <= levels (L) <= 32767.
  using Bucketed::Bucketed;

  // The distance between levels for a bucket whose largest magnitude is `largest` > 0. x_i / step is in
  // -L..L.
  virtual float Step(std::span<const float> x, float largest) const = 0;
  // Whether it asks for no more of x than that.
  virtual bool StepByLargest() const { return false; }

  const char* name() const final { return "levels"; }
  bool KnowsLevels(uint16_t levels) const final { return levels >= 1 && levels <= 32767; }
  size_t BucketBytes(uint16_t levels, size_t n) const final;
  bool EncodeBucket(std::span<const float> x, uint16_t levels, NoiseKey noise, Ahead& ahead,
                    uint8_t* out) const final;
  absl::StatusOr<OnDevice> EncodeOnDevice(const DeviceVector& x, int64_t bucket,
                                          std::span<const NoiseKey> noise) const final;
  absl::StatusOr<float> CheckBucket(const uint8_t* bucket, uint16_t levels, size_t n) const final;
  void DecodePiece(const uint8_t* bucket, uint16_t levels, size_t n, size_t begin,
                   std::span<float> out) const final;

 private:
  // What a bucket says; 0: all of it is.
  float StoredStep(std::span<const float> x, float largest) const;
};

}  // namespace muster

#endif  // MUSTER_COMPRESSION_LEVELS_H_
