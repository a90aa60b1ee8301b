#include "compression/select.h"

#include <algorithm>
#include <bit>
#include <cmath>

#include "core/random.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace muster {
namespace {

// Magnitudes as integers have the order of the magnitudes.
int32_t MagnitudeBits(float value) { return std::bit_cast<int32_t>(value) & 0x7fffffff; }

#if defined(__x86_64__)
// Bit i is set where element i of 16 has a magnitude above `below`.
uint32_t Above(const float* x, __m128i below) {
  const __m128i magnitude = _mm_set1_epi32(0x7fffffff);
  const auto compare = [&](int i) {
    const __m128i bits = _mm_castps_si128(_mm_loadu_ps(x + i));
    return _mm_cmpgt_epi32(_mm_and_si128(bits, magnitude), below);
  };
  const __m128i low = _mm_packs_epi32(compare(0), compare(4)),
                high = _mm_packs_epi32(compare(8), compare(12));
  return static_cast<uint32_t>(_mm_movemask_epi8(_mm_packs_epi16(low, high)));
}
#endif

std::vector<uint32_t> PlacesFromBits(std::span<const float> x, int32_t threshold, size_t expected) {
  std::vector<uint32_t> places;
  places.reserve(expected);
  size_t i = 0;
#if defined(__x86_64__)
  const __m128i below = _mm_set1_epi32(threshold - 1);
  for (; i + 16 <= x.size(); i += 16) {
    for (uint32_t found = Above(&x[i], below); found != 0; found &= found - 1) {
      places.push_back(static_cast<uint32_t>(i) + static_cast<uint32_t>(std::countr_zero(found)));
    }
  }
#endif
  for (; i < x.size(); ++i) {
    if (MagnitudeBits(x[i]) >= threshold) places.push_back(static_cast<uint32_t>(i));
  }
  return places;
}

// A magnitude that at least k elements reach, unless chance is against it: the sample's quantile, five
// standard deviations on the safe side.
int32_t SafeThreshold(std::span<const float> x, size_t k) {
  constexpr size_t kSample = 16384;
  if (x.size() <= 4 * kSample) return 0;
  Random random({.seed = x.size(), .purpose = Purpose::kCompression});
  std::vector<int32_t> sample(kSample);
  for (int32_t& magnitude : sample) magnitude = MagnitudeBits(x[random.Below(x.size())]);
  const double expected = static_cast<double>(k) / static_cast<double>(x.size()) * kSample;
  const auto rank = static_cast<size_t>(expected + 5 * std::sqrt(expected) + 5);
  if (rank >= kSample) return 0;
  std::nth_element(sample.begin(), sample.begin() + static_cast<ptrdiff_t>(rank), sample.end(),
                   std::greater<>());
  return sample[rank];
}

}  // namespace

std::vector<uint32_t> LargestPlaces(std::span<const float> x, size_t k) {
  std::vector<uint32_t> places = PlacesFromBits(x, SafeThreshold(x, k), k + k / 2);
  if (places.size() < k) places = PlacesFromBits(x, 0, x.size());
  if (places.size() == k) return places;
  // Larger magnitudes first, then lower places.
  const auto key = [x](uint32_t place) {
    return static_cast<uint64_t>(0x7fffffff - MagnitudeBits(x[place])) << 32 | place;
  };
  std::vector<uint64_t> keys(places.size());
  std::transform(places.begin(), places.end(), keys.begin(), key);
  const auto last = keys.begin() + static_cast<ptrdiff_t>(k);
  std::nth_element(keys.begin(), last, keys.end());
  std::erase_if(places, [&, first_out = *last](uint32_t place) { return key(place) >= first_out; });
  return places;
}

void KeepLargest(std::span<float> x, size_t k) {
  if (k >= x.size()) return;
  if (k == 0) return std::fill(x.begin(), x.end(), 0.0F);
  std::vector<int32_t> magnitudes(x.size());
  std::transform(x.begin(), x.end(), magnitudes.begin(), MagnitudeBits);
  const auto last = magnitudes.begin() + static_cast<ptrdiff_t>(k - 1);
  std::nth_element(magnitudes.begin(), last, magnitudes.end(), std::greater<>());
  const int32_t least = *last;
  // Of the least ones that are kept the first.
  auto left = std::count(magnitudes.begin(), last + 1, least);
  for (float& value : x) {
    const int32_t magnitude = MagnitudeBits(value);
    const bool kept = magnitude > least || (magnitude == least && left-- > 0);
    if (!kept) value = 0;
  }
}

std::vector<uint32_t> PlacesFrom(std::span<const float> x, float threshold) {
  return PlacesFromBits(x, MagnitudeBits(threshold), x.size() / 64);
}

}  // namespace muster
