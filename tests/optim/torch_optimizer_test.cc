// The optimisers as a LibTorch program sees them: closures, parameter groups, archives.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <sstream>
#include <vector>

#include "optim/adagrad.h"
#include "optim/adam.h"
#include "optim/alias.h"
#include "optim/alias_adam.h"
#include "optim/also.h"
#include "optim/clip_sgd.h"
#include "optim/rmsprop.h"
#include "optim/sign_sgd.h"
#include "tests/optim/random_task.h"

namespace muster::optim {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

// Descends half the squared distance from 2.
at::Tensor Loss(const at::Tensor& x) { return 0.5 * (x - 2).square().sum(); }

template <typename Method, typename Options>
void GoesOnFromAnArchive(const Options& options) {
  const auto run = [](Method& method, const at::Tensor& x, int steps) {
    for (int i = 0; i < steps; ++i) {
      method.step([&] {
        method.zero_grad();
        at::Tensor loss = Loss(x);
        loss.backward();
        return loss;
      });
    }
  };
  const at::Tensor straight = at::linspace(-1, 1, 9).requires_grad_();
  Method uninterrupted({straight}, options);
  run(uninterrupted, straight, 30);
  const at::Tensor first = at::linspace(-1, 1, 9).requires_grad_();
  Method before({first}, options);
  run(before, first, 12);
  std::stringstream saved;
  torch::save(before, saved);
  const at::Tensor second = first.detach().clone().requires_grad_();
  Options other;
  other.lr(0.5);
  Method after({second}, other);  // the archive brings the options
  torch::load(after, saved);
  run(after, second, 18);
  EXPECT_TRUE(second.equal(straight));
}

TEST(TorchOptimizerTest, GoesOnFromAnArchiveWithTheSameBits) {
  GoesOnFromAnArchive<Adam>(AdamOptions(0.1).amsgrad(true));
  GoesOnFromAnArchive<AdamW>(AdamWOptions(0.1));
  GoesOnFromAnArchive<RmsProp>(RmsPropOptions(0.1).momentum(0.5));
  GoesOnFromAnArchive<Adagrad>(AdagradOptions(0.1));
  GoesOnFromAnArchive<SignSgd>(SignSgdOptions(0.1).momentum(0.5));
  GoesOnFromAnArchive<Alias>(AliasOptions().gap(5));
  GoesOnFromAnArchive<Alias>(AliasOptions().gap(1).distance("estimate").initial_distance(0.01));
  GoesOnFromAnArchive<Alias>(AliasOptions().gap(1).memory_efficient(true));
  GoesOnFromAnArchive<AliasAdam>(AliasAdamOptions(0.1));
  GoesOnFromAnArchive<ClipSgd>(ClipSgdOptions(0.1).rule("quantile").momentum(0.3));
}

TEST(TorchOptimizerTest, ParameterGroupsHaveTheirOwnLearningRates) {
  const at::Tensor fast = at::ones({3}).requires_grad_();
  const at::Tensor slow = at::ones({3}).requires_grad_();
  std::vector<torch::optim::OptimizerParamGroup> groups;
  groups.emplace_back(std::vector<at::Tensor>{fast});
  groups.emplace_back(std::vector<at::Tensor>{slow}, std::make_unique<SignSgdOptions>(0.125));
  SignSgd method(groups, SignSgdOptions(0.5));
  fast.mutable_grad() = slow.mutable_grad() = at::ones({3});
  method.step();
  EXPECT_TRUE(fast.equal(at::full({3}, 0.5)));
  EXPECT_TRUE(slow.equal(at::full({3}, 0.875)));
}

TEST(TorchOptimizerTest, RefusesOptionsOutOfRange) {
  const std::vector<at::Tensor> x = {at::ones({3}).requires_grad_()};
  EXPECT_THROW(Adam(x, AdamOptions(-1)), c10::Error);
  EXPECT_THROW(Adam(x, AdamOptions().beta1(1)), c10::Error);
  EXPECT_THROW(Alias(x, AliasOptions().gap(10).distance("estimate")), c10::Error);
  EXPECT_THROW(ClipSgd(x, ClipSgdOptions().norm("layers")), c10::Error);
  EXPECT_THROW(Also(x, {0, 0}), c10::Error);
}

TEST(TorchOptimizerTest, RefusesParametersItCannotStep) {
  const at::Tensor wide = at::ones({3}, at::kDouble).requires_grad_();
  wide.mutable_grad() = at::ones({3}, at::kDouble);
  EXPECT_THROW(Adam({wide}).step(), c10::Error);
  const at::Tensor turned = at::ones({2, 3}).t().requires_grad_();
  turned.mutable_grad() = at::ones({3, 2});
  EXPECT_THROW(Adam({turned}).step(), c10::Error);
}

TEST(AliasTest, NeedsAClosureToProbeOrToKnowTheLoss) {
  const at::Tensor x = at::ones({3}).requires_grad_();
  x.mutable_grad() = at::ones({3});
  EXPECT_THROW(Alias({x}).step(), c10::Error);
  EXPECT_THROW(Alias({x}, AliasOptions().gap(1).distance("estimate")).step(), c10::Error);
  Alias(std::vector<at::Tensor>{x}, AliasOptions().gap(1).distance("estimate").initial_smoothness(4)).step();
  EXPECT_TRUE(x.equal(at::full({3}, 0.5)));  // sqrt(1 / 4)
}

TEST(AliasTest, TellsHowOftenTheClampCut) {
  const at::Tensor x = at::zeros({4}).requires_grad_();
  Alias alias({x}, AliasOptions().clamp(1e-3));
  const auto closure = [&] {
    alias.zero_grad();
    at::Tensor loss = Loss(x);
    loss.backward();
    return loss;
  };
  for (int i = 0; i < 20; ++i) alias.step(closure);
  EXPECT_EQ(alias.clamped_share(), 1);
  EXPECT_TRUE(x.allclose(at::full({4}, 0.02)));
}

TEST(AliasTest, RefusesALowerBoundAboveTheLoss) {
  const at::Tensor x = at::full({1}, 2.5).requires_grad_();
  Alias alias({x}, AliasOptions().f_low(1));
  EXPECT_THROW(alias.step([&] {
    at::Tensor loss = Loss(x);
    loss.backward();
    return loss;
  }),
               c10::Error);
}

class AlsoTest : public ::testing::Test {
 protected:
  // 60 samples of 3 groups, a linear model.
  at::Tensor Losses() const { return (at::mv(features_, x_) - targets_).square(); }

  at::Tensor features_ = at::sin(at::arange(240, at::kFloat)).view({60, 4});
  at::Tensor targets_ = at::cos(at::arange(60, at::kFloat));
  at::Tensor groups_ = at::arange(60, at::kLong).remainder(3);
  at::Tensor x_ = at::zeros({4}).requires_grad_();
};

TEST_F(AlsoTest, StaysOnTheSimplex) {
  Also also(std::vector<at::Tensor>{x_}, {1, 2, 3}, AlsoOptions(0.01).pi_lr(1));
  for (int i = 0; i < 300; ++i) {
    also.step([&] { return Losses(); }, groups_);
    double sum = 0;
    for (const float weight : also.weights()) {
      EXPECT_GT(weight, 0);
      sum += static_cast<double>(weight);
    }
    ASSERT_NEAR(sum, 1, 1e-5);
  }
}

TEST_F(AlsoTest, WithoutWeightStepsDescentAscentIsAdam) {
  Also also(std::vector<at::Tensor>{x_}, {1, 1, 1},
            AlsoOptions(0.01).mode("descent_ascent").pi_lr(0).eps(1e-12).weight_decay(0.01));
  const at::Tensor plain = at::zeros({4}).requires_grad_();
  torch::optim::Adam adam({plain}, torch::optim::AdamOptions(0.01).eps(1e-12).weight_decay(0.01));
  for (int i = 0; i < 100; ++i) {
    also.step([&] { return Losses(); }, groups_);
    adam.zero_grad();
    (at::mv(features_, plain) - targets_).square().mean().backward();
    adam.step();
  }
  EXPECT_TRUE(x_.allclose(plain, 0, 1e-6)) << x_ << plain;
}

TEST_F(AlsoTest, GoesOnFromAnArchiveWithTheSameBits) {
  Also straight(std::vector<at::Tensor>{x_}, {1, 2, 3}, AlsoOptions(0.01).pi_lr(0.1));
  std::stringstream saved;
  at::Tensor middle;
  for (int i = 0; i < 20; ++i) {
    if (i == 9) {
      torch::save(straight, saved);
      middle = x_.detach().clone().requires_grad_();
    }
    straight.step([&] { return Losses(); }, groups_);
  }
  Also after(std::vector<at::Tensor>{middle}, {1, 2, 3});
  torch::load(after, saved);
  for (int i = 9; i < 20; ++i) {
    after.step([&] { return (at::mv(features_, middle) - targets_).square(); }, groups_);
  }
  EXPECT_TRUE(middle.equal(x_));
  EXPECT_EQ(after.weights(), straight.weights());
}

TEST_F(AlsoTest, RefusesAGroupThatThereIsNot) {
  Also also(std::vector<at::Tensor>{x_}, {1, 1});
  EXPECT_THROW(also.step([&] { return Losses(); }, groups_), c10::Error);
  EXPECT_TRUE(x_.equal(at::zeros({4})));
}

TEST(SelectBatchTest, TakesWhatTheHeavyGroupsLeave) {
  Random random({.seed = 1});
  const std::vector<float> weights = {0.5F, 0.3F, 0.15F, 0.03F, 0.02F};  // three groups hold 0.9
  for (const bool by_weight : {true, false}) {
    const std::vector<int64_t> batch = SelectBatch(weights, 0.9, by_weight, random);
    EXPECT_EQ(batch.size(), 2U);
    EXPECT_NE(batch[0], batch[1]);
  }
  EXPECT_EQ(SelectBatch({1, 0, 0}, 0.9, true, random).front(), 0);
  int heaviest = 0;
  for (int i = 0; i < 1000; ++i) heaviest += SelectBatch({0.9F, 0.1F}, 0.95, true, random)[0] == 0;
  EXPECT_NEAR(heaviest, 900, 40);
}

TEST(ClipScheduleTest, HasItsTwoCases) {
  // A = ln(80000) = 11.29: L1 R0 = 9 is the smaller, so gamma = R0 / (c lambda A).
  const ClipSchedule one = ScheduleClipping({.l0 = 4.0 / 9,
                                             .l1 = 3,
                                             .r0 = 3,
                                             .sigma = 10.7,
                                             .alpha = 1.5,
                                             .horizon = 1000,
                                             .delta = 0.05,
                                             .c = 0.5});
  EXPECT_NEAR(one.level, 10.7 * std::pow(1000 / std::log(80000.0), 1 / 1.5), 1e-9);
  EXPECT_NEAR(one.step_size, 3 / (0.5 * one.level * std::log(80000.0)), 1e-12);
  // Without noise and with L1 R0 large: clipped gradient descent, gamma = 1 / (c L0), lambda = L0 / L1.
  const ClipSchedule two = ScheduleClipping({.l0 = 2, .l1 = 40, .r0 = 3, .sigma = 0, .c = 2});
  EXPECT_DOUBLE_EQ(two.level, 0.05);
  EXPECT_DOUBLE_EQ(two.step_size, 3 / (2 * 0.05 * 120));
}

}  // namespace
}  // namespace muster::optim
