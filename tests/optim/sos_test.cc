#include "optim/sos.h"

#include <gtest/gtest.h>

#include <limits>

namespace muster::optim {
namespace {

TEST(SosTest, FindsWhereTheStepIsThatOfItsRun) {
  for (const double crossing : {1e-5, 0.03, 7.0}) {
    const auto found = BisectStepSize([=](double) { return SignRun{.decrease = 2 * crossing, .change = 2}; });
    ASSERT_TRUE(found.ok());
    EXPECT_LE(found->step_size, 2 * crossing);
    EXPECT_GE(found->step_size, crossing / 2);
    EXPECT_LT(found->runs, 16);
  }
}

TEST(SosTest, DivergedRunsAreTooLongAndRunsWithoutChangeTooShort) {
  const auto found = BisectStepSize([](double step) -> SignRun {
    if (step > 0.1) return {.decrease = std::numeric_limits<double>::quiet_NaN(), .change = 1};
    return {.decrease = 1, .change = step < 0.01 ? 0.0 : 1.0};
  });
  ASSERT_TRUE(found.ok());
  EXPECT_GE(found->step_size, 0.05);
  EXPECT_LE(found->step_size, 0.1);
}

TEST(SosTest, AStepThatIsTooLongFromTheStartIsTaken) {
  const auto found = BisectStepSize([](double) { return SignRun{.decrease = 0, .change = 1}; });
  ASSERT_TRUE(found.ok());
  EXPECT_EQ(found->step_size, 1e-8);
  EXPECT_EQ(found->runs, 1);
}

TEST(SosTest, HandsOnTheRunsError) {
  const auto failed =
      BisectStepSize([](double) -> absl::StatusOr<SignRun> { return InvalidInput("no data"); });
  EXPECT_EQ(Message(failed.status()), "no data");
  EXPECT_FALSE(BisectStepSize([](double) { return SignRun{}; }, 1, 0.5).ok());
}

}  // namespace
}  // namespace muster::optim
