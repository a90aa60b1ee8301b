#include "compression/kernels.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <limits>
#include <vector>

#include "core/magnitude.h"
#include "core/random.h"

namespace muster {
namespace {

// Lengths around every vector width, and values of all magnitudes that a half has a rounding for.
std::vector<float> Values(size_t size) {
  Random random({.seed = size});
  std::vector<float> x(size);
  for (float& value : x) {
    value = static_cast<float>((2 * random.Uniform() - 1) *
                               std::exp2(static_cast<double>(random.Below(42)) - 27));
  }
  return x;
}

class Kernels : public ::testing::TestWithParam<size_t> {};

TEST_P(Kernels, OfThisCpuEqualThePortableOnes) {
  const std::vector<float> x = Values(GetParam());
  const size_t n = x.size();
  std::vector<uint8_t> signs(n / 8 + 1), portable_signs(n / 8 + 1);
  EXPECT_EQ(PackSigns(x, signs.data()), portable::PackSigns(x, portable_signs.data()));
  EXPECT_EQ(signs, portable_signs);
  std::vector<uint8_t> codes(n), portable_codes(n);
  for (const int levels : {1, 7, 127}) {
    const float inverse = static_cast<float>(levels) / 16384;
    RoundToLevels(x, inverse, levels, {.a = 5, .b = 6}, codes.data(), {});
    portable::RoundToLevels(x, inverse, levels, {.a = 5, .b = 6}, portable_codes.data());
    EXPECT_EQ(codes, portable_codes) << levels;
  }
  std::vector<uint16_t> halves(n), portable_halves(n);
  EncodeHalves(x, 1, halves.data(), {});
  portable::EncodeHalves(x, 1, portable_halves.data());
  EXPECT_EQ(halves, portable_halves);
  std::vector<float> decoded(n), portable_decoded(n);
  DecodeHalves(halves.data(), 0.5F, decoded);
  portable::DecodeHalves(halves.data(), 0.5F, portable_decoded);
  for (size_t i = 0; i < n; ++i) {
    ASSERT_EQ(std::bit_cast<uint32_t>(decoded[i]), std::bit_cast<uint32_t>(portable_decoded[i])) << i;
  }
}
TEST_P(Kernels, TellTheLargestMagnitudeOfWhatComesNext) {
  const size_t n = GetParam();
  const std::vector<float> x = Values(n);
  std::vector<uint8_t> codes(n);
  std::vector<uint16_t> halves(n);
  for (const size_t more : {size_t{0}, n / 2, n, n + 5}) {
    std::vector<float> next = Values(more);
    const auto told = [&] {
      const float largest = RoundToLevels(x, 1.0F / 256, 127, {.a = 5, .b = 6}, codes.data(), next);
      EXPECT_EQ(std::bit_cast<uint32_t>(EncodeHalves(x, 1, halves.data(), next)),
                std::bit_cast<uint32_t>(largest));
      return largest;
    };
    EXPECT_EQ(told(), LargestMagnitude(next)) << more;
    for (const size_t place : {size_t{0}, more / 2, more - 1}) {
      if (more == 0) break;
      const float was = next[place];
      next[place] = -1e30F;
      EXPECT_EQ(told(), 1e30F) << more << " " << place;
      next[place] = std::numeric_limits<float>::quiet_NaN();
      EXPECT_TRUE(std::isnan(told())) << more << " " << place;
      next[place] = was;
    }
  }
}
INSTANTIATE_TEST_SUITE_P(Lengths, Kernels,
                         ::testing::Values(0, 1, 7, 8, 15, 16, 17, 31, 63, 64, 65, 1000, 10007));

TEST(Kernels, EveryHalfComesBack) {
  std::vector<uint16_t> halves;
  for (uint32_t half = 0; half < 0x7800; ++half) halves.push_back(static_cast<uint16_t>(half));  // below 2^15
  std::vector<float> values(halves.size());
  std::vector<uint16_t> again(halves.size());
  DecodeHalves(halves.data(), 1, values);
  EncodeHalves(values, 1, again.data(), {});
  EXPECT_EQ(again, halves);
  EXPECT_EQ(values[1], 0x1.0p-24F);
  EXPECT_EQ(values[0x3c00], 1.0F);
}

TEST(Kernels, SignsByHand) {
  const std::vector<float> x = {1, -2, 0, -0.0F, 3, 4, -5, 6, -7};
  std::vector<uint8_t> signs(2);
  EXPECT_EQ(PackSigns(x, signs.data()), 28);
  EXPECT_EQ(signs, (std::vector<uint8_t>{0b01001010, 1}));
  std::vector<float> out(9);
  UnpackSigns(signs.data(), 2, out);
  EXPECT_EQ(out, (std::vector<float>{2, -2, 2, -2, 2, 2, -2, 2, -2}));
}

}  // namespace
}  // namespace muster
