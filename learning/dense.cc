#include "learning/dense.h"

#include <algorithm>
#include <cmath>
#include <cstddef>

#include "learning/lanes.h"
#include "learning/processor.h"

namespace muster {
namespace {

// What DenseOuter multiplies rows with.
struct Factors {
  const float* values;
  int64_t step_j, step_i;

  Factors From(int64_t i) const { return {values + i * step_i, step_j, step_i}; }
  const float& at(size_t j, int64_t i) const { return values[static_cast<int64_t>(j) * step_j + i * step_i]; }
};

// What DenseForward multiplies samples with, from one output on.
struct Outputs {
  const float* weight;
  const float* bias;
  int64_t inputs, outputs;
  float* out;
};

#if MUSTER_X86

// Sums of lanes as SumOfLanes forms them.
MUSTER_FMA inline float Sum(__m256 lanes) {
  const __m128 half = _mm_add_ps(_mm256_castps256_ps128(lanes), _mm256_extractf128_ps(lanes, 1));
  const __m128 pair = _mm_add_ps(half, _mm_movehl_ps(half, half));
  return _mm_cvtss_f32(_mm_add_ss(pair, _mm_shuffle_ps(pair, pair, 1)));
}
MUSTER_AVX512 inline float Sum(__m512 lanes) {
  float stored[kLanes];
  _mm512_storeu_ps(stored, lanes);
  return Sum(_mm256_add_ps(_mm256_loadu_ps(stored), _mm256_loadu_ps(stored + 8)));
}
// With masks of all lanes, because GCC 12 warns of the forms without (its bug 105593).
template <int kWhich>
MUSTER_AVX512 inline __m512 Quarters(__m512 a, __m512 b) {
  return _mm512_maskz_shuffle_f32x4(0xFFFF, a, b, kWhich);
}
template <int kWhich>
MUSTER_AVX512 inline __m512 InQuarters(__m512 a) {
  return _mm512_maskz_shuffle_ps(0xFFFF, a, a, kWhich);
}
// Four sums at once, in their order.
MUSTER_AVX512 inline __m128 FourSums(const __m512* lanes) {
  const __m512 &a = lanes[0], &b = lanes[1], &c = lanes[2], &d = lanes[3];
  const __m512 ab = _mm512_add_ps(Quarters<0x44>(a, b), Quarters<0xEE>(a, b));
  const __m512 cd = _mm512_add_ps(Quarters<0x44>(c, d), Quarters<0xEE>(c, d));
  const __m512 quarters = _mm512_add_ps(Quarters<0x88>(ab, cd), Quarters<0xDD>(ab, cd));  // a, b, c, d
  const __m512 pairs = _mm512_add_ps(quarters, InQuarters<0xEE>(quarters));
  const __m512 sums = _mm512_add_ps(pairs, InQuarters<0x55>(pairs));
  return _mm512_maskz_extractf32x4_ps(
      0xF, _mm512_maskz_permutexvar_ps(0xFFFF, _mm512_set4_epi32(12, 8, 4, 0), sums), 0);
}

// Of the last `left` < 8 elements: which lanes they are.
MUSTER_FMA inline __m256i Mask(int64_t left) {
  return _mm256_cmpgt_epi32(_mm256_set1_epi32(static_cast<int>(left)),
                            _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}

// --- Forward: kRows x kOutputs sums at a time, all in registers ---

// The elements k .. k + 15, or those of them that the mask names.
template <int kRows, int kOutputs>
MUSTER_AVX512 inline void AddLanes(const float* const* rows, const Outputs& to, int64_t k,
                                   __m512 (&sums)[kRows][kOutputs]) {
  __m512 x[kRows];
  for (int b = 0; b < kRows; ++b) x[b] = _mm512_loadu_ps(rows[b] + k);
  for (int n = 0; n < kOutputs; ++n) {
    const __m512 w = _mm512_loadu_ps(to.weight + n * to.inputs + k);
    for (int b = 0; b < kRows; ++b) sums[b][n] = _mm512_fmadd_ps(x[b], w, sums[b][n]);
  }
}
template <int kRows, int kOutputs>
MUSTER_AVX512 inline void AddLanes(const float* const* rows, const Outputs& to, int64_t k, __mmask16 mask,
                                   __m512 (&sums)[kRows][kOutputs]) {
  for (int n = 0; n < kOutputs; ++n) {
    const __m512 w = _mm512_maskz_loadu_ps(mask, to.weight + n * to.inputs + k);
    for (int b = 0; b < kRows; ++b)
      sums[b][n] = _mm512_fmadd_ps(_mm512_maskz_loadu_ps(mask, rows[b] + k), w, sums[b][n]);
  }
}
template <int kRows, int kOutputs>
MUSTER_AVX512 inline void Forward512(const float* const* rows, const Outputs& to) {
  __m512 sums[kRows][kOutputs];
  for (auto& row : sums) {
    for (__m512& sum : row) sum = _mm512_setzero_ps();
  }
  int64_t k = 0;
  for (; k + kLanes <= to.inputs; k += kLanes) AddLanes<kRows, kOutputs>(rows, to, k, sums);
  if (k < to.inputs) {
    AddLanes<kRows, kOutputs>(rows, to, k, static_cast<__mmask16>((1U << (to.inputs - k)) - 1), sums);
  }
  for (int b = 0; b < kRows; ++b) {
    float* const out = to.out + b * to.outputs;
    int n = 0;
    if constexpr (kOutputs >= 4) {
      _mm_storeu_ps(out, _mm_add_ps(_mm_loadu_ps(to.bias), FourSums(sums[b])));
      n = 4;
    }
    for (; n < kOutputs; ++n) out[n] = to.bias[n] + Sum(sums[b][n]);
  }
}

// The same by vectors of eight: one half of the lanes after the other.
template <int kRows, int kOutputs>
MUSTER_FMA inline void Forward256(const float* const* rows, const Outputs& to) {
  __m256 halves[2][kRows][kOutputs];
  for (int64_t half = 0; half < 2; ++half) {
    __m256 sums[kRows][kOutputs];
    for (auto& row : sums) {
      for (__m256& sum : row) sum = _mm256_setzero_ps();
    }
    int64_t k = 8 * half;
    for (; k + 8 <= to.inputs; k += kLanes) {
      __m256 x[kRows];
      for (int b = 0; b < kRows; ++b) x[b] = _mm256_loadu_ps(rows[b] + k);
      for (int n = 0; n < kOutputs; ++n) {
        const __m256 w = _mm256_loadu_ps(to.weight + n * to.inputs + k);
        for (int b = 0; b < kRows; ++b) sums[b][n] = _mm256_fmadd_ps(x[b], w, sums[b][n]);
      }
    }
    if (k < to.inputs) {
      const __m256i mask = Mask(to.inputs - k);
      for (int n = 0; n < kOutputs; ++n) {
        const __m256 w = _mm256_maskload_ps(to.weight + n * to.inputs + k, mask);
        for (int b = 0; b < kRows; ++b)
          sums[b][n] = _mm256_fmadd_ps(_mm256_maskload_ps(rows[b] + k, mask), w, sums[b][n]);
      }
    }
    for (int b = 0; b < kRows; ++b) {
      for (int n = 0; n < kOutputs; ++n) halves[half][b][n] = sums[b][n];
    }
  }
  for (int b = 0; b < kRows; ++b) {
    for (int n = 0; n < kOutputs; ++n) {
      to.out[b * to.outputs + n] = to.bias[n] + Sum(_mm256_add_ps(halves[0][b][n], halves[1][b][n]));
    }
  }
}

template <int kRows, int kOutputs>
void ForwardBlock(const float* const* rows, const Outputs& to) {
  HasAvx512() ? Forward512<kRows, kOutputs>(rows, to) : Forward256<kRows, kOutputs>(rows, to);
}
// So few outputs that their weights stay in a near cache for all samples.
template <int kOutputs>
void ForwardOutputs(std::span<const float* const> rows, Outputs to) {
  size_t b = 0;
  for (; b + 4 <= rows.size(); b += 4, to.out += 4 * to.outputs) ForwardBlock<4, kOutputs>(&rows[b], to);
  for (; b + 2 <= rows.size(); b += 2, to.out += 2 * to.outputs) ForwardBlock<2, kOutputs>(&rows[b], to);
  for (; b < rows.size(); ++b, to.out += to.outputs) ForwardBlock<1, kOutputs>(&rows[b], to);
}

// --- Outer: kCount rows of the result and some vectors of columns at a time, in one order of j ---

template <int kCount, int kVectors>
MUSTER_AVX512 inline void Outer512(std::span<const float* const> rows, const Factors& factors, int64_t k,
                                   int64_t size, float* out) {
  __m512 sums[kCount][kVectors];
  for (auto& row : sums) {
    for (__m512& sum : row) sum = _mm512_setzero_ps();
  }
  for (size_t j = 0; j < rows.size(); ++j) {
    __m512 x[kVectors];
    for (int v = 0; v < kVectors; ++v) x[v] = _mm512_loadu_ps(rows[j] + k + 16 * v);
    for (int i = 0; i < kCount; ++i) {
      const __m512 factor = _mm512_set1_ps(factors.at(j, i));
      for (int v = 0; v < kVectors; ++v) sums[i][v] = _mm512_fmadd_ps(factor, x[v], sums[i][v]);
    }
  }
  for (int i = 0; i < kCount; ++i) {
    for (int v = 0; v < kVectors; ++v) _mm512_storeu_ps(out + i * size + k + 16 * v, sums[i][v]);
  }
}
template <int kCount>
MUSTER_FMA inline void Outer256(std::span<const float* const> rows, const Factors& factors, int64_t k,
                                int64_t size, float* out) {
  __m256 sums[kCount][2];
  for (auto& sum : sums) sum[0] = sum[1] = _mm256_setzero_ps();
  for (size_t j = 0; j < rows.size(); ++j) {
    const __m256 left = _mm256_loadu_ps(rows[j] + k), right = _mm256_loadu_ps(rows[j] + k + 8);
    for (int i = 0; i < kCount; ++i) {
      const __m256 factor = _mm256_set1_ps(factors.at(j, i));
      sums[i][0] = _mm256_fmadd_ps(factor, left, sums[i][0]);
      sums[i][1] = _mm256_fmadd_ps(factor, right, sums[i][1]);
    }
  }
  for (int i = 0; i < kCount; ++i) {
    _mm256_storeu_ps(out + i * size + k, sums[i][0]);
    _mm256_storeu_ps(out + i * size + k + 8, sums[i][1]);
  }
}
// What is left of the columns, fewer than sixteen.
template <int kCount>
MUSTER_FMA inline void OuterTail(std::span<const float* const> rows, const Factors& factors, int64_t k,
                                 int64_t size, float* out) {
  for (; k < size; k += 8) {
    const __m256i mask = Mask(std::min<int64_t>(size - k, 8));
    __m256 sums[kCount];
    for (__m256& sum : sums) sum = _mm256_setzero_ps();
    for (size_t j = 0; j < rows.size(); ++j) {
      const __m256 row = _mm256_maskload_ps(rows[j] + k, mask);
      for (int i = 0; i < kCount; ++i)
        sums[i] = _mm256_fmadd_ps(_mm256_set1_ps(factors.at(j, i)), row, sums[i]);
    }
    for (int i = 0; i < kCount; ++i) _mm256_maskstore_ps(out + i * size + k, mask, sums[i]);
  }
}

constexpr int64_t kColumns = 48;

// Columns k .. end, where end is a multiple of kColumns away or the last.
template <int kCount>
void OuterColumns(std::span<const float* const> rows, const Factors& factors, int64_t k, int64_t end,
                  int64_t size, float* out) {
  if (HasAvx512()) {
    for (; k + kColumns <= end; k += kColumns) Outer512<kCount, 3>(rows, factors, k, size, out);
    for (; k + kLanes <= end; k += kLanes) Outer512<kCount, 1>(rows, factors, k, size, out);
  } else {
    constexpr int kFirst = std::min(kCount, 4);
    for (; k + 16 <= end; k += 16) {
      Outer256<kFirst>(rows, factors, k, size, out);
      if constexpr (kCount > kFirst)
        Outer256<kCount - kFirst>(rows, factors.From(kFirst), k, size, out + kFirst * size);
    }
  }
  if (k < end) OuterTail<kCount>(rows, factors, k, size, out);
}

void OuterFma(std::span<const float* const> rows, const Factors& factors, int64_t count, int64_t size,
              float* out) {
  // Columns are worked on in panels that stay in the nearest cache for all rows of the result, if there are
  // not too many; shorter ones would scatter what is written.
  constexpr int64_t kNear = 1 << 13, kShortest = 10;
  const int64_t panel =
      std::max(kNear / std::max<int64_t>(std::ssize(rows), 1) / kColumns, kShortest) * kColumns;
  for (int64_t k = 0; k < size; k += panel) {
    const int64_t end = std::min(size, k + panel);
    int64_t i = 0;
    for (; i + 8 <= count; i += 8) OuterColumns<8>(rows, factors.From(i), k, end, size, out + i * size);
    for (; i + 4 <= count; i += 4) OuterColumns<4>(rows, factors.From(i), k, end, size, out + i * size);
    for (; i + 2 <= count; i += 2) OuterColumns<2>(rows, factors.From(i), k, end, size, out + i * size);
    for (; i < count; ++i) OuterColumns<1>(rows, factors.From(i), k, end, size, out + i * size);
  }
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
        for (int64_t lane = 0; lane < kLanes; ++lane)
          lanes[lane] = std::fma(row[k + lane], w[k + lane], lanes[lane]);
      }
      for (int64_t lane = 0; k + lane < inputs; ++lane)
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
      const float factor = Factors{factors, step_j, step_i}.at(j, i);
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
  if (HasFma()) {
    int64_t n = 0;
    const auto from = [&] { return Outputs{weight + n * inputs, bias + n, inputs, outputs, out + n}; };
    for (; n + 6 <= outputs; n += 6) ForwardOutputs<6>(rows, from());
    for (; n + 4 <= outputs; n += 4) ForwardOutputs<4>(rows, from());
    for (; n + 2 <= outputs; n += 2) ForwardOutputs<2>(rows, from());
    for (; n < outputs; ++n) ForwardOutputs<1>(rows, from());
    return;
  }
#endif
  portable::DenseForward(rows, weight, bias, inputs, outputs, out);
}

void DenseOuter(std::span<const float* const> rows, const float* factors, int64_t step_j, int64_t step_i,
                int64_t count, int64_t size, float* out) {
#if MUSTER_X86
  if (HasFma()) return OuterFma(rows, {factors, step_j, step_i}, count, size, out);
#endif
  portable::DenseOuter(rows, factors, step_j, step_i, count, size, out);
}

}  // namespace muster
