#include "learning/long_rows.h"

#include <algorithm>
#include <cmath>
#include <cstddef>

#include "learning/lanes.h"
#include "learning/processor.h"

namespace muster {
namespace {

constexpr int64_t kGroup = PackedFactors::kGroup;
static_assert(kRowBlock == kLanes);

float BiasOf(const float* bias, int64_t i) { return bias == nullptr ? 0 : bias[i]; }

#if MUSTER_X86

// Elements of every row that LongDots works on at a time: a few rows of them fit the first cache.
constexpr int64_t kChunk = 1024;

// --- Outer ---

// kCount results, kVectors vectors of each from element k on, all in registers.
template <int kCount, int kVectors>
MUSTER_AVX512 inline void OuterBlock512(std::span<const float* const> rows, const float* factors,
                                        const float* bias, int64_t k, float* const* out) {
  __m512 sums[kCount][kVectors];
  for (int i = 0; i < kCount; ++i) {
    for (int v = 0; v < kVectors; ++v) sums[i][v] = _mm512_set1_ps(BiasOf(bias, i));
  }
  for (const float* const row : rows) {
    __m512 x[kVectors];
    for (int v = 0; v < kVectors; ++v) x[v] = _mm512_loadu_ps(row + k + 16 * v);
    for (int i = 0; i < kCount; ++i) {
      const __m512 factor = _mm512_set1_ps(factors[i]);
      for (int v = 0; v < kVectors; ++v) sums[i][v] = _mm512_fmadd_ps(factor, x[v], sums[i][v]);
    }
    factors += kCount;
  }
  for (int i = 0; i < kCount; ++i) {
    for (int v = 0; v < kVectors; ++v) _mm512_storeu_ps(out[i] + k + 16 * v, sums[i][v]);
  }
}

// One block of kCount results whose factors lie kStep apart.
template <int kCount, int kStep>
MUSTER_FMA inline void OuterBlock256(std::span<const float* const> rows, const float* factors,
                                     const float* bias, int64_t k, float* const* out) {
  __m256 sums[kCount][2];
  for (int i = 0; i < kCount; ++i) sums[i][0] = sums[i][1] = _mm256_set1_ps(BiasOf(bias, i));
  for (const float* const row : rows) {
    const __m256 left = _mm256_loadu_ps(row + k), right = _mm256_loadu_ps(row + k + 8);
    for (int i = 0; i < kCount; ++i) {
      const __m256 factor = _mm256_set1_ps(factors[i]);
      sums[i][0] = _mm256_fmadd_ps(factor, left, sums[i][0]);
      sums[i][1] = _mm256_fmadd_ps(factor, right, sums[i][1]);
    }
    factors += kStep;
  }
  for (int i = 0; i < kCount; ++i) {
    _mm256_storeu_ps(out[i] + k, sums[i][0]);
    _mm256_storeu_ps(out[i] + k + 8, sums[i][1]);
  }
}

struct OuterLoops {
  // From element k on, by three blocks (where there is such a form) and by one.
  using Loop = void (*)(std::span<const float* const> rows, const float* factors, const float* bias,
                        int64_t k, float* const* out);
  Loop three = nullptr;
  Loop one = nullptr;
};

template <int kCount>
void Outer256(std::span<const float* const> rows, const float* factors, const float* bias, int64_t k,
              float* const* out) {
  constexpr int kFirst = std::min(kCount, 4);
  OuterBlock256<kFirst, kCount>(rows, factors, bias, k, out);
  if constexpr (kCount > kFirst) {
    OuterBlock256<kCount - kFirst, kCount>(rows, factors + kFirst, bias == nullptr ? bias : bias + kFirst, k,
                                           out + kFirst);
  }
}

template <int kCount>
OuterLoops LoopsFor() {
  if (HasAvx512()) return {OuterBlock512<kCount, 3>, OuterBlock512<kCount, 1>};
  return {nullptr, Outer256<kCount>};
}
OuterLoops LoopsFor(int64_t count) {
  using Loops = OuterLoops (*)();
  static constexpr Loops kLoops[kGroup] = {LoopsFor<1>, LoopsFor<2>, LoopsFor<3>, LoopsFor<4>,
                                           LoopsFor<5>, LoopsFor<6>, LoopsFor<7>, LoopsFor<8>};
  return kLoops[count - 1]();
}

// --- Dots ---

// lanes[i][j][16] += kLeft x kRight products of the elements begin .. end.
template <int kLeft, int kRight>
MUSTER_AVX512 inline void DotsBlock512(const float* const* left, const float* const* right, int64_t begin,
                                       int64_t end, float* lanes, int64_t step) {
  __m512 sums[kLeft][kRight];
  for (int i = 0; i < kLeft; ++i) {
    for (int j = 0; j < kRight; ++j) sums[i][j] = _mm512_loadu_ps(lanes + i * step + j * kLanes);
  }
  for (int64_t k = begin; k < end; k += kLanes) {
    __m512 x[kLeft];
    for (int i = 0; i < kLeft; ++i) x[i] = _mm512_loadu_ps(left[i] + k);
    for (int j = 0; j < kRight; ++j) {
      const __m512 y = _mm512_loadu_ps(right[j] + k);
      for (int i = 0; i < kLeft; ++i) sums[i][j] = _mm512_fmadd_ps(x[i], y, sums[i][j]);
    }
  }
  for (int i = 0; i < kLeft; ++i) {
    for (int j = 0; j < kRight; ++j) _mm512_storeu_ps(lanes + i * step + j * kLanes, sums[i][j]);
  }
}
// The same, one half of the lanes after the other.
template <int kLeft, int kRight>
MUSTER_FMA inline void DotsBlock256(const float* const* left, const float* const* right, int64_t begin,
                                    int64_t end, float* lanes, int64_t step) {
  for (int64_t half = 0; half < kLanes; half += 8) {
    __m256 sums[kLeft][kRight];
    for (int i = 0; i < kLeft; ++i) {
      for (int j = 0; j < kRight; ++j) sums[i][j] = _mm256_loadu_ps(lanes + i * step + j * kLanes + half);
    }
    for (int64_t k = begin + half; k < end; k += kLanes) {
      __m256 x[kLeft];
      for (int i = 0; i < kLeft; ++i) x[i] = _mm256_loadu_ps(left[i] + k);
      for (int j = 0; j < kRight; ++j) {
        const __m256 y = _mm256_loadu_ps(right[j] + k);
        for (int i = 0; i < kLeft; ++i) sums[i][j] = _mm256_fmadd_ps(x[i], y, sums[i][j]);
      }
    }
    for (int i = 0; i < kLeft; ++i) {
      for (int j = 0; j < kRight; ++j) _mm256_storeu_ps(lanes + i * step + j * kLanes + half, sums[i][j]);
    }
  }
}

// kLeft rows of the result over one chunk.
template <int kLeft>
void DotsChunk(const float* const* left, std::span<const float* const> right, int64_t begin, int64_t end,
               float* lanes) {
  const auto step = static_cast<int64_t>(right.size()) * kLanes;
  size_t j = 0;
  if (HasAvx512()) {
    for (; j + 6 <= right.size(); j += 6)
      DotsBlock512<kLeft, 6>(left, &right[j], begin, end, lanes + j * kLanes, step);
    for (; j < right.size(); ++j)
      DotsBlock512<kLeft, 1>(left, &right[j], begin, end, lanes + j * kLanes, step);
  } else {
    for (; j + 2 <= right.size(); j += 2)
      DotsBlock256<kLeft, 2>(left, &right[j], begin, end, lanes + j * kLanes, step);
    for (; j < right.size(); ++j)
      DotsBlock256<kLeft, 1>(left, &right[j], begin, end, lanes + j * kLanes, step);
  }
}
template <int kLeft>
void DotsRows(const float* const* left, std::span<const float* const> right, int64_t size,
              std::vector<float>& lanes, float* out) {
  lanes.assign(static_cast<size_t>(kLeft * kLanes) * right.size(), 0);
  for (int64_t begin = 0; begin < size; begin += kChunk) {
    DotsChunk<kLeft>(left, right, begin, std::min(size, begin + kChunk), lanes.data());
  }
  for (size_t i = 0; i < kLeft * right.size(); ++i) out[i] = SumOfLanes(&lanes[i * kLanes]);
}

#endif  // MUSTER_X86

}  // namespace

void PackedFactors::Pack(const float* factors, int64_t count, int64_t step_i, int64_t groups,
                         int64_t step_group, int64_t taps) {
  count_ = count;
  rows_ = groups * taps;
  values_.resize(static_cast<size_t>(count * rows_));
  float* next = values_.data();
  for (int64_t first = 0; first < count; first += kGroup) {
    const int64_t width = std::min(kGroup, count - first);
    for (int64_t group = 0; group < groups; ++group) {
      const float* const from = factors + first * step_i + group * step_group;
      for (int64_t tap = 0; tap < taps; ++tap) {
        for (int64_t i = 0; i < width; ++i) *next++ = from[i * step_i + tap];
      }
    }
  }
}

namespace portable {

void LongOuter(std::span<const float* const> rows, const PackedFactors& factors, const float* bias,
               int64_t size, std::span<float* const> out) {
  const float* from = factors.values();
  for (int64_t first = 0; first < factors.count(); first += kGroup) {
    const int64_t width = std::min(kGroup, factors.count() - first);
    for (int64_t i = 0; i < width; ++i) std::fill_n(out[first + i], size, BiasOf(bias, first + i));
    for (const float* const row : rows) {
      for (int64_t i = 0; i < width; ++i) {
        float* const sums = out[first + i];
        for (int64_t k = 0; k < size; ++k) sums[k] = std::fma(from[i], row[k], sums[k]);
      }
      from += width;
    }
  }
}

void LongDots(std::span<const float* const> left, std::span<const float* const> right, int64_t size,
              float* out) {
  for (const float* const x : left) {
    for (const float* const y : right) {
      float lanes[kLanes] = {};
      for (int64_t k = 0; k < size; ++k) lanes[k % kLanes] = std::fma(x[k], y[k], lanes[k % kLanes]);
      *out++ = SumOfLanes(lanes);
    }
  }
}

}  // namespace portable

bool HasFastLongRows() {
#if MUSTER_X86
  return HasFma();
#else
  return false;
#endif
}

void LongOuter(std::span<const float* const> rows, const PackedFactors& factors, const float* bias,
               int64_t size, std::span<float* const> out) {
#if MUSTER_X86
  if (HasFma()) {
    const OuterLoops whole = LoopsFor(kGroup);
    const OuterLoops rest = LoopsFor((factors.count() - 1) % kGroup + 1);
    for (int64_t k = 0; k < size;) {
      const bool three = whole.three != nullptr && k + 3 * kRowBlock <= size;
      const float* from = factors.values();
      for (int64_t i = 0; i < factors.count(); i += kGroup) {
        const int64_t width = std::min(kGroup, factors.count() - i);
        const OuterLoops& loops = width == kGroup ? whole : rest;
        (three ? loops.three : loops.one)(rows, from, bias == nullptr ? bias : bias + i, k, &out[i]);
        from += width * factors.rows();
      }
      k += three ? 3 * kRowBlock : kRowBlock;
    }
    return;
  }
#endif
  portable::LongOuter(rows, factors, bias, size, out);
}

void LongDots(std::span<const float* const> left, std::span<const float* const> right, int64_t size,
              std::vector<float>& lanes, float* out) {
#if MUSTER_X86
  if (HasFma()) {
    size_t i = 0;
    for (; i + 4 <= left.size(); i += 4) DotsRows<4>(&left[i], right, size, lanes, out + i * right.size());
    for (; i + 2 <= left.size(); i += 2) DotsRows<2>(&left[i], right, size, lanes, out + i * right.size());
    for (; i < left.size(); ++i) DotsRows<1>(&left[i], right, size, lanes, out + i * right.size());
    return;
  }
#endif
  portable::LongDots(left, right, size, out);
}

}  // namespace muster
