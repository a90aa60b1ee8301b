#include "compression/places.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "compression/select.h"
#include "core/random.h"

namespace muster {
namespace {

using ::testing::HasSubstr;

std::string Coded(const std::vector<uint32_t>& places, int64_t n) {
  std::string bytes;
  AppendPlaces(places, n, bytes);
  return bytes;
}
absl::StatusOr<std::vector<uint32_t>> Read(const std::string& bytes, uint64_t count, int64_t n) {
  WireReader wire("test", bytes);
  MUSTER_ASSIGN_OR_RETURN(PlaceReader reader, PlaceReader::Create(wire, count, n));
  EXPECT_TRUE(wire.Rest().empty());
  std::vector<uint32_t> places, chunk(100);
  while (const size_t filled = reader.Next(chunk))
    places.insert(places.end(), chunk.begin(), chunk.begin() + filled);
  MUSTER_RETURN_IF_ERROR(reader.Finish());
  return places;
}
std::vector<uint32_t> RandomPlaces(int64_t n, int64_t k) {
  const std::vector<int64_t> sample = Random({.seed = static_cast<uint64_t>(n + k)}).Sample(n, k);
  std::vector<uint32_t> places(sample.begin(), sample.end());
  std::sort(places.begin(), places.end());
  return places;
}

TEST(Places, ComeBackAtEveryDensityAndInTheSmallestCoding) {
  for (const auto& [n, k] : std::vector<std::pair<int64_t, int64_t>>{{0, 0},
                                                                     {1, 0},
                                                                     {1, 1},
                                                                     {2, 1},
                                                                     {64, 64},
                                                                     {1000, 1},
                                                                     {1000, 10},
                                                                     {1000, 500},
                                                                     {1000, 999},
                                                                     {100000, 5000}}) {
    const std::vector<uint32_t> places = RandomPlaces(n, k);
    const std::string bytes = Coded(places, n);
    const auto read = Read(bytes, static_cast<uint64_t>(k), n);
    ASSERT_TRUE(read.ok()) << n << " " << k << " " << read.status();
    EXPECT_EQ(*read, places);
    EXPECT_LE(bytes.size(), static_cast<size_t>(n / 8 + 8));
  }
}

TEST(Places, RiceIsWithinThreePercentOfTheCountingBound) {
  constexpr int64_t kSize = 1000000;
  for (const int64_t k : {1000, 10000, 100000}) {
    const double bound =
        (std::lgamma(kSize + 1.0) - std::lgamma(k + 1.0) - std::lgamma(kSize - k + 1.0)) / std::log(2);
    EXPECT_LE(8.0 * static_cast<double>(Coded(RandomPlaces(kSize, k), kSize).size()), 1.03 * bound) << k;
  }
}

TEST(Places, AreRefusedByName) {
  const std::string fixed("\x00\x01\x21", 3);  // two places below 16: 1, 2
  EXPECT_EQ(*Read(fixed, 2, 16), (std::vector<uint32_t>{1, 2}));
  const auto error = [](const std::string& bytes, uint64_t count, int64_t n) {
    return Message(Read(bytes, count, n).status());
  };
  EXPECT_THAT(error(std::string("\x00\x01\x12", 3), 2, 16), HasSubstr("not increasing"));
  EXPECT_THAT(error(std::string("\x00\x01\x11", 3), 2, 16), HasSubstr("not increasing"));
  EXPECT_THAT(error(std::string("\x00\x01\xf1", 3), 2, 15), HasSubstr("out of range"));
  EXPECT_THAT(error(std::string("\x00\x02\x21\x00", 4), 2, 16), HasSubstr("trailing bytes"));
  EXPECT_THAT(error(std::string("\x00\x01\x21", 3), 1, 16), HasSubstr("padding that is not zero"));
  EXPECT_THAT(error(std::string("\x00\x01\x21", 3), 3, 16), HasSubstr("cut off"));
  EXPECT_THAT(error(std::string("\x00\x09\x21", 3), 2, 16), HasSubstr("needs 9 bytes, has 1"));
  EXPECT_THAT(error(std::string("\x40\x01\x21", 3), 2, 16), HasSubstr("cannot be 64"));
  // Golomb-Rice: low bits 1 and 0 of the gaps 1 and 4, then no zeros and a one, two zeros and a one: 1 and 6.
  EXPECT_EQ(*Read(std::string("\xc1\x01\x25", 3), 2, 7), (std::vector<uint32_t>{1, 6}));
  EXPECT_THAT(error(std::string("\xc1\x01\x25", 3), 2, 6), HasSubstr("out of range"));
  EXPECT_THAT(error(std::string("\xc1\x01\x05", 3), 2, 7), HasSubstr("cut off"));
  EXPECT_THAT(error(std::string("\xc8\x01\x25", 3), 2, 7), HasSubstr("cut off"));
  EXPECT_THAT(error(std::string("\xc1\x01\x65", 3), 2, 7), HasSubstr("padding that is not zero"));
  EXPECT_THAT(error(std::string("\xc1\x02\x25\x00", 4), 2, 7), HasSubstr("trailing bytes"));
  EXPECT_THAT(error(std::string("\xe1\x01\x25", 3), 2, 7), HasSubstr("cannot be 225"));
  EXPECT_THAT(error(std::string("\x80\x02\x07\x00", 4), 2, 16), HasSubstr("more than their count"));
  EXPECT_THAT(error(fixed, 17, 16), HasSubstr("is 17 of 16 elements"));
}

TEST(Select, TakesTheLargestAndOfEqualOnesTheFirst) {
  const std::vector<float> x = {1, -3, 2, 3, -2, 0, 2};
  EXPECT_EQ(LargestPlaces(x, 1), (std::vector<uint32_t>{1}));
  EXPECT_EQ(LargestPlaces(x, 3), (std::vector<uint32_t>{1, 2, 3}));
  EXPECT_EQ(LargestPlaces(x, 7), (std::vector<uint32_t>{0, 1, 2, 3, 4, 5, 6}));
  EXPECT_EQ(LargestPlaces(std::vector<float>(5), 2), (std::vector<uint32_t>{0, 1}));
  EXPECT_EQ(PlacesFrom(x, 2), (std::vector<uint32_t>{1, 2, 3, 4, 6}));
  for (const size_t k : {0, 1, 3, 4, 7}) {
    std::vector<float> kept = x, expected(x.size());
    for (const uint32_t place : LargestPlaces(x, k)) expected[place] = x[place];
    KeepLargest(kept, k);
    EXPECT_EQ(kept, expected) << k;
  }
}

// Vectors long enough to be sampled: all alike, sorted, in stripes, and at random.
TEST(Select, AgreesWithSorting) {
  constexpr size_t kSize = 200000;
  Random random({.seed = 4});
  std::vector<std::vector<float>> inputs(4, std::vector<float>(kSize));
  for (size_t i = 0; i < kSize; ++i) {
    inputs[0][i] = 1;
    inputs[1][i] = static_cast<float>(i);
    inputs[2][i] = i % 512 == 0 ? 2.0F : static_cast<float>(i % 7) / 8;
    inputs[3][i] = static_cast<float>(random.Normal());
  }
  for (const std::vector<float>& x : inputs) {
    for (const size_t k : {size_t{1}, size_t{2000}, size_t{150000}}) {
      std::vector<uint32_t> order(kSize);
      std::iota(order.begin(), order.end(), 0U);
      std::stable_sort(order.begin(), order.end(),
                       [&](uint32_t a, uint32_t b) { return std::fabs(x[a]) > std::fabs(x[b]); });
      order.resize(k);
      std::sort(order.begin(), order.end());
      EXPECT_EQ(LargestPlaces(x, k), order);
      std::vector<float> expected(kSize), kept = x;
      for (const uint32_t place : order) expected[place] = x[place];
      KeepLargest(kept, k);
      EXPECT_EQ(kept, expected);
    }
  }
}

}  // namespace
}  // namespace muster
