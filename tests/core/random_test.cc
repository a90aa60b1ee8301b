#include "core/random.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <set>
#include <vector>

namespace muster {
namespace {

constexpr RandomKey kKey{.seed = 42, .purpose = Purpose::kBatchOrder, .round = 3, .client = 11};

// Computed by an independent implementation of xoshiro256** and SplitMix64. Recorded runs depend on these
// bits.
TEST(Random, GoldenValues) {
  Random zero(RandomKey{});
  EXPECT_EQ(zero(), 0xe895197e023ab83aU);
  EXPECT_EQ(zero(), 0x6b4b3ac7dc2eb0dbU);
  EXPECT_EQ(zero(), 0xc2b17757d2722ff4U);
  EXPECT_EQ(zero(), 0xe6dc37f38270de67U);
  Random keyed(kKey);
  EXPECT_EQ(keyed(), 0x8f8e88084d003dd4U);
  EXPECT_EQ(keyed(), 0x76156add9df807a0U);
  Random uniform(kKey);
  EXPECT_EQ(uniform.Uniform(), 0.5607686062112415);
  EXPECT_EQ(uniform.Uniform(), 0.4612643042619027);
  Random below(kKey);
  for (const uint64_t expected : {560, 461, 856, 417, 577, 990}) EXPECT_EQ(below.Below(1000), expected);
}

TEST(Random, SameKeySameStream) {
  Random a(kKey), b(kKey);
  for (int i = 0; i < 100; ++i) {
    EXPECT_EQ(a(), b());
    EXPECT_EQ(a.Normal(), b.Normal());
    EXPECT_EQ(a.Gamma(0.5), b.Gamma(0.5));
  }
}

// Any part of the key, by one bit, gives an unrelated stream: correlation within 4.5 standard errors of 0.
TEST(Random, StreamsOfDifferentKeysAreUncorrelated) {
  std::vector<RandomKey> others(5, kKey);
  others[0].seed ^= 1;
  others[1].purpose = Purpose::kDropout;
  others[2].round ^= 1;
  others[3].client ^= 1;
  std::swap(others[4].round, others[4].client);
  constexpr int kDraws = 20000;
  for (const RandomKey& key : others) {
    Random a(kKey), b(key);
    double sum = 0;
    int equal_bits = 0;
    for (int i = 0; i < kDraws; ++i) {
      const uint64_t x = a(), y = b();
      equal_bits += 64 - __builtin_popcountll(x ^ y);
      sum += (static_cast<double>(x) * 0x1.0p-64 - 0.5) * (static_cast<double>(y) * 0x1.0p-64 - 0.5) * 12;
    }
    EXPECT_NEAR(sum / kDraws, 0, 4.5 / std::sqrt(kDraws));
    EXPECT_NEAR(equal_bits / (64.0 * kDraws), 0.5, 4.5 * 0.5 / std::sqrt(64.0 * kDraws));
  }
}

TEST(Random, FirstDrawsOfNeighbouringKeysAreUniform) {
  // One draw of each of many clients: chi-squared over 16 cells, 15 degrees of freedom; 45 is beyond 1 in
  // 10^4.
  std::vector<int> cells(16);
  constexpr int kClients = 16000;
  for (int client = 0; client < kClients; ++client) {
    RandomKey key = kKey;
    key.client = client;
    ++cells[Random(key).Below(16)];
  }
  double chi2 = 0;
  for (const int count : cells) chi2 += std::pow(count - 1000.0, 2) / 1000.0;
  EXPECT_LT(chi2, 45);
}

TEST(Random, BelowIsUnbiased) {
  // 2^64 modulo 3 * 2^62 is large: plain modulo would make the first third twice as likely.
  Random random(kKey);
  constexpr uint64_t kN = 3 * (uint64_t{1} << 62);
  constexpr int kDraws = 30000;
  int low = 0;
  for (int i = 0; i < kDraws; ++i) {
    const uint64_t x = random.Below(kN);
    ASSERT_LT(x, kN);
    low += x < kN / 3;
  }
  EXPECT_NEAR(low, kDraws / 3.0, 4.5 * std::sqrt(kDraws * 2.0 / 9));
  EXPECT_EQ(random.Below(1), 0u);
}

struct Moments {
  double mean = 0, variance = 0, third = 0;
};
template <typename Draw>
Moments MomentsOf(int n, const Draw& draw) {
  std::vector<double> values(n);
  for (double& v : values) v = draw();
  Moments m;
  m.mean = std::accumulate(values.begin(), values.end(), 0.0) / n;
  for (const double v : values) {
    m.variance += std::pow(v - m.mean, 2) / n;
    m.third += std::pow(v - m.mean, 3) / n;
  }
  return m;
}

constexpr int kDraws = 100000;

// Bands are 4.5 standard errors.
TEST(Random, UniformMoments) {
  Random random(kKey);
  const Moments m = MomentsOf(kDraws, [&] {
    const double u = random.Uniform();
    EXPECT_TRUE(u >= 0 && u < 1);
    return u;
  });
  EXPECT_NEAR(m.mean, 0.5, 4.5 * std::sqrt(1.0 / 12 / kDraws));
  EXPECT_NEAR(m.variance, 1.0 / 12, 4.5 * std::sqrt((1.0 / 80 - 1.0 / 144) / kDraws));
}

TEST(Random, NormalMoments) {
  Random random(kKey);
  const Moments m = MomentsOf(kDraws, [&] { return random.Normal(); });
  EXPECT_NEAR(m.mean, 0, 4.5 * std::sqrt(1.0 / kDraws));
  EXPECT_NEAR(m.variance, 1, 4.5 * std::sqrt(2.0 / kDraws));
  EXPECT_NEAR(m.third, 0, 4.5 * std::sqrt(6.0 / kDraws));  // third moment about the sample mean
}

TEST(Random, GammaMoments) {
  for (const double shape : {0.1, 0.5, 1.0, 3.5, 100.0}) {
    Random random(kKey);
    const Moments m = MomentsOf(kDraws, [&] { return random.Gamma(shape); });
    EXPECT_NEAR(m.mean, shape, 4.5 * std::sqrt(shape / kDraws)) << shape;
    // The fourth central moment of Gamma(k, 1) is 3k^2 + 6k.
    EXPECT_NEAR(m.variance, shape, 4.5 * std::sqrt((2 * shape * shape + 6 * shape) / kDraws)) << shape;
  }
}

TEST(Random, DirichletIsOnTheSimplexForEveryAlpha) {
  for (const double alpha : {5e-324, 1e-300, 1e-10, 1e-3, 0.1, 1.0, 100.0, 1e6}) {
    Random random(kKey);
    for (int i = 0; i < 200; ++i) {
      const std::vector<double> point = random.Dirichlet(alpha, 10);
      ASSERT_EQ(point.size(), 10u);
      double sum = 0;
      for (const double p : point) {
        ASSERT_TRUE(p >= 0 && p <= 1) << alpha;
        sum += p;
      }
      ASSERT_NEAR(sum, 1, 1e-12) << alpha;
      const double largest = *std::max_element(point.begin(), point.end());
      EXPECT_TRUE(alpha > 1e-10 || largest > 0.999) << alpha;
      EXPECT_TRUE(alpha < 1e6 || largest < 0.11) << alpha;
    }
  }
  EXPECT_EQ(Random(kKey).Dirichlet(0.3, 1), std::vector<double>{1.0});
}

TEST(Random, DirichletMoments) {
  // Each part of the symmetric Dirichlet(a) over n has mean 1/n and variance (n - 1) / (n^2 (n a + 1)).
  constexpr int kParts = 5;
  for (const double alpha : {0.05, 0.3, 2.0}) {
    Random random(kKey);
    std::vector<double> sum(kParts), squares(kParts);
    constexpr int kPoints = 20000;
    for (int i = 0; i < kPoints; ++i) {
      const std::vector<double> point = random.Dirichlet(alpha, kParts);
      for (int j = 0; j < kParts; ++j) {
        sum[j] += point[j];
        squares[j] += point[j] * point[j];
      }
    }
    const double variance = (kParts - 1.0) / (kParts * kParts * (kParts * alpha + 1));
    for (int j = 0; j < kParts; ++j) {
      const double mean = sum[j] / kPoints;
      EXPECT_NEAR(mean, 1.0 / kParts, 4.5 * std::sqrt(variance / kPoints));
      EXPECT_NEAR(squares[j] / kPoints - mean * mean, variance, 0.05 * variance);
    }
  }
}

TEST(Random, ShuffleIsAFairPermutation) {
  Random random(kKey);
  std::vector<int> first(4);
  for (int i = 0; i < 8000; ++i) {
    std::vector<int> values = {0, 1, 2, 3};
    random.Shuffle(std::span<int>(values));
    ++first[values[0]];
    std::sort(values.begin(), values.end());
    ASSERT_EQ(values, (std::vector<int>{0, 1, 2, 3}));
  }
  for (const int count : first) EXPECT_NEAR(count, 2000, 4.5 * std::sqrt(8000 * 3.0 / 16));
}

TEST(Random, SampleIsDistinctAndEveryElementEquallyLikely) {
  std::vector<int> hits(20);
  Random random(kKey);
  for (int i = 0; i < 10000; ++i) {
    const std::vector<int64_t> sample = random.Sample(20, 5);
    ASSERT_EQ(std::set<int64_t>(sample.begin(), sample.end()).size(), 5u);
    for (const int64_t x : sample) {
      ASSERT_TRUE(x >= 0 && x < 20);
      ++hits[x];
    }
  }
  for (const int count : hits) EXPECT_NEAR(count, 2500, 4.5 * std::sqrt(10000 * 0.25 * 0.75));

  std::vector<int64_t> all = random.Sample(100, 100);
  std::sort(all.begin(), all.end());
  for (int64_t i = 0; i < 100; ++i) EXPECT_EQ(all[i], i);
  EXPECT_TRUE(random.Sample(5, 0).empty());
  EXPECT_EQ(random.Sample(int64_t{1} << 60, 3).size(), 3u);  // memory for the sample, not for the range
}

}  // namespace
}  // namespace muster
