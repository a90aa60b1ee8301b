#include "client/local_trainer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <memory>
#include <numeric>
#include <string>
#include <thread>
#include <vector>

#include "core/random.h"
#include "core/statistics.h"
#include "optim/gradient_noise.h"

namespace muster {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr int64_t kColumns = 6;

// Noise around a centre per class (or a linear rule, for regression).
Dataset MakeData(int64_t size, int64_t classes, std::vector<int64_t> shape = {kColumns}) {
  Dataset data;
  data.sample_shape = std::move(shape);
  data.num_classes = classes;
  const int64_t sample_size =
      std::accumulate(data.sample_shape.begin(), data.sample_shape.end(), int64_t{1}, std::multiplies<>());
  Random random({.seed = 11});
  for (int64_t i = 0; i < size; ++i) {
    const auto label =
        static_cast<int64_t>(random.Below(static_cast<uint64_t>(std::max<int64_t>(classes, 1))));
    double target = 0.5;
    for (int64_t j = 0; j < sample_size; ++j) {
      const double x = 0.5 * random.Normal() + (classes > 0 && j % classes == label ? 1.5 : 0);
      data.inputs.push_back(static_cast<float>(x));
      target += (j % 2 == 0 ? 0.3 : -0.2) * x;
    }
    if (classes > 0) {
      data.labels.push_back(label);
    } else {
      data.values.push_back(static_cast<float>(target));
    }
  }
  return data;
}

std::vector<uint32_t> FirstSamples(int64_t count) {
  std::vector<uint32_t> samples(static_cast<size_t>(count));
  std::iota(samples.begin(), samples.end(), 0U);
  return samples;
}

struct Training {
  PluginConfig model{"softmax", {}};
  TrainerOptions options{.batch_size = 8, .optimizer = {"sgd", {{"learning_rate", 0.1}}}};
};

// A trainer with its global model.
struct Fixture {
  Fixture(const Dataset& data, const Training& training = {}) {
    auto flat = MakeModel(training.model,
                          {.input_shape = data.sample_shape,
                           .outputs = ModelOutputs(training.options.loss, data),
                           .folder = ""},
                          3);
    EXPECT_TRUE(flat.ok()) << flat.status();
    global.assign((*flat)->values().begin(), (*flat)->values().end());
    auto made = LocalTrainer::Create(*std::move(flat), data, training.options);
    EXPECT_TRUE(made.ok()) << made.status();
    trainer = *std::move(made);
    delta.resize(global.size());
  }
  absl::StatusOr<TrainingResult> Train(const TrainingJob& job, std::span<const uint32_t> samples) {
    return trainer->Train(job, global, samples, delta);
  }

  std::vector<float> global;
  std::vector<float> delta;
  std::unique_ptr<LocalTrainer> trainer;
};

TEST(LocalTrainerTest, OneStepOfSoftmaxRegressionByHand) {
  const Dataset data = MakeData(5, 3);
  Training training;
  training.options.shuffle = false;
  Fixture fixture(data, training);
  const auto samples = FirstSamples(5);
  const auto result =
      fixture.Train({.seed = 1, .round = 2, .client = 3, .learning_rate_factor = 0.5}, samples);
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(result->steps, 1);
  EXPECT_EQ(result->num_samples, 5);
  EXPECT_NEAR(result->train_loss, std::log(3.0), 1e-6);
  // From zero every class has probability 1/3: d loss / d w[c][j] = mean((1/3 - [y = c]) * x[j]).
  for (int64_t c = 0; c < 3; ++c) {
    for (int64_t j = 0; j < kColumns; ++j) {
      double gradient = 0;
      for (int64_t i = 0; i < 5; ++i) {
        gradient += (1.0 / 3 - (data.labels[i] == c ? 1 : 0)) * data.inputs[i * kColumns + j] / 5;
      }
      EXPECT_NEAR(fixture.delta[c * kColumns + j], -0.05 * gradient, 1e-7) << c << "," << j;
    }
  }
}

TEST(LocalTrainerTest, OneStepOfRegressionByHand) {
  const Dataset data = MakeData(4, 0);
  Training training;
  training.options.loss = LossKind::kMse;
  Fixture fixture(data, training);
  ASSERT_TRUE(fixture.Train({}, FirstSamples(4)).ok());
  double mean = 0;
  for (const float value : data.values) mean += value / 4;
  EXPECT_NEAR(fixture.delta.back(), 0.1 * 2 * mean, 1e-6);  // the bias
}

TEST(LocalTrainerTest, OneStepOfBinaryByHand) {
  const Dataset data = MakeData(4, 2);
  Training training;
  training.options.loss = LossKind::kBinary;
  Fixture fixture(data, training);
  EXPECT_EQ(fixture.trainer->layout().size, kColumns + 1);
  ASSERT_TRUE(fixture.Train({}, FirstSamples(4)).ok());
  double mean = 0;
  for (const int64_t label : data.labels) mean += (0.5 - static_cast<double>(label)) / 4;
  EXPECT_NEAR(fixture.delta.back(), -0.1 * mean, 1e-6);
}

TEST(LocalTrainerTest, CountsStepsEpochsAndPartialBatches) {
  const Dataset data = MakeData(20, 3);
  Fixture fixture(data);
  const auto samples = FirstSamples(20);
  EXPECT_EQ(fixture.Train({}, samples)->steps, 3);  // 8 + 8 + 4
  EXPECT_EQ(fixture.Train({.epochs = 4}, samples)->steps, 12);
  EXPECT_EQ(fixture.Train({.epochs = 4, .steps = 7}, samples)->steps, 7);
  EXPECT_EQ(fixture.Train({.epochs = 2}, FirstSamples(1))->steps, 2);
  EXPECT_EQ(fixture.Train({.epochs = 1}, FirstSamples(16))->steps, 2);
}

TEST(LocalTrainerTest, StepsCycleThroughEpochs) {
  const Dataset data = MakeData(20, 3);
  Fixture fixture(data);
  const auto samples = FirstSamples(16);
  ASSERT_TRUE(fixture.Train({.epochs = 2}, samples).ok());
  const std::vector<float> by_epochs = fixture.delta;
  ASSERT_TRUE(fixture.Train({.steps = 4}, samples).ok());
  EXPECT_EQ(fixture.delta, by_epochs);
}

TEST(LocalTrainerTest, StepsTakeFullBatchesOverTheEndOfAnEpoch) {
  const Dataset data = MakeData(20, 3);
  Training in_order;
  in_order.options.batch_size = 8;
  in_order.options.shuffle = false;
  Fixture fixture(data, in_order);
  const auto samples = FirstSamples(20);
  ASSERT_TRUE(fixture.Train({.steps = 5}, samples).ok());
  const std::vector<float> by_steps = fixture.delta;
  // The same samples twice in a row, as one epoch of 8 + 8 + 8 + 8 + 8.
  std::vector<uint32_t> twice(samples.begin(), samples.end());
  twice.insert(twice.end(), samples.begin(), samples.end());
  ASSERT_TRUE(fixture.Train({.epochs = 1}, twice).ok());
  EXPECT_EQ(fixture.delta, by_steps);
  // A client with less than a batch steps on all it has.
  EXPECT_EQ(fixture.Train({.steps = 3}, FirstSamples(5))->steps, 3);
}

TEST(LocalTrainerTest, ShufflingDependsOnTheKeyAlone) {
  const Dataset data = MakeData(20, 3);
  Fixture fixture(data);
  const auto samples = FirstSamples(20);
  const TrainingJob job{.seed = 1, .round = 2, .client = 3};
  const auto delta = [&](const TrainingJob& j) {
    EXPECT_TRUE(fixture.Train(j, samples).ok());
    return fixture.delta;
  };
  const std::vector<float> base = delta(job);
  EXPECT_EQ(delta(job), base);
  EXPECT_NE(delta({.seed = 2, .round = 2, .client = 3}), base);
  EXPECT_NE(delta({.seed = 1, .round = 3, .client = 3}), base);
  EXPECT_NE(delta({.seed = 1, .round = 2, .client = 4}), base);
}

// What randomness and state a job meets, by model and optimiser.
class SameBitsTest : public ::testing::TestWithParam<std::pair<std::string, std::string>> {
 protected:
  static Training MakeTraining() {
    Training training;
    training.model = {GetParam().first, {}};
    if (GetParam().first == "tabular_mlp") training.model.options["dropout"] = 0.3;
    training.options.optimizer = {GetParam().second, {{"learning_rate", 0.01}}};
    if (GetParam().second == "sgd") training.options.optimizer.options["momentum"] = 0.9;
    return training;
  }
  static Dataset Data() {
    return GetParam().first == "tabular_mlp" ? MakeData(40, 3) : MakeData(40, 10, {1, 28, 28});
  }
};

TEST_P(SameBitsTest, WhateverRanBeforeAndOnWhateverThread) {
  const Dataset data = Data();
  const auto samples = FirstSamples(30);
  const TrainingJob job{.seed = 1, .round = 5, .client = 9, .epochs = 2};
  Fixture alone(data, MakeTraining());
  ASSERT_TRUE(alone.Train(job, samples).ok());
  const std::vector<float> expected = alone.delta;

  Fixture busy(data, MakeTraining());
  for (int64_t client = 0; client < 2; ++client) {
    ASSERT_TRUE(busy.Train({.seed = 1, .round = 4, .client = client}, FirstSamples(7)).ok());
    ASSERT_TRUE(busy.trainer->Evaluate(busy.global, data, FirstSamples(40)).ok());
    ASSERT_TRUE(busy.Train(job, samples).ok());
    EXPECT_EQ(busy.delta, expected);
  }

  std::vector<std::unique_ptr<Fixture>> fixtures;
  std::vector<std::thread> threads;
  for (int i = 0; i < 3; ++i) fixtures.push_back(std::make_unique<Fixture>(data, MakeTraining()));
  for (const auto& fixture : fixtures) {
    threads.emplace_back([&samples, &job, &f = *fixture] {
      for (int run = 0; run < 3; ++run) EXPECT_TRUE(f.Train(job, samples).ok());
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (const auto& fixture : fixtures) EXPECT_EQ(fixture->delta, expected);
}

INSTANTIATE_TEST_SUITE_P(Kinds, SameBitsTest,
                         ::testing::Values(std::pair("softmax", "sgd"), std::pair("mlp", "adam"),
                                           std::pair("tabular_mlp", "sgd"), std::pair("tabular_mlp", "adamw"),
                                           std::pair("lenet", "sgd")));

TEST(LocalTrainerTest, AWorkerThreadUsesOneCore) {
  const Dataset data = MakeData(8, 3);
  Fixture fixture(data);
  int threads = 0;
  std::thread([&] {
    EXPECT_TRUE(fixture.Train({}, FirstSamples(8)).ok());
    threads = at::get_num_threads();
  }).join();
  EXPECT_EQ(threads, 1);
}

TEST(LocalTrainerTest, TrainingLowersTheLoss) {
  for (const auto& [loss, classes] :
       {std::pair(LossKind::kCrossEntropy, int64_t{3}), std::pair(LossKind::kMse, int64_t{0}),
        std::pair(LossKind::kBinary, int64_t{2})}) {
    const Dataset data = MakeData(60, classes);
    Training training;
    training.model = {"mlp", {{"hidden", std::vector<int64_t>{16}}}};
    training.options.loss = loss;
    Fixture fixture(data, training);
    const auto samples = FirstSamples(60);
    const auto before = fixture.trainer->Evaluate(fixture.global, data, samples);
    ASSERT_TRUE(before.ok()) << before.status();
    const auto result = fixture.Train({.epochs = 10}, samples);
    ASSERT_TRUE(result.ok()) << result.status();
    std::vector<float> local = fixture.global;
    for (size_t i = 0; i < local.size(); ++i) local[i] += fixture.delta[i];
    const auto after = fixture.trainer->Evaluate(local, data, samples);
    ASSERT_TRUE(after.ok()) << after.status();
    EXPECT_LT(after->loss, 0.7 * before->loss);
    EXPECT_LT(result->train_loss * 60, before->loss);
    EXPECT_EQ(after->class_samples.size(), static_cast<size_t>(classes));
  }
}

TEST(LocalTrainerTest, EvaluationIsASumOverSamples) {
  const Dataset data = MakeData(1203, 3);  // two full evaluation batches and a partial one
  Fixture fixture(data);
  const auto samples = FirstSamples(1203);
  Random random({.seed = 2});
  for (float& value : fixture.global) value = static_cast<float>(random.Normal());
  const auto all = fixture.trainer->Evaluate(fixture.global, data, samples);
  ASSERT_TRUE(all.ok()) << all.status();
  EXPECT_EQ(all->samples, 1203);
  EvaluationSums merged;
  for (size_t i = 0; i < samples.size(); i += 401) {
    merged.Merge(*fixture.trainer->Evaluate(fixture.global, data, std::span(samples).subspan(i, 401)));
  }
  EXPECT_NEAR(merged.loss, all->loss, 1e-3);
  EXPECT_EQ(merged.class_correct, all->class_correct);
  EXPECT_EQ(std::accumulate(all->class_samples.begin(), all->class_samples.end(), int64_t{0}), 1203);
  EXPECT_EQ(std::accumulate(all->class_predicted.begin(), all->class_predicted.end(), int64_t{0}), 1203);

  const auto none = fixture.trainer->Evaluate(fixture.global, data, {});
  ASSERT_TRUE(none.ok());
  EXPECT_EQ(none->samples, 0);
  EXPECT_THAT(none->class_samples, ElementsAre(0, 0, 0));
}

TEST(LocalTrainerTest, ReportsDivergenceByRoundClientAndStep) {
  Dataset data = MakeData(16, 0);
  for (float& value : data.inputs) value *= 1e4F;
  Training training;
  training.options.loss = LossKind::kMse;
  training.options.optimizer.options["learning_rate"] = 1e6;
  Fixture fixture(data, training);
  const auto result = fixture.Train({.round = 3, .client = 7, .epochs = 50}, FirstSamples(16));
  ASSERT_FALSE(result.ok());
  EXPECT_EQ(result.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(Message(result.status()),
              AllOf(HasSubstr("round 3, client 7, step "), HasSubstr("learning rate")));

  // The trainer is none the worse for it.
  std::vector<float> clean(fixture.global.size());
  Dataset fine = MakeData(16, 0);
  data.inputs = fine.inputs;
  EXPECT_TRUE(
      fixture.trainer->Train({.learning_rate_factor = 1e-7}, fixture.global, FirstSamples(16), clean).ok());
}

TEST(LocalTrainerTest, ReportsANaNInTheGivenModel) {
  const Dataset data = MakeData(8, 3);
  Fixture fixture(data);
  fixture.global[0] = std::numeric_limits<float>::quiet_NaN();
  EXPECT_THAT(Message(fixture.Train({}, FirstSamples(8)).status()), HasSubstr("step 1: the loss is nan"));
}

TEST(LocalTrainerTest, RefusesWrongInput) {
  const Dataset data = MakeData(8, 3);
  Fixture fixture(data);
  const auto error = [&](const TrainingJob& job, ConstParameters global, std::span<const uint32_t> samples) {
    const auto result = fixture.trainer->Train(job, global, samples, fixture.delta);
    EXPECT_FALSE(result.ok());
    return Message(result.status());
  };
  const auto samples = FirstSamples(8);
  EXPECT_THAT(error({.client = 4}, fixture.global, {}), HasSubstr("client 4: the client has no samples"));
  EXPECT_THAT(error({.epochs = 0}, fixture.global, samples), HasSubstr("neither epochs nor steps"));
  EXPECT_THAT(error({}, std::span(fixture.global).first(3), samples), HasSubstr("3 elements"));
  EXPECT_THAT(error({}, fixture.global, FirstSamples(9)), HasSubstr("no sample 8"));
  const Dataset other = MakeData(8, 3, {4});
  EXPECT_THAT(Message(fixture.trainer->Evaluate(fixture.global, other, samples).status()), HasSubstr("{4}"));
}

TEST(LocalTrainerTest, AnErrorOfLibTorchIsAStatus) {
  const Dataset data = MakeData(8, 3);
  auto flat = MakeModel({"softmax", {}}, {.input_shape = {kColumns + 1}, .outputs = 3, .folder = ""}, 1);
  const std::vector<float> global((*flat)->values().begin(), (*flat)->values().end());
  std::vector<float> delta(global.size());
  const auto trainer = LocalTrainer::Create(*std::move(flat), data, Training().options);
  const auto status = (*trainer)->Train({.round = 1, .client = 2}, global, FirstSamples(8), delta).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInternal);
  EXPECT_THAT(Message(status), AllOf(HasSubstr("round 1, client 2"), ::testing::Not(HasSubstr("\n"))));
}

TEST(LocalTrainerTest, CreateRefusesWrongOptions) {
  const Dataset data = MakeData(8, 3);
  const auto error = [&](const TrainerOptions& options) {
    auto flat = MakeModel({"softmax", {}}, {.input_shape = {kColumns}, .outputs = 3, .folder = ""}, 1);
    return Message(LocalTrainer::Create(*std::move(flat), data, options).status());
  };
  EXPECT_THAT(error({.batch_size = 0, .optimizer = {"sgd", {}}}), HasSubstr("training.batch_size"));
  EXPECT_THAT(error({.optimizer = {"sdg", {}}}), AllOf(HasSubstr("training.optimizer"), HasSubstr("'sgd'")));
}

// A method that asks for everything an oracle offers.
class Curious final : public LocalOptimizer {
 public:
  explicit Curious(const NoOptions& /*options*/) {}
  absl::StatusOr<StepReport> Step(Oracle& oracle) override {
    StepReport report;
    MUSTER_ASSIGN_OR_RETURN(report.loss, oracle.Loss(Oracle::Batch::kCurrent));
    MUSTER_ASSIGN_OR_RETURN(const at::Tensor losses, oracle.SampleLosses(Oracle::Batch::kCurrent));
    EXPECT_NEAR(losses.mean().item<double>(), report.loss, 1e-5);
    MUSTER_ASSIGN_OR_RETURN(const at::Tensor weighted,
                            oracle.WeightedGradient(Oracle::Batch::kCurrent, [](const at::Tensor& values) {
                              return at::full_like(values, 1.0 / static_cast<double>(values.numel()));
                            }));
    EXPECT_TRUE(weighted.equal(losses));
    for (const char* by : {"class", "sample"}) {
      MUSTER_ASSIGN_OR_RETURN(const at::Tensor groups, oracle.Groups(by));
      EXPECT_EQ(groups.sizes(), losses.sizes());
      MUSTER_ASSIGN_OR_RETURN(const std::vector<int64_t> sizes, oracle.GroupSizes(by));
      EXPECT_LT(groups.max().item<int64_t>(), static_cast<int64_t>(sizes.size()));
      EXPECT_EQ(std::accumulate(sizes.begin(), sizes.end(), int64_t{0}), 20);
    }
    EXPECT_THAT(Message(oracle.Groups("clas").status()), HasSubstr("'class'"));
    MUSTER_ASSIGN_OR_RETURN(const double same, oracle.Gradient(Oracle::Batch::kCurrent));
    EXPECT_NEAR(same, report.loss, 1e-5);
    MUSTER_ASSIGN_OR_RETURN(const double next, oracle.Gradient(Oracle::Batch::kNext));
    EXPECT_TRUE(std::isfinite(next));
    return report;
  }
  void SetLearningRateFactor(double /*factor*/) override {}
  void Reset() override {}
};
MUSTER_REGISTER(LocalOptimizer, Plugin("test_curious", "Asks for everything").Make<Curious>());

TEST(LocalTrainerTest, TheOracleAnswersEveryQuestion) {
  const Dataset data = MakeData(20, 3);
  Training training;
  training.options.optimizer = {"test_curious", {}};
  Fixture fixture(data, training);
  const auto result = fixture.Train({}, FirstSamples(20));
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(result->steps, 2);  // two batches a step: three batches are spent in the second
  EXPECT_THAT(fixture.delta, ::testing::Each(0.0F));
}

TEST(LocalTrainer, GradientNoiseIsTheJobsOwnAndOnlyWhereAskedFor) {
  const Dataset data = MakeData(40, 3);
  const auto delta_with = [&](const std::string& noise, int64_t client) {
    Training training;
    training.options.gradient_noise = {.name = noise, .options = {}};
    Fixture fixture(data, training);
    const auto trained = fixture.trainer->Train({.seed = 1, .round = 2, .client = client, .steps = 3},
                                                fixture.global, FirstSamples(40), fixture.delta);
    EXPECT_TRUE(trained.ok()) << trained.status();
    return fixture.delta;
  };
  for (const std::string& noise : Registry<GradientNoise>::Get().Names()) {
    EXPECT_EQ(delta_with(noise, 5), delta_with(noise, 5)) << noise;
    EXPECT_EQ(delta_with(noise, 5) == delta_with("none", 5), noise == "none") << noise;
  }
}

TEST(LocalTrainerTest, StatisticsAreOfTheGivenModelAndTrainingDoesNotNotice) {
  const Dataset data = MakeData(20, 3);
  Training training;
  training.options.shuffle = false;
  Fixture fixture(data, training);
  const std::vector<uint32_t> samples = FirstSamples(20);
  const TrainingJob job{.seed = 5, .round = 2, .client = 1, .epochs = 2};
  ASSERT_TRUE(fixture.Train(job, samples).ok());
  const std::vector<float> silent = fixture.delta;
  TrainingJob asked = job;
  asked.statistics = {statistics::kLoss, statistics::kLossRms, statistics::kGradientDeviation, "unknown"};
  const auto told = fixture.Train(asked, samples);
  ASSERT_TRUE(told.ok()) << told.status();
  EXPECT_EQ(fixture.delta, silent);
  EXPECT_EQ(told->numbers.size(), 3U);

  double sum = 0, squares = 0;
  for (const uint32_t sample : samples) {
    const auto sums = fixture.trainer->Evaluate(fixture.global, data, std::span(&sample, 1));
    ASSERT_TRUE(sums.ok());
    sum += sums->loss;
    squares += sums->loss * sums->loss;
  }
  EXPECT_NEAR(told->numbers.at(statistics::kLoss).at(0), sum / 20, 1e-6);
  EXPECT_NEAR(told->numbers.at(statistics::kLossRms).at(0), std::sqrt(squares / 20), 1e-6);

  // A step of plain SGD with rate 0.1 on one batch shows that batch's gradient.
  std::vector<std::vector<double>> gradients;
  for (size_t begin = 0; begin < 20; begin += 8) {
    const auto batch = std::span(samples).subspan(begin, std::min<size_t>(8, 20 - begin));
    ASSERT_TRUE(fixture.Train({.seed = 5, .epochs = 1}, batch).ok());
    std::vector<double>& gradient = gradients.emplace_back();
    for (const float value : fixture.delta) gradient.push_back(-10.0 * value);
  }
  double deviation = 0;
  for (size_t j = 0; j < fixture.delta.size(); ++j) {
    const double mean = (gradients[0][j] + gradients[1][j] + gradients[2][j]) / 3;
    for (const auto& gradient : gradients) deviation += (gradient[j] - mean) * (gradient[j] - mean) / 3;
  }
  EXPECT_NEAR(told->numbers.at(statistics::kGradientDeviation).at(0), std::sqrt(deviation), 1e-5);
}

TEST(SliceTrainerTest, MayWithholdWhatIsNoUpdate) {
  const Dataset data = MakeData(20, 3);
  Fixture fixture(data);
  const std::vector<uint32_t> samples = FirstSamples(20);
  const TrainingJob job{.seed = 5, .epochs = 1, .statistics = {statistics::kLoss}};
  for (const bool withhold : {false, true}) {
    SliceTrainer slice(*fixture.trainer, data, samples, withhold);
    State memory;
    const auto result = slice.Train(job, fixture.global, fixture.delta, memory);
    ASSERT_TRUE(result.ok());
    EXPECT_EQ(result->numbers.empty(), withhold);
    EXPECT_EQ(slice.label_histogram().empty(), withhold);
    EXPECT_EQ(slice.num_samples(), 20);
  }
}

}  // namespace
}  // namespace muster
