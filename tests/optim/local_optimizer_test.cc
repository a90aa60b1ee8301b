// The contract of every local optimiser that learns.
#include "optim/local_optimizer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "tests/optim/optimizers.h"

namespace muster {
namespace {

using ::testing::HasSubstr;

// Half the squared distance of all parameters from 1.
class Bowl : public Oracle {
 public:
  explicit Bowl(std::vector<at::Tensor> parameters) : parameters_(std::move(parameters)) {}

  absl::StatusOr<double> Loss(Batch /*batch*/) override {
    const torch::NoGradGuard no_grad;
    return Value().item<double>();
  }
  absl::StatusOr<double> Gradient(Batch /*batch*/) override {
    if (!failure.ok()) return failure;
    return Backward(Value());
  }
  absl::StatusOr<at::Tensor> SampleLosses(Batch /*batch*/) override {
    const torch::NoGradGuard no_grad;
    return Value().reshape({1});
  }
  absl::StatusOr<at::Tensor> WeightedGradient(Batch /*batch*/, Weighting weighting) override {
    if (!failure.ok()) return failure;
    const at::Tensor losses = Value().reshape({1});
    Backward((losses * weighting(losses.detach())).sum());
    return losses.detach();
  }
  absl::StatusOr<at::Tensor> Groups(const std::string& /*by*/) override { return at::zeros({1}, at::kLong); }
  absl::StatusOr<std::vector<int64_t>> GroupSizes(const std::string& /*by*/) override {
    return std::vector<int64_t>{1};
  }

  absl::Status failure = absl::OkStatus();
  int64_t spoilt = -1;  // the parameter whose gradient gets a NaN

 private:
  at::Tensor Value() const {
    at::Tensor sum = at::zeros({});
    for (const at::Tensor& parameter : parameters_) sum = sum + 0.5 * (parameter - 1).square().sum();
    return sum;
  }
  double Backward(const at::Tensor& loss) {
    for (const at::Tensor& parameter : parameters_) parameter.mutable_grad().reset();
    loss.backward();
    if (spoilt >= 0) parameters_[spoilt].grad().fill_(std::numeric_limits<float>::quiet_NaN());
    return loss.item<double>();
  }

  std::vector<at::Tensor> parameters_;
};

class LocalOptimizerTest : public ::testing::TestWithParam<std::string> {
 protected:
  std::unique_ptr<LocalOptimizer> Make(const OptionMap& options = {}) {
    auto made = Registry<LocalOptimizer>::Get().Create({GetParam(), options}, {.parameters = parameters_});
    EXPECT_TRUE(made.ok()) << made.status();
    return made.ok() ? *std::move(made) : nullptr;
  }
  std::vector<float> Values() const {
    std::vector<float> values;
    for (const at::Tensor& tensor : parameters_) {
      const float* const data = tensor.data_ptr<float>();
      values.insert(values.end(), data, data + tensor.numel());
    }
    return values;
  }
  void Restart() {
    const torch::NoGradGuard no_grad;
    parameters_[0].fill_(3);
    parameters_[1].fill_(-2);
  }

  std::vector<at::Tensor> parameters_{at::full({4, 3}, 3.0).requires_grad_(),
                                      at::full({5}, -2.0).requires_grad_()};
  Bowl bowl_{parameters_};
};

TEST_P(LocalOptimizerTest, LowersTheLoss) {
  const auto optimizer = Make();
  const double before = *bowl_.Loss(Oracle::Batch::kCurrent);
  const auto first = optimizer->Step(bowl_);
  ASSERT_TRUE(first.ok()) << first.status();
  EXPECT_NEAR(first->loss, before, 1e-4);
  for (int i = 0; i < 20; ++i) ASSERT_TRUE(optimizer->Step(bowl_).ok());
  EXPECT_LT(*bowl_.Loss(Oracle::Batch::kCurrent), before);
}

TEST_P(LocalOptimizerTest, IsAsNewAfterReset) {
  const auto optimizer = Make();
  std::vector<float> runs[2];
  for (auto& run : runs) {
    Restart();
    optimizer->Reset();
    for (int i = 0; i < 5; ++i) ASSERT_TRUE(optimizer->Step(bowl_).ok());
    run = Values();
  }
  EXPECT_EQ(runs[0], runs[1]);
}

TEST_P(LocalOptimizerTest, AFactorOfTheLearningRateIsALearningRate) {
  const auto optimizer = Make({{"learning_rate", 0.08}});
  optimizer->SetLearningRateFactor(0.5);
  optimizer->SetLearningRateFactor(0.25);  // replaces, does not compound
  for (int i = 0; i < 3; ++i) ASSERT_TRUE(optimizer->Step(bowl_).ok());
  const std::vector<float> scaled = Values();
  Restart();
  const auto plain = Make({{"learning_rate", 0.02}});
  for (int i = 0; i < 3; ++i) ASSERT_TRUE(plain->Step(bowl_).ok());
  const std::vector<float> expected = Values();
  for (size_t i = 0; i < expected.size(); ++i) EXPECT_NEAR(scaled[i], expected[i], 1e-6);
}

TEST_P(LocalOptimizerTest, RefusesANaNGradientByTheParametersIndex) {
  const auto optimizer = Make();
  bowl_.spoilt = 1;
  const auto report = optimizer->Step(bowl_);
  ASSERT_FALSE(report.ok());
  EXPECT_EQ(report.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(Message(report.status()), HasSubstr("parameter 1"));
}

TEST_P(LocalOptimizerTest, HandsOnTheOraclesError) {
  const auto optimizer = Make();
  const std::vector<float> before = Values();
  bowl_.failure = absl::InternalError("no data");
  EXPECT_EQ(optimizer->Step(bowl_).status(), bowl_.failure);
  EXPECT_EQ(Values(), before);
}

TEST_P(LocalOptimizerTest, RefusesALearningRateOfZero) {
  const auto made = Registry<LocalOptimizer>::Get().Create({GetParam(), {{"learning_rate", 0.0}}},
                                                           {.parameters = parameters_});
  ASSERT_FALSE(made.ok());
  EXPECT_THAT(Message(made.status()), HasSubstr("learning_rate"));
}

INSTANTIATE_TEST_SUITE_P(All, LocalOptimizerTest, ::testing::ValuesIn(OptimizersThatLearn()));

TEST(SgdPluginTest, NesterovNeedsMomentum) {
  const auto made = Registry<LocalOptimizer>::Get().Create({"sgd", {{"nesterov", true}}}, {});
  ASSERT_FALSE(made.ok());
  EXPECT_THAT(Message(made.status()), HasSubstr("nesterov"));
}

}  // namespace
}  // namespace muster
