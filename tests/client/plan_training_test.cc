// Training by a static plan against training by autograd, for every registered optimiser.
#include <gmock/gmock.h>

#include <cmath>
#include <numeric>

#include "client/local_trainer.h"
#include "core/random.h"
#include "learning/dense.h"
#include "tests/optim/optimizers.h"

namespace muster {
namespace {

Dataset Data() {
  Dataset data;
  data.sample_shape = {12};
  data.num_classes = 3;
  Random random({.seed = 1});
  for (int64_t i = 0; i < 60; ++i) {
    data.labels.push_back(i % 3);
    for (int64_t j = 0; j < 12; ++j) {
      data.inputs.push_back(static_cast<float>(random.Normal() + (j % 3 == i % 3 ? 1 : 0)));
    }
  }
  return data;
}

class PlanTrainingTest : public testing::TestWithParam<std::string> {
 protected:
  // Two jobs, so that a second one starts from whatever the first left behind.
  std::vector<float> Train(bool static_plan, std::vector<double>& losses) const {
    auto model =
        MakeModel({"mlp", {{"hidden", std::vector<int64_t>{8}}, {"activation", std::string("tanh")}}},
                  {{12}, 3, ""}, 3);
    EXPECT_TRUE(model.ok()) << model.status();
    std::vector<float> global((*model)->values().begin(), (*model)->values().end()), delta(global.size());
    auto trainer =
        LocalTrainer::Create(*std::move(model), data_,
                             {.batch_size = 9, .static_plan = static_plan, .optimizer = {GetParam(), {}}});
    EXPECT_TRUE(trainer.ok()) << trainer.status();
    std::vector<uint32_t> samples(60);
    std::iota(samples.begin(), samples.end(), 0U);
    for (int64_t round = 0; round < 2; ++round) {
      const auto result = (*trainer)->Train({.seed = 2, .round = round, .epochs = 2}, global, samples, delta);
      EXPECT_TRUE(result.ok()) << result.status();
      losses.push_back(result->train_loss);
      for (size_t i = 0; i < global.size(); ++i) global[i] += delta[i];
    }
    return global;
  }
  const Dataset data_ = Data();
};

TEST_P(PlanTrainingTest, EndsWhereAutogradEndsUpToRounding) {
  if (!HasFastDense()) GTEST_SKIP() << "this processor has no fused multiply-add";
  std::vector<double> by_plan, by_autograd;
  const std::vector<float> plan = Train(true, by_plan), autograd = Train(false, by_autograd);
  double difference = 0, norm = 0;
  for (size_t i = 0; i < plan.size(); ++i) {
    difference += std::pow(double{plan[i]} - autograd[i], 2);
    norm += std::pow(double{autograd[i]}, 2);
  }
  EXPECT_LE(std::sqrt(difference / norm), 1e-3);
  for (size_t round = 0; round < 2; ++round) EXPECT_NEAR(by_plan[round], by_autograd[round], 1e-3);
}

// Not those of tests; nor ALIAS, whose long steps by signs magnify what rounding leaves in its probe of the
// smoothness.
std::vector<std::string> Optimizers() {
  std::vector<std::string> names = OptimizersThatLearn();
  std::erase_if(names, [](const std::string& name) {
    return name.starts_with("test_") || name == "alias" || name == "alias_vote";
  });
  return names;
}

INSTANTIATE_TEST_SUITE_P(Registered, PlanTrainingTest, testing::ValuesIn(Optimizers()),
                         [](const auto& info) { return info.param; });

}  // namespace
}  // namespace muster
