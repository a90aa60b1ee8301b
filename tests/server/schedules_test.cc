#include "server/schedules/schedule.h"

#include <cmath>
#include <numbers>

#include "gmock/gmock.h"
#include "tests/server/plugin_options.h"

namespace muster {
namespace {

using ::testing::DoubleNear;
using ::testing::Pointwise;
using ::testing::StartsWith;

std::vector<double> Factors(const PluginConfig& config, int64_t rounds) {
  const auto schedule = Registry<Schedule>::Get().Create(config, {.rounds = rounds});
  if (!schedule.ok()) {
    ADD_FAILURE() << schedule.status();
    return {};
  }
  std::vector<double> factors;
  for (int64_t round = 0; round < rounds; ++round) factors.push_back((*schedule)->Factor(round));
  return factors;
}

void ExpectFactors(const PluginConfig& config, const std::vector<double>& expected) {
  EXPECT_THAT(Factors(config, static_cast<int64_t>(expected.size())), Pointwise(DoubleNear(1e-12), expected));
}

class EverySchedule : public testing::TestWithParam<std::string> {};

TEST_P(EverySchedule, IsFiniteAndNotNegativeInRunsOfAnyLength) {
  for (const int64_t rounds : {1, 2, 3, 1000}) {
    for (const double factor : Factors({GetParam(), {}}, rounds)) {
      EXPECT_TRUE(std::isfinite(factor));
      EXPECT_GE(factor, 0);
      EXPECT_LE(factor, 1);
    }
  }
}

TEST_P(EverySchedule, StartsAtOneByDefault) { EXPECT_EQ(Factors({GetParam(), {}}, 10)[0], 1); }

TEST_P(EverySchedule, ChecksItsOptions) { ExpectOptionsAreChecked<Schedule>(GetParam(), {.rounds = 100}); }

INSTANTIATE_TEST_SUITE_P(All, EverySchedule, testing::ValuesIn(Registry<Schedule>::Get().Names()),
                         [](const auto& info) { return info.param; });

TEST(SchedulesTest, Constant) { ExpectFactors({"constant", {}}, {1, 1, 1}); }

TEST(SchedulesTest, Step) {
  ExpectFactors({"step", {{"gamma", 0.5}, {"every", int64_t{2}}}}, {1, 1, 0.5, 0.5, 0.25, 0.25, 0.125});
}

TEST(SchedulesTest, Exponential) { ExpectFactors({"exponential", {{"gamma", 0.5}}}, {1, 0.5, 0.25, 0.125}); }

TEST(SchedulesTest, CosineFallsFromOneToItsEndInTheLastRound) {
  ExpectFactors({"cosine", {}}, {1, 0.5 + std::numbers::sqrt2 / 4, 0.5, 0.5 - std::numbers::sqrt2 / 4, 0});
  ExpectFactors({"cosine", {{"final", 0.2}}}, {1, 0.6, 0.2});
}

TEST(SchedulesTest, CosineWarmsUp) {
  ExpectFactors({"cosine", {{"warmup", int64_t{4}}}}, {0.25, 0.5, 0.75, 1, 1, 0.5, 0});
  ExpectFactors({"cosine", {{"warmup", int64_t{2}}}}, {0.5, 1, 1});
}

TEST(SchedulesTest, CosineRefusesAWarmUpThatTakesTheWholeRun) {
  const auto made = Registry<Schedule>::Get().Create({"cosine", {{"warmup", int64_t{5}}}}, {.rounds = 5});
  EXPECT_EQ(made.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(Message(made.status()), StartsWith("warmup: "));
}

TEST(SchedulesTest, InverseSqrt) {
  ExpectFactors({"inverse_sqrt", {}}, {1, 1 / std::sqrt(2.0), 1 / std::sqrt(3.0), 0.5});
  const std::vector<double> factors = Factors({"inverse_sqrt", {{"warmup", int64_t{4}}}}, 16);
  EXPECT_EQ(factors[0], 0.25);
  EXPECT_EQ(factors[1], 0.5);
  EXPECT_EQ(factors[3], 1);
  EXPECT_EQ(factors[15], 0.5);
}

}  // namespace
}  // namespace muster
