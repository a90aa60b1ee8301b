// Random bits for stochastic rounding: by counter, so that they vectorise and do not depend on the order of
// use.
#ifndef MUSTER_COMPRESSION_NOISE_H_
#define MUSTER_COMPRESSION_NOISE_H_

#include <cstdint>

namespace muster {

// Seeds the noise of one bucket.
struct NoiseKey {
  uint32_t a = 0, b = 0;
};

// 32 random bits for element i of a bucket, the upper ones better than the lower ones: enough for rounding.
inline uint32_t UpperNoiseBits(NoiseKey key, uint32_t i) {
  uint32_t x = i + key.a;
  x ^= x >> 16;
  x *= 0x7feb352dU;
  x += key.b;
  x ^= x >> 15;
  return x * 0x846ca68bU;
}
// The same, all of them good: a mixer over a counter (after Wellons' lowbias32).
inline uint32_t NoiseBits(NoiseKey key, uint32_t i) {
  const uint32_t x = UpperNoiseBits(key, i);
  return x ^ (x >> 16);
}

}  // namespace muster

#endif  // MUSTER_COMPRESSION_NOISE_H_
