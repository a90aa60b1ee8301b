#include "core/mirror.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <vector>

namespace muster {
namespace {

using ::testing::ElementsAre;

double Kl(const std::vector<double>& p, const std::vector<double>& q) {
  double sum = 0;
  for (size_t i = 0; i < p.size(); ++i) sum += p[i] > 0 ? p[i] * std::log(p[i] / q[i]) : 0;
  return sum;
}

TEST(MirrorTest, IsTheMaximiserOnTheSimplex) {
  const std::vector<double> weights = {0.2, 0.5, 0.3};
  const std::vector<double> prior = {0.6, 0.1, 0.3};
  const std::vector<double> gains = {1, 3, -0.5};
  const MirrorRule rule{.rate = 0.4, .decay = 0.7, .epsilon = 0, .temperature = 1};
  const auto value = [&](const std::vector<double>& p) {
    double sum = -rule.decay * Kl(p, prior) - Kl(p, weights) / rule.rate;
    for (size_t i = 0; i < 3; ++i) sum += gains[i] * p[i];
    return sum;
  };
  std::vector<double> best;
  double best_value = -HUGE_VAL;
  constexpr int kGrid = 1000;
  for (int i = 0; i <= kGrid; ++i) {
    for (int j = 0; i + j <= kGrid; ++j) {
      const std::vector<double> p = {i / 1000.0, j / 1000.0, (kGrid - i - j) / 1000.0};
      if (value(p) > best_value) {
        best_value = value(p);
        best = p;
      }
    }
  }
  const std::vector<double> step = MirrorStep(weights, prior, gains, rule);
  EXPECT_GE(value(step), best_value);
  for (size_t i = 0; i < 3; ++i) EXPECT_NEAR(step[i], best[i], 1.1e-3);
}

TEST(MirrorTest, LeavesGroupsWithoutPriorOut) {
  const std::vector<double> step = MirrorStep(
      std::vector<double>{0.5, 0, 0.5}, std::vector<double>{0.5, 0, 0.5}, std::vector<double>{0, 100, 0}, {});
  EXPECT_THAT(step, ElementsAre(0.5, 0, 0.5));
}

TEST(MirrorTest, HugeGainsStayNumbers) {
  const std::vector<double> half = {0.5, 0.5};
  EXPECT_THAT(MirrorStep(half, half, std::vector<double>{1e9, 0}, {}), ElementsAre(1, 0));
}

TEST(MirrorTest, NormalizesOrRefuses) {
  EXPECT_THAT(*Normalized(std::vector<double>{1, 3}), ElementsAre(0.25, 0.75));
  EXPECT_FALSE(Normalized(std::vector<double>{0, 0}).ok());
  EXPECT_FALSE(Normalized(std::vector<double>{1, -1}).ok());
  EXPECT_FALSE(Normalized(std::vector<double>{1, HUGE_VAL}).ok());
  EXPECT_THAT(*InverseSizes(std::vector<int64_t>{2, 0, 6}), ElementsAre(0.75, 0, 0.25));
  EXPECT_FALSE(InverseSizes(std::vector<int64_t>{0, 0}).ok());
}

}  // namespace
}  // namespace muster
