// The optimiser that does not train.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <torch/types.h>

#include <cmath>

#include "core/state.h"
#include "tests/optim/optimizers.h"

namespace muster {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

// Answers nothing.
class Silent final : public Oracle {
 public:
  absl::StatusOr<double> Loss(Batch /*batch*/) override { return Asked(); }
  absl::StatusOr<double> Gradient(Batch /*batch*/) override { return Asked(); }
  absl::StatusOr<at::Tensor> SampleLosses(Batch /*batch*/) override { return Asked(); }
  absl::StatusOr<at::Tensor> WeightedGradient(Batch /*batch*/, Weighting /*weighting*/) override {
    return Asked();
  }
  absl::StatusOr<at::Tensor> Groups(const std::string& /*by*/) override { return Asked(); }
  absl::StatusOr<std::vector<int64_t>> GroupSizes(const std::string& /*by*/) override { return Asked(); }

 private:
  static absl::Status Asked() { return absl::InternalError("asked"); }
};

TEST(NoneTest, AsksNothingChangesNothingAndKnowsNoLoss) {
  const at::Tensor parameter = at::full({5}, 2.0);
  const auto none = *Registry<LocalOptimizer>::Get().Create({"none", {}}, {.parameters = {parameter}});
  Silent silent;
  for (int i = 0; i < 3; ++i) {
    const auto report = none->Step(silent);
    ASSERT_TRUE(report.ok()) << report.status();
    EXPECT_TRUE(std::isnan(report->loss));
  }
  EXPECT_TRUE(parameter.equal(at::full({5}, 2.0)));
}

TEST(NoneTest, HasNoStateAndTakesNone) {
  const auto none = *Registry<LocalOptimizer>::Get().Create({"none", {}}, {});
  State state;
  none->Save(state);
  EXPECT_TRUE(state.empty());
  EXPECT_TRUE(none->Load(state).ok());
  state.numbers["steps"] = 1;
  EXPECT_EQ(none->Load(state).code(), absl::StatusCode::kInvalidArgument);
}

TEST(NoneTest, HasNoLearningRate) {
  const auto made = Registry<LocalOptimizer>::Get().Create({"none", {{"learning_rate", 0.1}}}, {});
  ASSERT_FALSE(made.ok());
  EXPECT_THAT(Message(made.status()), HasSubstr("learning_rate"));
}

TEST(NoneTest, IsTheOnlyOptimizerThatDoesNotLearn) {
  std::vector<std::string> others = Registry<LocalOptimizer>::Get().Names();
  for (const std::string& name : OptimizersThatLearn()) std::erase(others, name);
  EXPECT_THAT(others, ElementsAre("none"));
}

}  // namespace
}  // namespace muster
