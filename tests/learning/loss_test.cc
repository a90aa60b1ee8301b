#include "learning/loss.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <string>
#include <vector>

namespace muster {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

Dataset WithClasses(int64_t classes) {
  Dataset data;
  data.num_classes = classes;
  return data;
}

TEST(ResolveLossTest, AutoFollowsTheData) {
  EXPECT_EQ(*ResolveLoss("auto", WithClasses(10)), LossKind::kCrossEntropy);
  EXPECT_EQ(*ResolveLoss("auto", WithClasses(2)), LossKind::kCrossEntropy);
  EXPECT_EQ(*ResolveLoss("auto", WithClasses(0)), LossKind::kMse);
  EXPECT_EQ(*ResolveLoss("binary", WithClasses(2)), LossKind::kBinary);
}

TEST(ResolveLossTest, RefusesWhatDoesNotFit) {
  const std::pair<std::string, int64_t> wrong[] = {
      {"binary", 10}, {"binary", 0}, {"cross_entropy", 0}, {"mse", 3}, {"crossentropy", 3}};
  for (const auto& [name, classes] : wrong) {
    const auto loss = ResolveLoss(name, WithClasses(classes));
    ASSERT_FALSE(loss.ok()) << name;
    EXPECT_EQ(loss.status().code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(Message(loss.status()), ::testing::StartsWith("training.loss"));
  }
  EXPECT_THAT(Message(ResolveLoss("crossentropy", WithClasses(3)).status()), HasSubstr("cross_entropy"));
}

TEST(ModelOutputsTest, OnePerClassOrOne) {
  EXPECT_EQ(ModelOutputs(LossKind::kCrossEntropy, WithClasses(10)), 10);
  EXPECT_EQ(ModelOutputs(LossKind::kBinary, WithClasses(2)), 1);
  EXPECT_EQ(ModelOutputs(LossKind::kMse, WithClasses(0)), 1);
}

struct LossCase {
  LossKind kind;
  at::Tensor outputs;
  at::Tensor targets;
  std::vector<double> losses;
};

std::vector<LossCase> Cases() {
  return {
      {LossKind::kCrossEntropy,
       at::tensor({0.0F, 0.0F, std::log(3.0F), 0.0F}).view({2, 2}),
       at::tensor({0, 1}, at::kLong),
       {std::log(2.0), std::log(4.0)}},
      {LossKind::kMse, at::tensor({1.0F, -2.0F}).view({2, 1}), at::tensor({1.5F, 1.0F}), {0.25, 9}},
      {LossKind::kBinary,
       at::tensor({0.0F, std::log(3.0F)}).view({2, 1}),
       at::tensor({1.0F, 0.0F}),
       {std::log(2.0), std::log(4.0)}},
  };
}

TEST(LossTest, HandComputedValues) {
  for (const LossCase& c : Cases()) {
    const at::Tensor losses = SampleLosses(c.kind, c.outputs, c.targets);
    ASSERT_EQ(losses.sizes().vec(), std::vector<int64_t>{2});
    EXPECT_NEAR(losses[0].item<double>(), c.losses[0], 1e-6);
    EXPECT_NEAR(losses[1].item<double>(), c.losses[1], 1e-6);
    EXPECT_NEAR(MeanLoss(c.kind, c.outputs, c.targets).item<double>(), (c.losses[0] + c.losses[1]) / 2, 1e-6);
  }
}

TEST(LossTest, MeanAndSampleLossesHaveTheSameGradient) {
  for (const LossCase& c : Cases()) {
    const at::Tensor outputs = c.outputs.clone().requires_grad_();
    MeanLoss(c.kind, outputs, c.targets).backward();
    const at::Tensor fused = outputs.grad().clone();
    outputs.mutable_grad().reset();
    SampleLosses(c.kind, outputs, c.targets).mean().backward();
    EXPECT_TRUE(at::allclose(outputs.grad(), fused));
    EXPECT_GT(fused.abs().sum().item<double>(), 0);
  }
}

TEST(EvaluationSumsTest, CountsClasses) {
  EvaluationSums sums;
  // Predicted 2, 0 (the first of equals), 1; true 2, 1, 1.
  const at::Tensor outputs = at::tensor({0.0F, 1.0F, 2.0F, 1.0F, 1.0F, 0.0F, -1.0F, 5.0F, 0.0F}).view({3, 3});
  AddBatch(LossKind::kCrossEntropy, outputs, at::tensor({2, 1, 1}, at::kLong), 3, sums);
  EXPECT_EQ(sums.samples, 3);
  EXPECT_THAT(sums.class_samples, ElementsAre(0, 2, 1));
  EXPECT_THAT(sums.class_correct, ElementsAre(0, 1, 1));
  EXPECT_THAT(sums.class_predicted, ElementsAre(1, 1, 1));
}

TEST(EvaluationSumsTest, ALogitAboveZeroIsClassOne) {
  EvaluationSums sums;
  AddBatch(LossKind::kBinary, at::tensor({0.5F, -0.5F, 0.0F}).view({3, 1}), at::tensor({1.0F, 1.0F, 0.0F}), 2,
           sums);
  EXPECT_THAT(sums.class_samples, ElementsAre(1, 2));
  EXPECT_THAT(sums.class_correct, ElementsAre(1, 1));
  EXPECT_THAT(sums.class_predicted, ElementsAre(2, 1));
}

TEST(EvaluationSumsTest, MergeIsAsIfInOneGo) {
  const at::Tensor outputs = at::randn({6, 4});
  const at::Tensor targets = at::tensor({0, 1, 2, 3, 0, 1}, at::kLong);
  EvaluationSums all, head, tail, merged;
  AddBatch(LossKind::kCrossEntropy, outputs, targets, 4, all);
  AddBatch(LossKind::kCrossEntropy, outputs.narrow(0, 0, 2), targets.narrow(0, 0, 2), 4, head);
  AddBatch(LossKind::kCrossEntropy, outputs.narrow(0, 2, 4), targets.narrow(0, 2, 4), 4, tail);
  merged.Merge(head);
  merged.Merge(tail);
  EXPECT_EQ(merged.samples, all.samples);
  EXPECT_NEAR(merged.loss, all.loss, 1e-5);
  EXPECT_EQ(merged.class_samples, all.class_samples);
  EXPECT_EQ(merged.class_correct, all.class_correct);
  EXPECT_EQ(merged.class_predicted, all.class_predicted);
}

TEST(EvaluationSumsTest, RegressionHasNoClasses) {
  EvaluationSums sums;
  AddBatch(LossKind::kMse, at::tensor({1.0F, 2.0F}).view({2, 1}), at::tensor({0.0F, 0.0F}), 0, sums);
  EXPECT_DOUBLE_EQ(sums.loss, 5);
  EXPECT_THAT(sums.class_samples, IsEmpty());
}

}  // namespace
}  // namespace muster
