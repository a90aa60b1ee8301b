// What Compressor::traits promises is measured: bias, variance, contraction and size, over distributions and
// sizes.
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "core/random.h"
#include "tests/compression/cases.h"

namespace muster {
namespace {

enum class Distribution { kNormal, kHeavyTailed, kConstant, kOneHot, kZeros, kDenormals, kHuge };
constexpr Distribution kAll[] = {Distribution::kNormal, Distribution::kHeavyTailed, Distribution::kConstant,
                                 Distribution::kOneHot, Distribution::kZeros,       Distribution::kDenormals,
                                 Distribution::kHuge};

std::vector<float> Draw(Distribution distribution, int64_t size) {
  Random random({.seed = 3});
  std::vector<float> x(static_cast<size_t>(size));
  for (float& value : x) {
    const double normal = random.Normal();
    switch (distribution) {
      case Distribution::kNormal:
        value = static_cast<float>(0.01 * normal);
        break;
      case Distribution::kHeavyTailed:
        value = static_cast<float>(0.01 * normal / (0.01 + random.Uniform()));
        break;
      case Distribution::kConstant:
        value = 0.37F;
        break;
      case Distribution::kOneHot:
        value = &value == &x[x.size() / 2] ? -2.5F : 0;
        break;
      case Distribution::kZeros:
        value = 0;
        break;
      case Distribution::kDenormals:
        value = static_cast<float>(1e-40 * normal);
        break;
      case Distribution::kHuge:
        value = static_cast<float>(1e30 * normal);
        break;
    }
  }
  return x;
}

class CompressorTraits : public ::testing::TestWithParam<PluginConfig> {
 protected:
  // Squared norms of x, of the error, and of the mean error over `draws` keys; the error's own standard
  // error.
  struct Measured {
    double norm = 0, error = 0, worst = 0, uncertainty = 0, bias = 0;
  };
  Measured Measure(const Compressor& compressor, const std::vector<float>& x, const Layout& layout,
                   int draws) {
    Measured measured;
    for (const float value : x) measured.norm += static_cast<double>(value) * value;
    std::vector<double> mean(x.size());
    double squares = 0;
    const Traits traits = compressor.traits(layout);
    for (int draw = 0; draw < draws; ++draw) {
      const auto payload = compressor.Compress(
          x, layout, {.seed = 9, .purpose = Purpose::kCompression, .round = static_cast<uint64_t>(draw)});
      EXPECT_TRUE(payload.ok()) << payload.status();
      if (!payload.ok()) return measured;
      if (traits.bytes) {
        EXPECT_EQ(payload->size(), *traits.bytes);
      }
      const auto decoded = DecodePayload(*payload, layout);
      EXPECT_TRUE(decoded.ok()) << decoded.status();
      if (!decoded.ok()) return measured;
      double error = 0;
      for (size_t i = 0; i < x.size(); ++i) {
        const double e = static_cast<double>((*decoded)[i]) - x[i];
        error += e * e;
        mean[i] += e / draws;
      }
      measured.error += error / draws;
      measured.worst = std::max(measured.worst, error);
      squares += error * error / draws;
    }
    for (const double e : mean) measured.bias += e * e;
    measured.uncertainty = std::sqrt(std::max(0.0, squares - measured.error * measured.error) / draws);
    return measured;
  }

  void Check(Distribution distribution, int64_t size, int draws) {
    SCOPED_TRACE(absl::StrCat(Describe(GetParam()), ", distribution ", static_cast<int>(distribution),
                              ", size ", size));
    const auto compressor = MakeCompressor(GetParam());
    const Layout layout = TestLayout(size);
    const Traits traits = compressor->traits(layout);
    const Measured m = Measure(*compressor, Draw(distribution, size), layout, draws);
    // float32 rounding, and elements below the smallest normal float32.
    const double smallest = std::numeric_limits<float>::min();
    const double rounding = 1e-6 * m.norm + static_cast<double>(size) * smallest * smallest;
    if (traits.omega) {
      EXPECT_LE(m.error, *traits.omega * m.norm + 5 * m.uncertainty + rounding) << "omega " << *traits.omega;
      // The mean error of an unbiased compressor falls as 1 / draws.
      EXPECT_LE(m.bias, 25 * m.error / draws + rounding * 1e-3) << "error " << m.error;
    }
    if (traits.delta) {
      EXPECT_GE(*traits.delta, 0);
      EXPECT_LE(*traits.delta, 1);
      EXPECT_LE(m.error, (1 - *traits.delta) * m.norm + 5 * m.uncertainty + rounding)
          << "delta " << *traits.delta;
    }
  }
};

TEST_P(CompressorTraits, HoldForSmallVectors) {
  for (const int64_t size : {0, 1, 7, 64}) {
    for (const Distribution distribution : kAll) Check(distribution, size, 1000);
  }
}

TEST_P(CompressorTraits, HoldForVectorsOfSeveralBuckets) {
  for (const Distribution distribution : kAll) Check(distribution, 9001, 20);
}

TEST_P(CompressorTraits, HoldForAMillionElements) {
  for (const Distribution distribution : {Distribution::kNormal, Distribution::kHeavyTailed}) {
    Check(distribution, 1000000, 2);
  }
}

// Huge elements are beyond what sums hold: folding refuses them and leaves no trace.
TEST_P(CompressorTraits, HugeUpdatesDecodeButAreNotFolded) {
  const Layout layout = TestLayout(64);
  const auto compressor = MakeCompressor(GetParam());
  const auto payload = compressor->Compress(Draw(Distribution::kHuge, 64), layout, {.seed = 1});
  ASSERT_TRUE(payload.ok()) << payload.status();
  const auto decoded = DecodePayload(*payload, layout);
  ASSERT_TRUE(decoded.ok()) << decoded.status();
  ExactSum folded(64, 1), added(64, 1);
  EXPECT_EQ(FoldPayload(*payload, 1, layout, folded).code(), added.Add(*decoded, 1).code());
  EXPECT_EQ(folded.terms(), added.terms());
}

INSTANTIATE_TEST_SUITE_P(Registered, CompressorTraits, ::testing::ValuesIn(CompressorCases()),
                         [](const auto& info) { return absl::StrCat(info.param.name, "_", info.index); });

}  // namespace
}  // namespace muster
