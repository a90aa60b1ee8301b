// What a method's client half does to a job of Muster's own trainer.
#include <gmock/gmock.h>

#include <memory>
#include <numeric>
#include <vector>

#include "client/local_trainer.h"
#include "core/random.h"

namespace muster {
namespace {

using ::testing::HasSubstr;

// Makes its steps by losses alone.
class ByLosses final : public LocalOptimizer {
 public:
  absl::StatusOr<StepReport> Step(Oracle& oracle) override {
    StepReport report;
    MUSTER_ASSIGN_OR_RETURN(report.loss, oracle.Loss(Oracle::Batch::kCurrent));
    return report;
  }
  void SetLearningRateFactor(double /*factor*/) override {}
  void Reset() override {}
};
MUSTER_REGISTER(LocalOptimizer, Plugin("by_losses", "Makes no gradient").Make<ByLosses>());

class TrainerWithMethod : public testing::Test {
 protected:
  static constexpr float kRate = 0.1F;

  TrainerWithMethod() {
    data_.sample_shape = {4};
    data_.num_classes = 3;
    Random random({.seed = 11});
    for (int i = 0; i < 12; ++i) {
      data_.labels.push_back(i % 3);
      for (int j = 0; j < 4; ++j) data_.inputs.push_back(static_cast<float>(random.Normal()));
    }
    samples_.resize(12);
    std::iota(samples_.begin(), samples_.end(), 0U);
  }

  // Steps on all of the data from the initial model; the change.
  absl::StatusOr<std::vector<float>> Train(const PluginConfig& method, TrainingJob job, State& memory,
                                           TrainingResult* result = nullptr,
                                           const PluginConfig& optimizer = {"sgd", {{"learning_rate", 0.1}}},
                                           OptimizerState keep = OptimizerState::kReset) {
    auto model = *MakeModel({"softmax", {}}, {.input_shape = {4}, .outputs = 3, .folder = ""}, /*seed=*/3);
    const std::vector<float> global(model->values().begin(), model->values().end());
    MUSTER_ASSIGN_OR_RETURN(
        const auto trainer,
        LocalTrainer::Create(
            std::move(model), data_,
            {.batch_size = 12, .optimizer = optimizer, .optimizer_state = keep, .method = method}));
    std::vector<float> delta(global.size());
    MUSTER_ASSIGN_OR_RETURN(const TrainingResult trained,
                            trainer->Train(job, global, samples_, delta, memory));
    if (result != nullptr) *result = trained;
    return delta;
  }
  std::vector<float> Delta(const PluginConfig& method, const TrainingJob& job) {
    State memory;
    auto delta = Train(method, job, memory);
    EXPECT_TRUE(delta.ok()) << delta.status();
    return delta.ok() ? *delta : std::vector<float>();
  }

  Dataset data_;
  std::vector<uint32_t> samples_;
};

TEST_F(TrainerWithMethod, AStepOfScaffoldIsTheGradientMovedByTheControls) {
  for (const double factor : {1.0, 0.5}) {
    TrainingJob job{.steps = 1, .learning_rate_factor = factor};
    const std::vector<float> plain = Delta({"none", {}}, job);
    const size_t size = plain.size();
    const std::vector<float> control(size, 0.25F), own(size, 1.0F);
    job.vectors["method/control"] = std::make_shared<const std::vector<float>>(control);
    State memory{.vectors = {{"method/control", own}}, .numbers = {}};
    TrainingResult result;
    const auto delta = Train({"scaffold", {}}, job, memory, &result);
    ASSERT_TRUE(delta.ok()) << delta.status();
    const float rate = kRate * static_cast<float>(factor);
    for (size_t i = 0; i < size; ++i) {
      const float gradient = -plain[i] / rate;
      EXPECT_NEAR((*delta)[i], plain[i] - rate * (0.25F - 1.0F), 1e-6F);
      EXPECT_NEAR(result.extras.at("method/control_change")[i], gradient - 1.0F, 1e-5F);
      EXPECT_NEAR(memory.vectors.at("method/control")[i], gradient, 1e-5F);
    }
  }
}

TEST_F(TrainerWithMethod, FedProxPullsFromTheSecondStepOn) {
  const std::vector<float> one = Delta({"none", {}}, {.steps = 1}), two = Delta({"none", {}}, {.steps = 2});
  const PluginConfig pulled{"fedprox", {{"mu", 2.0}}};
  EXPECT_EQ(Delta(pulled, {.steps = 1}), one);
  const std::vector<float> two_pulled = Delta(pulled, {.steps = 2});
  for (size_t i = 0; i < one.size(); ++i) EXPECT_NEAR(two_pulled[i], two[i] - kRate * 2 * one[i], 1e-6F);
}

TEST_F(TrainerWithMethod, FedNovaSendsTheMeanStep) {
  State memory;
  TrainingResult result;
  const std::vector<float> plain = Delta({"none", {}}, {.steps = 4});
  const auto delta = Train({"fednova", {}}, {.steps = 4}, memory, &result);
  ASSERT_TRUE(delta.ok()) << delta.status();
  for (size_t i = 0; i < plain.size(); ++i) EXPECT_FLOAT_EQ((*delta)[i], plain[i] / 4);
  EXPECT_EQ(result.numbers.at("method/normalizer"), std::vector<double>{4});
  EXPECT_TRUE(memory.empty());
}

TEST_F(TrainerWithMethod, TheMethodsMemoryAndTheOptimisersStayApart) {
  State memory;
  const PluginConfig optimizer{"sgd", {{"learning_rate", 0.1}, {"momentum", 0.5}}};
  const auto delta =
      Train({"feddyn", {{"alpha", 0.5}}}, {.steps = 3}, memory, nullptr, optimizer, OptimizerState::kKeep);
  ASSERT_TRUE(delta.ok()) << delta.status();
  std::vector<float> expected;
  for (const float change : *delta) expected.push_back(-0.5F * change);
  EXPECT_THAT(memory.vectors.at("method/gradient"), testing::Pointwise(testing::FloatEq(), expected));
  EXPECT_TRUE(memory.vectors.contains("optimizer/momentum"));
  EXPECT_EQ(memory.vectors.size(), 3U);  // and the optimiser's steps
}

TEST_F(TrainerWithMethod, AnOptimiserWithoutGradientsIsRefusedByMethodsThatCorrectThem) {
  const PluginConfig losses{"by_losses", {}};
  State memory;
  EXPECT_TRUE(Train({"none", {}}, {.steps = 1}, memory, nullptr, losses).ok());
  EXPECT_TRUE(Train({"fednova", {}}, {.steps = 1}, memory, nullptr, losses).ok());
  EXPECT_TRUE(Train({"fedprox", {{"mu", 0.0}}}, {.steps = 1}, memory, nullptr, losses).ok());
  EXPECT_THAT(Message(Train({"fedprox", {}}, {.steps = 1}, memory, nullptr, losses).status()),
              HasSubstr("fedprox corrects gradients, and the optimizer by_losses asks for none"));
}

}  // namespace
}  // namespace muster
