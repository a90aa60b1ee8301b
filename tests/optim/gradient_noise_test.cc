#include "optim/gradient_noise.h"

#include <gtest/gtest.h>

#include <cmath>
#include <functional>

namespace muster::optim {
namespace {

constexpr int kDraws = 200000;

// The share of draws above `level`, and the mean square.
struct Sample {
  double above = 0;
  double square = 0;
  double mean = 0;
};
Sample Draw(const std::function<double(Random&)>& noise, double level) {
  Random random({.seed = 5});
  Sample sample;
  for (int i = 0; i < kDraws; ++i) {
    const double x = noise(random);
    sample.above += (x > level ? 1.0 : 0.0) / kDraws;
    sample.square += x * x / kDraws;
    sample.mean += x / kDraws;
  }
  return sample;
}

TEST(GradientNoiseTest, LomaxHasItsTailAndMeanZero) {
  // P(X > x) = (x + tail / (tail - 1))^-tail.
  for (const double tail : {1.6, 3.0}) {
    const auto noise = [=](Random& random) { return Lomax(tail, random); };
    for (const double level : {0.0, 1.0, 5.0}) {
      EXPECT_NEAR(Draw(noise, level).above, std::pow(level + tail / (tail - 1), -tail), 0.005);
    }
  }
  EXPECT_NEAR(Draw([](Random& random) { return Lomax(4, random); }, 0).mean, 0, 0.01);
}

TEST(GradientNoiseTest, StudentTHasItsVariance) {
  const Sample sample = Draw([](Random& random) { return StudentT(8, random); }, 0);
  EXPECT_NEAR(sample.square, 8.0 / 6, 0.03);
  EXPECT_NEAR(sample.above, 0.5, 0.005);
  // Two degrees: P(X > 1) = 1/2 - 1 / (2 sqrt(3)).
  EXPECT_NEAR(Draw([](Random& random) { return StudentT(2, random); }, 1).above, 0.5 - 0.5 / std::sqrt(3.0),
              0.005);
}

TEST(GradientNoiseTest, AlphaStableAtTwoIsNormalOfVarianceTwo) {
  const Sample sample = Draw([](Random& random) { return AlphaStable(2, random); }, std::sqrt(2.0));
  EXPECT_NEAR(sample.square, 2, 0.03);
  EXPECT_NEAR(sample.above, 0.1587, 0.004);
  // A sum of two is as one, stretched by 2^(1 / alpha).
  const double level = 3;
  const auto one = [](Random& random) { return AlphaStable(1.5, random); };
  const auto two = [](Random& random) { return AlphaStable(1.5, random) + AlphaStable(1.5, random); };
  EXPECT_NEAR(Draw(two, level * std::pow(2, 1 / 1.5)).above, Draw(one, level).above, 0.004);
}

}  // namespace
}  // namespace muster::optim
