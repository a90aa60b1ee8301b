#include "learning/dense.h"

#include <algorithm>
#include <cmath>
#include <cstddef>

#include "learning/processor.h"

namespace muster {
namespace {

constexpr int kLanes = 8;

float SumOfLanes(const float* lanes) {
  float half[4], pair[2];
  for (int i = 0; i < 4; ++i) half[i] = lanes[i] + lanes[i + 4];
  for (int i = 0; i < 2; ++i) pair[i] = half[i] + half[i + 2];
  return pair[0] + pair[1];
}

#if MUSTER_X86

MUSTER_FMA inline float Sum(__m256 lanes) {
  const __m128 half = _mm_add_ps(_mm256_castps256_ps128(lanes), _mm256_extractf128_ps(lanes, 1));
  const __m128 pair = _mm_add_ps(half, _mm_movehl_ps(half, half));
  return _mm_cvtss_f32(_mm_add_ss(pair, _mm_shuffle_ps(pair, pair, 1)));
}
// Of the last `left` < 8 elements: which lanes they are.
MUSTER_FMA inline __m256i Mask(int64_t left) {
  return _mm256_cmpgt_epi32(_mm256_set1_epi32(static_cast<int>(left)),
                            _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}

// kRows x kOutputs sums at a time, all in registers.
template <int kRows, int kOutputs>
MUSTER_FMA inline void ForwardBlock(const float* const* rows, const float* weight, const float* bias,
                                    int64_t inputs, int64_t outputs, float* out) {
  __m256 sums[kRows][kOutputs];
  for (auto& row : sums) {
    for (__m256& sum : row) sum = _mm256_setzero_ps();
  }
  int64_t k = 0;
  for (; k + kLanes <= inputs; k += kLanes) {
    __m256 x[kRows];
    for (int b = 0; b < kRows; ++b) x[b] = _mm256_loadu_ps(rows[b] + k);
    for (int n = 0; n < kOutputs; ++n) {
      const __m256 w = _mm256_loadu_ps(weight + n * inputs + k);
      for (int b = 0; b < kRows; ++b) sums[b][n] = _mm256_fmadd_ps(x[b], w, sums[b][n]);
    }
  }
  if (k < inputs) {
    const __m256i mask = Mask(inputs - k);
    for (int b = 0; b < kRows; ++b) {
      const __m256 x = _mm256_maskload_ps(rows[b] + k, mask);
      for (int n = 0; n < kOutputs; ++n) {
        sums[b][n] = _mm256_fmadd_ps(x, _mm256_maskload_ps(weight + n * inputs + k, mask), sums[b][n]);
      }
    }
  }
  for (int b = 0; b < kRows; ++b) {
    for (int n = 0; n < kOutputs; ++n) out[b * outputs + n] = bias[n] + Sum(sums[b][n]);
  }
}

template <int kRows>
MUSTER_FMA inline void ForwardRows(const float* const* rows, const float* weight, const float* bias,
                                   int64_t inputs, int64_t outputs, float* out) {
  int64_t n = 0;
  for (; n + 3 <= outputs; n += 3)
    ForwardBlock<kRows, 3>(rows, weight + n * inputs, bias + n, inputs, outputs, out + n);
  for (; n < outputs; ++n)
    ForwardBlock<kRows, 1>(rows, weight + n * inputs, bias + n, inputs, outputs, out + n);
}

MUSTER_FMA void ForwardFma(std::span<const float* const> rows, const float* weight, const float* bias,
                           int64_t inputs, int64_t outputs, float* out) {
  size_t b = 0;
  for (; b + 4 <= rows.size(); b += 4, out += 4 * outputs)
    ForwardRows<4>(&rows[b], weight, bias, inputs, outputs, out);
  for (; b < rows.size(); ++b, out += outputs) ForwardRows<1>(&rows[b], weight, bias, inputs, outputs, out);
}

// kCount rows of the result and two vectors of columns at a time. In one order of j, whatever the vectors'
// width.
template <int kCount>
MUSTER_AVX512 inline int64_t Outer512(std::span<const float* const> rows, const float* factors,
                                      int64_t step_j, int64_t step_i, int64_t size, float* out) {
  int64_t k = 0;
  for (; k + 32 <= size; k += 32) {
    __m512 sums[kCount][2];
    for (auto& sum : sums) sum[0] = sum[1] = _mm512_setzero_ps();
    for (size_t j = 0; j < rows.size(); ++j) {
      const __m512 left = _mm512_loadu_ps(rows[j] + k), right = _mm512_loadu_ps(rows[j] + k + 16);
      for (int i = 0; i < kCount; ++i) {
        const __m512 factor = _mm512_set1_ps(factors[static_cast<int64_t>(j) * step_j + i * step_i]);
        sums[i][0] = _mm512_fmadd_ps(factor, left, sums[i][0]);
        sums[i][1] = _mm512_fmadd_ps(factor, right, sums[i][1]);
      }
    }
    for (int i = 0; i < kCount; ++i) {
      _mm512_storeu_ps(out + i * size + k, sums[i][0]);
      _mm512_storeu_ps(out + i * size + k + 16, sums[i][1]);
    }
  }
  return k;
}
template <int kCount>
MUSTER_FMA inline int64_t Outer256(std::span<const float* const> rows, const float* factors, int64_t step_j,
                                   int64_t step_i, int64_t size, int64_t k, float* out) {
  for (; k + kLanes <= size; k += kLanes) {
    __m256 sums[kCount];
    for (__m256& sum : sums) sum = _mm256_setzero_ps();
    for (size_t j = 0; j < rows.size(); ++j) {
      const __m256 row = _mm256_loadu_ps(rows[j] + k);
      for (int i = 0; i < kCount; ++i) {
        const __m256 factor = _mm256_set1_ps(factors[static_cast<int64_t>(j) * step_j + i * step_i]);
        sums[i] = _mm256_fmadd_ps(factor, row, sums[i]);
      }
    }
    for (int i = 0; i < kCount; ++i) _mm256_storeu_ps(out + i * size + k, sums[i]);
  }
  return k;
}
template <int kCount>
MUSTER_FMA inline void OuterTail(std::span<const float* const> rows, const float* factors, int64_t step_j,
                                 int64_t step_i, int64_t size, int64_t k, float* out) {
  const __m256i mask = Mask(size - k);
  for (int i = 0; i < kCount; ++i) {
    __m256 sum = _mm256_setzero_ps();
    for (size_t j = 0; j < rows.size(); ++j) {
      const __m256 factor = _mm256_set1_ps(factors[static_cast<int64_t>(j) * step_j + i * step_i]);
      sum = _mm256_fmadd_ps(factor, _mm256_maskload_ps(rows[j] + k, mask), sum);
    }
    _mm256_maskstore_ps(out + i * size + k, mask, sum);
  }
}
template <int kCount>
void OuterRows(std::span<const float* const> rows, const float* factors, int64_t step_j, int64_t step_i,
               int64_t size, float* out) {
  int64_t k = HasAvx512() ? Outer512<kCount>(rows, factors, step_j, step_i, size, out) : 0;
  k = Outer256<kCount>(rows, factors, step_j, step_i, size, k, out);
  if (k < size) OuterTail<kCount>(rows, factors, step_j, step_i, size, k, out);
}

#endif  // MUSTER_X86

}  // namespace

namespace portable {

void DenseForward(std::span<const float* const> rows, const float* weight, const float* bias, int64_t inputs,
                  int64_t outputs, float* out) {
  for (const float* const row : rows) {
    for (int64_t n = 0; n < outputs; ++n) {
      const float* const w = weight + n * inputs;
      float lanes[kLanes] = {};
      int64_t k = 0;
      for (; k + kLanes <= inputs; k += kLanes) {
        for (int lane = 0; lane < kLanes; ++lane)
          lanes[lane] = std::fma(row[k + lane], w[k + lane], lanes[lane]);
      }
      for (int lane = 0; k + lane < inputs; ++lane)
        lanes[lane] = std::fma(row[k + lane], w[k + lane], lanes[lane]);
      *out++ = bias[n] + SumOfLanes(lanes);
    }
  }
}

void DenseOuter(std::span<const float* const> rows, const float* factors, int64_t step_j, int64_t step_i,
                int64_t count, int64_t size, float* out) {
  for (int64_t i = 0; i < count; ++i, out += size) {
    std::fill(out, out + size, 0.0F);
    for (size_t j = 0; j < rows.size(); ++j) {
      const float factor = factors[static_cast<int64_t>(j) * step_j + i * step_i];
      for (int64_t k = 0; k < size; ++k) out[k] = std::fma(factor, rows[j][k], out[k]);
    }
  }
}

}  // namespace portable

bool HasFastDense() {
#if MUSTER_X86
  return HasFma();
#elif defined(__aarch64__)
  return true;
#else
  return false;
#endif
}

void DenseForward(std::span<const float* const> rows, const float* weight, const float* bias, int64_t inputs,
                  int64_t outputs, float* out) {
#if MUSTER_X86
  if (HasFma()) return ForwardFma(rows, weight, bias, inputs, outputs, out);
#endif
  portable::DenseForward(rows, weight, bias, inputs, outputs, out);
}

void DenseOuter(std::span<const float* const> rows, const float* factors, int64_t step_j, int64_t step_i,
                int64_t count, int64_t size, float* out) {
#if MUSTER_X86
  if (HasFma()) {
    int64_t i = 0;
    for (; i + 4 <= count; i += 4)
      OuterRows<4>(rows, factors + i * step_i, step_j, step_i, size, out + i * size);
    for (; i < count; ++i) OuterRows<1>(rows, factors + i * step_i, step_j, step_i, size, out + i * size);
    return;
  }
#endif
  portable::DenseOuter(rows, factors, step_j, step_i, count, size, out);
}

}  // namespace muster
