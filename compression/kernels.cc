#include "compression/kernels.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstring>

#include "core/kernel.h"
#include "core/magnitude.h"

#if defined(__x86_64__)
#include <immintrin.h>
#define MUSTER_X86 1
#else
#define MUSTER_X86 0
#endif

namespace muster {
namespace {

constexpr size_t kLanes = 16;
constexpr size_t kAhead = 512;  // elements of the next bucket that are on their way from memory

// Lane i holds the terms of elements i, i + 16, ...; the tail goes on with the first lanes.
double ReduceLanes(double* lanes) {
  for (size_t width = kLanes / 2; width > 0; width /= 2) {
    for (size_t lane = 0; lane < width; ++lane) lanes[lane] += lanes[lane + width];
  }
  return lanes[0];
}

template <typename Term>
__attribute__((always_inline)) inline double LaneSum(const float* x, size_t n, const Term& term) {
  double lanes[kLanes] = {};
  size_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    for (size_t lane = 0; lane < kLanes; ++lane) lanes[lane] += term(x[i + lane]);
  }
  for (; i < n; ++i) lanes[i % kLanes] += term(x[i]);
  return ReduceLanes(lanes);
}

// Of magnitudes; NaN is larger than any.
float Larger(float a, float b) { return std::isnan(a) || a > b ? a : b; }

double Magnitude(float value) { return std::fabs(static_cast<double>(value)); }

MUSTER_KERNEL double Magnitudes(const float* x, size_t n) { return LaneSum(x, n, Magnitude); }
MUSTER_KERNEL double Squares(const float* x, size_t n) {
  return LaneSum(x, n, [](float value) { return static_cast<double>(value) * static_cast<double>(value); });
}

MUSTER_KERNEL void Unpack(const uint8_t* signs, float magnitude, float* out, size_t n) {
  const auto bits = std::bit_cast<uint32_t>(magnitude);
  size_t i = 0;
  for (; i + 8 <= n; i += 8) {
    const uint32_t byte = signs[i / 8];
    for (uint32_t j = 0; j < 8; ++j) out[i + j] = std::bit_cast<float>(bits ^ (byte >> j & 1) << 31);
  }
  for (; i < n; ++i)
    out[i] = std::bit_cast<float>(bits ^ static_cast<uint32_t>(signs[i / 8] >> i % 8 & 1) << 31);
}

// Sign bits of elements from `begin` on, a multiple of 8.
void PackSignBits(std::span<const float> x, size_t begin, uint8_t* signs) {
  for (size_t i = begin; i < x.size(); i += 8) {
    uint8_t byte = 0;
    for (size_t j = i; j < std::min(x.size(), i + 8); ++j) {
      byte |= static_cast<uint8_t>(std::bit_cast<uint32_t>(x[j]) >> 31 << (j - i));
    }
    signs[i / 8] = byte;
  }
}

template <typename Code>
__attribute__((always_inline)) inline void RoundLoop(const float* x, size_t n, float inverse, int32_t levels,
                                                     NoiseKey noise, Code* codes) {
  for (size_t i = 0; i < n; ++i) {
    const uint32_t bits = UpperNoiseBits(noise, static_cast<uint32_t>(i));
    const float one_to_two = std::bit_cast<float>(bits >> 9 | 0x3f800000U);
    const float t = std::fma(x[i], inverse, one_to_two);
    int32_t level = static_cast<int32_t>(t);
    level -= static_cast<float>(level) > t ? 1 : 0;  // floor
    level = std::min(std::max(level, 1 - levels), levels + 1);
    codes[i] = static_cast<Code>(level + levels - 1);
  }
}
MUSTER_KERNEL void Round(const float* x, size_t n, float inverse, int32_t levels, NoiseKey noise,
                         uint8_t* codes) {
  RoundLoop(x, n, inverse, levels, noise, codes);
}
MUSTER_KERNEL void Round(const float* x, size_t n, float inverse, int32_t levels, NoiseKey noise,
                         uint16_t* codes) {
  RoundLoop(x, n, inverse, levels, noise, codes);
}

// Below the smallest normal half, adding 0.5 leaves the rounded result in the low bits of the mantissa.
MUSTER_KERNEL void ToHalves(const float* x, size_t n, float factor, uint16_t* out) {
  for (size_t i = 0; i < n; ++i) {
    const auto bits = std::bit_cast<uint32_t>(x[i] * factor);
    const uint32_t magnitude = bits & 0x7fffffff;
    const uint32_t small = std::bit_cast<uint32_t>(std::bit_cast<float>(magnitude) + 0.5F) - 0x3f000000U;
    const uint32_t normal = (magnitude - (112U << 23) + 0xfff + (magnitude >> 13 & 1)) >> 13;
    out[i] = static_cast<uint16_t>((magnitude < 113U << 23 ? small : normal) | (bits >> 16 & 0x8000));
  }
}
MUSTER_KERNEL void FromHalves(const uint16_t* halves, size_t n, float unit, float* out) {
  for (size_t i = 0; i < n; ++i) {
    const int32_t magnitude = halves[i] & 0x7fff;
    const float small = static_cast<float>(magnitude) * 0x1.0p-24F;
    const float normal = std::bit_cast<float>((magnitude << 13) + (112 << 23));
    const float value = (magnitude < 0x400 ? small : normal) * unit;
    out[i] = std::bit_cast<float>(std::bit_cast<uint32_t>(value) | (halves[i] & 0x8000U) << 16);
  }
}

MUSTER_KERNEL uint16_t Largest(const uint16_t* numbers, size_t n) {
  uint16_t largest = 0;
  for (size_t i = 0; i < n; ++i) largest = std::max<uint16_t>(largest, numbers[i] & 0x7fff);
  return largest;
}

#if MUSTER_X86

#define MUSTER_AVX512 __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl")))
#define MUSTER_F16C __attribute__((target("avx2,f16c")))

bool HasAvx512() {
  static const bool has = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                          __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
  return has;
}
bool HasAvx2() {
  static const bool has = __builtin_cpu_supports("avx2");
  return has;
}
bool HasF16c() {
  // Every CPU with AVX2 has it; GCC 12 cannot ask for it by name.
  return HasAvx2();
}

// Magnitudes compared as integers, as LargestMagnitude does.
MUSTER_AVX512 __m512i Larger(__m512i largest, const float* x) {
  const __m512i magnitude = _mm512_and_si512(_mm512_loadu_si512(x), _mm512_set1_epi32(0x7fffffff));
  return _mm512_max_epi32(largest, magnitude);
}

MUSTER_AVX512 float LargestLane(__m512i bits) {
  int32_t lanes[16];
  _mm512_storeu_si512(lanes, bits);
  return std::bit_cast<float>(*std::max_element(lanes, lanes + 16));
}

// These return how many elements they did, and leave the rest of a vector to the portable form. `next` has as
// many; `largest` becomes the largest magnitude of those that were reached.
MUSTER_AVX512 size_t PackSigns512(const float* x, size_t n, uint8_t* signs, double* lanes) {
  __m512d low = _mm512_setzero_pd(), high = _mm512_setzero_pd();
  size_t i = 0;
  for (; i + 16 <= n; i += 16) {
    if (i % 64 == 0) PrefetchPage(x + i);
    const __m512 v = _mm512_loadu_ps(x + i);
    const auto bits = static_cast<uint16_t>(_mm512_movepi32_mask(_mm512_castps_si512(v)));
    std::memcpy(signs + i / 8, &bits, sizeof bits);
    const __m512 a = _mm512_abs_ps(v);
    low = _mm512_add_pd(low, _mm512_cvtps_pd(_mm512_castps512_ps256(a)));
    high = _mm512_add_pd(high, _mm512_cvtps_pd(_mm512_extractf32x8_ps(a, 1)));
  }
  _mm512_storeu_pd(lanes, low);
  _mm512_storeu_pd(lanes + 8, high);
  return i;
}
__attribute__((target("avx2"))) size_t PackSigns256(const float* x, size_t n, uint8_t* signs, double* lanes) {
  const __m256 magnitude = _mm256_castsi256_ps(_mm256_set1_epi32(0x7fffffff));
  __m256d sums[4] = {_mm256_setzero_pd(), _mm256_setzero_pd(), _mm256_setzero_pd(), _mm256_setzero_pd()};
  size_t i = 0;
  for (; i + 16 <= n; i += 16) {
    if (i % 64 == 0) PrefetchPage(x + i);
    for (size_t half = 0; half < 2; ++half) {
      const __m256 v = _mm256_loadu_ps(x + i + 8 * half);
      signs[i / 8 + half] = static_cast<uint8_t>(_mm256_movemask_ps(v));
      const __m256 a = _mm256_and_ps(v, magnitude);
      sums[2 * half] = _mm256_add_pd(sums[2 * half], _mm256_cvtps_pd(_mm256_castps256_ps128(a)));
      sums[2 * half + 1] = _mm256_add_pd(sums[2 * half + 1], _mm256_cvtps_pd(_mm256_extractf128_ps(a, 1)));
    }
  }
  for (size_t j = 0; j < 4; ++j) _mm256_storeu_pd(lanes + 4 * j, sums[j]);
  return i;
}

MUSTER_AVX512 size_t Round512(const float* x, size_t n, float inverse, int32_t levels, NoiseKey noise,
                              uint8_t* codes, const float* next, float& largest) {
  const __m512i first = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
  const __m512i most = _mm512_set1_epi32(levels + 1), least = _mm512_set1_epi32(1 - levels);
  const __m512i offset = _mm512_set1_epi32(levels - 1), one = _mm512_set1_epi32(0x3f800000);
  const __m512i b = _mm512_set1_epi32(static_cast<int32_t>(noise.b));
  const __m512 factor = _mm512_set1_ps(inverse);
  __m512i counter = _mm512_add_epi32(first, _mm512_set1_epi32(static_cast<int32_t>(noise.a)));
  __m512i largest_bits = _mm512_setzero_si512();
  size_t i = 0;
  for (; i + 16 <= n; i += 16) {
    __builtin_prefetch(next + i + kAhead);
    largest_bits = Larger(largest_bits, next + i);
    __m512i h = _mm512_xor_si512(counter, _mm512_srli_epi32(counter, 16));
    h = _mm512_add_epi32(_mm512_mullo_epi32(h, _mm512_set1_epi32(0x7feb352d)), b);
    h = _mm512_xor_si512(h, _mm512_srli_epi32(h, 15));
    h = _mm512_mullo_epi32(h, _mm512_set1_epi32(static_cast<int32_t>(0x846ca68bU)));
    const __m512 one_to_two = _mm512_castsi512_ps(_mm512_or_si512(_mm512_srli_epi32(h, 9), one));
    const __m512 t = _mm512_fmadd_ps(_mm512_loadu_ps(x + i), factor, one_to_two);
    const __m512i down = _mm512_cvt_roundps_epi32(t, _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC);
    const __m512i level = _mm512_max_epi32(_mm512_min_epi32(down, most), least);
    _mm_storeu_si128(reinterpret_cast<__m128i*>(codes + i),
                     _mm512_cvtepi32_epi8(_mm512_add_epi32(level, offset)));
    counter = _mm512_add_epi32(counter, _mm512_set1_epi32(16));
  }
  largest = LargestLane(largest_bits);
  return i;
}

MUSTER_F16C size_t ToHalves256(const float* x, size_t n, float factor, uint16_t* halves) {
  const __m256 f = _mm256_set1_ps(factor);
  size_t i = 0;
  for (; i + 8 <= n; i += 8) {
    const __m256 scaled = _mm256_mul_ps(_mm256_loadu_ps(x + i), f);
    _mm_storeu_si128(reinterpret_cast<__m128i*>(halves + i),
                     _mm256_cvtps_ph(scaled, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
  }
  return i;
}
MUSTER_AVX512 size_t ToHalves512(const float* x, size_t n, float factor, uint16_t* halves, const float* next,
                                 float& largest) {
  const __m512 f = _mm512_set1_ps(factor);
  __m512i largest_bits = _mm512_setzero_si512();
  size_t i = 0;
  for (; i + 16 <= n; i += 16) {
    __builtin_prefetch(next + i + kAhead);
    largest_bits = Larger(largest_bits, next + i);
    const __m512 scaled = _mm512_mul_ps(_mm512_loadu_ps(x + i), f);
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(halves + i),
                        _mm512_cvtps_ph(scaled, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
  }
  largest = LargestLane(largest_bits);
  return i;
}
MUSTER_F16C size_t FromHalves256(const uint16_t* halves, size_t n, float unit, float* out) {
  const __m256 u = _mm256_set1_ps(unit);
  size_t i = 0;
  for (; i + 8 <= n; i += 8) {
    const __m256 value = _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(halves + i)));
    _mm256_storeu_ps(out + i, _mm256_mul_ps(value, u));
  }
  return i;
}

#endif  // MUSTER_X86

}  // namespace

namespace portable {

double PackSigns(std::span<const float> x, uint8_t* signs) {
  PackSignBits(x, 0, signs);
  return SumOfMagnitudes(x);
}
void RoundToLevels(std::span<const float> x, float inverse, int32_t levels, NoiseKey noise, uint8_t* codes) {
  Round(x.data(), x.size(), inverse, levels, noise, codes);
}
void EncodeHalves(std::span<const float> x, float factor, uint16_t* halves) {
  ToHalves(x.data(), x.size(), factor, halves);
}
void DecodeHalves(const uint16_t* halves, float unit, std::span<float> out) {
  FromHalves(halves, out.size(), unit, out.data());
}

}  // namespace portable

double SumOfMagnitudes(std::span<const float> x) { return Magnitudes(x.data(), x.size()); }
double SumOfSquares(std::span<const float> x) { return Squares(x.data(), x.size()); }

double PackSigns(std::span<const float> x, uint8_t* signs) {
#if MUSTER_X86
  if (HasAvx2()) {
    double lanes[kLanes];
    size_t i = HasAvx512() ? PackSigns512(x.data(), x.size(), signs, lanes)
                           : PackSigns256(x.data(), x.size(), signs, lanes);
    PackSignBits(x, i, signs);
    for (; i < x.size(); ++i) lanes[i % kLanes] += Magnitude(x[i]);
    return ReduceLanes(lanes);
  }
#endif
  return portable::PackSigns(x, signs);
}

void UnpackSigns(const uint8_t* signs, float magnitude, std::span<float> out) {
  Unpack(signs, magnitude, out.data(), out.size());
}

float RoundToLevels(std::span<const float> x, float inverse, int32_t levels, NoiseKey noise, uint8_t* codes,
                    std::span<const float> next) {
  size_t done = 0;
  float largest = 0;
#if MUSTER_X86
  if (HasAvx512()) {
    const bool together = next.size() >= x.size();
    done = Round512(x.data(), x.size(), inverse, levels, noise, codes, together ? next.data() : x.data(),
                    largest);
    if (together) next = next.subspan(done);
    if (!together) largest = 0;
  }
#endif
  noise.a += static_cast<uint32_t>(done);
  portable::RoundToLevels(x.subspan(done), inverse, levels, noise, codes + done);
  return Larger(largest, LargestMagnitude(next));
}
void RoundToLevels(std::span<const float> x, float inverse, int32_t levels, NoiseKey noise, uint16_t* codes) {
  Round(x.data(), x.size(), inverse, levels, noise, codes);
}

float EncodeHalves(std::span<const float> x, float factor, uint16_t* halves, std::span<const float> next) {
  size_t done = 0;
  float largest = 0;
#if MUSTER_X86
  if (HasAvx512()) {
    const bool together = next.size() >= x.size();
    done = ToHalves512(x.data(), x.size(), factor, halves, together ? next.data() : x.data(), largest);
    if (together) next = next.subspan(done);
    if (!together) largest = 0;
  } else if (HasF16c()) {
    done = ToHalves256(x.data(), x.size(), factor, halves);
  }
#endif
  portable::EncodeHalves(x.subspan(done), factor, halves + done);
  return Larger(largest, LargestMagnitude(next));
}
void DecodeHalves(const uint16_t* halves, float unit, std::span<float> out) {
  size_t done = 0;
#if MUSTER_X86
  if (HasF16c()) done = FromHalves256(halves, out.size(), unit, out.data());
#endif
  portable::DecodeHalves(halves + done, unit, out.subspan(done));
}

uint16_t LargestOf16Bits(const uint8_t* packed, size_t n) {
  constexpr size_t kPiece = 8192;
  uint16_t largest = 0, piece[kPiece];
  for (size_t begin = 0; begin < n; begin += kPiece) {
    const size_t count = std::min(kPiece, n - begin);
    std::memcpy(piece, packed + begin * sizeof(uint16_t), count * sizeof(uint16_t));
    largest = std::max(largest, Largest(piece, count));
  }
  return largest;
}

}  // namespace muster
