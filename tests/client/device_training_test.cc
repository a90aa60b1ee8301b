// Training on a device against training on the host. The CPU serves as the device, so that all but the device
// itself is tested everywhere; GpuTest is for real ones.
#include <gmock/gmock.h>
#include <torch/nn/modules/batchnorm.h>
#include <torch/nn/modules/linear.h>

#include <cmath>
#include <limits>
#include <memory>
#include <numeric>
#include <string>
#include <thread>
#include <vector>

#include "client/local_trainer.h"
#include "core/random.h"
#include "core/statistics.h"
#include "learning/models/module_model.h"
#include "tests/client/gpu_fixture.h"
#include "tests/learning/torchscript_file.h"

namespace muster {
namespace {

using ::testing::HasSubstr;

// Has buffers that training changes: floating ones, which are federated, and an integer one, which is not.
class Normalized final : public ModuleModel {
 public:
  explicit Normalized(const Context& context) {
    norm_ = register_module("norm", torch::nn::BatchNorm1d(context.input_shape[0]));
    linear_ = register_module("linear", torch::nn::Linear(context.input_shape[0], context.outputs));
  }
  static absl::StatusOr<std::unique_ptr<Model>> Create(const NoOptions& /*options*/, const Context& context) {
    MUSTER_RETURN_IF_ERROR(NeedTable("test_normalized", context));
    return std::make_unique<Normalized>(context);
  }
  at::Tensor Forward(const at::Tensor& x) override { return linear_->forward(norm_->forward(x)); }

 private:
  torch::nn::BatchNorm1d norm_{nullptr};
  torch::nn::Linear linear_{nullptr};
};
MUSTER_REGISTER(Model,
                Plugin("test_normalized", "Batch normalisation, and a linear layer").Make<Normalized>());

// Has a parameter that its outputs do not depend on.
class Idle final : public ModuleModel {
 public:
  explicit Idle(const Context& context) {
    first_ = register_module("first", torch::nn::Linear(context.input_shape[0], context.outputs));
    idle_ = register_module("idle", torch::nn::Linear(3, 2));
    last_ = register_module("last", torch::nn::Linear(context.outputs, context.outputs));
  }
  static absl::StatusOr<std::unique_ptr<Model>> Create(const NoOptions& /*options*/, const Context& context) {
    MUSTER_RETURN_IF_ERROR(NeedTable("test_idle", context));
    return std::make_unique<Idle>(context);
  }
  at::Tensor Forward(const at::Tensor& x) override { return last_->forward(at::relu(first_->forward(x))); }

 private:
  torch::nn::Linear first_{nullptr}, idle_{nullptr}, last_{nullptr};
};
MUSTER_REGISTER(Model, Plugin("test_idle", "A layer between two that nothing goes through").Make<Idle>());

constexpr int64_t kSamples = 30;

Dataset MakeData(const std::vector<int64_t>& shape, bool classes = true) {
  Dataset data;
  data.sample_shape = shape;
  data.num_classes = classes ? 3 : 0;
  Random random({.seed = 1});
  for (int64_t i = 0; i < kSamples; ++i) {
    if (classes) {
      data.labels.push_back(i % 3);
    } else {
      data.values.push_back(static_cast<float>(random.Normal()));
    }
    for (int64_t j = 0; j < data.sample_size(); ++j) {
      data.inputs.push_back(static_cast<float>(random.Normal() + (j % 3 == i % 3 ? 1 : 0)));
    }
    data.groups["writer"].push_back(i / 10);
  }
  return data;
}

struct Outcome {
  std::vector<float> model;  // after two jobs, the second from where the first ended
  std::vector<double> losses;
  State memory;
  std::map<std::string, std::vector<double>> numbers;  // of the last job
  double evaluated = 0;
};

struct Setting {
  PluginConfig model = {"mlp", {{"hidden", std::vector<int64_t>{8}}}};
  TrainerOptions options = {};
  TrainingJob job = {.seed = 2, .client = 4, .epochs = 2};
};

Outcome Train(const Dataset& data, Setting setting, std::shared_ptr<ComputeDevice> device) {
  auto model = MakeModel(
      setting.model,
      {.input_shape = data.sample_shape, .outputs = ModelOutputs(setting.options.loss, data), .folder = ""},
      /*seed=*/3);
  EXPECT_TRUE(model.ok()) << model.status();
  Outcome outcome;
  outcome.model.assign((*model)->values().begin(), (*model)->values().end());
  setting.options.batch_size = 8;
  setting.options.static_plan = false;
  setting.options.device = std::move(device);
  const auto trainer = LocalTrainer::Create(*std::move(model), data, setting.options);
  EXPECT_TRUE(trainer.ok()) << trainer.status();
  std::vector<uint32_t> samples(kSamples - 1);  // the last batch is small
  std::iota(samples.begin(), samples.end(), 0U);
  std::vector<float> delta(outcome.model.size());
  for (setting.job.round = 0; setting.job.round < 2; ++setting.job.round) {
    const auto result = (*trainer)->Train(setting.job, outcome.model, samples, delta, outcome.memory);
    EXPECT_TRUE(result.ok()) << result.status();
    if (!result.ok()) return outcome;
    outcome.losses.push_back(result->train_loss);
    outcome.numbers = result->numbers;
    for (size_t i = 0; i < delta.size(); ++i) outcome.model[i] += delta[i];
  }
  const auto sums = (*trainer)->Evaluate(outcome.model, data, samples);
  EXPECT_TRUE(sums.ok()) << sums.status();
  outcome.evaluated = sums->loss;
  return outcome;
}

// A method that corrects gradients works on the host, so every step passes there.
PluginConfig OnTheHost() { return {"fedprox", {{"mu", 0.01}}}; }

// Bit for bit.
void ExpectTheSame(const Dataset& data, Setting setting) {
  setting.options.method = OnTheHost();
  const Outcome host = Train(data, setting, nullptr);
  const Outcome device = Train(data, setting, std::make_shared<ComputeDevice>(at::kCPU));
  EXPECT_EQ(host.model, device.model);
  EXPECT_EQ(host.losses, device.losses);
  EXPECT_EQ(host.memory, device.memory);
  EXPECT_EQ(host.numbers, device.numbers);
  EXPECT_EQ(host.evaluated, device.evaluated);
}

// To rounding: a product and a sum are one operation in the host's loops.
void ExpectNear(const std::vector<float>& a, const std::vector<float>& b) {
  ASSERT_EQ(a.size(), b.size());
  double difference = 0, norm = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    difference += std::pow(double{a[i]} - b[i], 2);
    norm += std::pow(double{a[i]}, 2);
  }
  EXPECT_LE(std::sqrt(difference), 1e-4 * std::sqrt(norm) + 1e-7);
}

class DeviceOptimizerTest : public testing::TestWithParam<std::string> {};

TEST_P(DeviceOptimizerTest, HasTheHostsBits) {
  const auto& learners = Registry<LocalOptimizer>::Get().Find(GetParam())->options;
  if (learners.empty()) GTEST_SKIP() << "asks for no gradient";
  Setting setting;
  setting.options.optimizer = {GetParam(), {}};
  setting.options.optimizer_state = OptimizerState::kKeep;
  ExpectTheSame(MakeData({12}), setting);
}

INSTANTIATE_TEST_SUITE_P(Registered, DeviceOptimizerTest,
                         testing::ValuesIn(Registry<LocalOptimizer>::Get().Names()),
                         [](const auto& info) { return info.param; });

// Without a method that corrects gradients, those that can make their steps where the gradients are.
TEST_P(DeviceOptimizerTest, StaysOnTheDevice) {
  const Dataset data = MakeData({12});
  std::vector<at::Tensor> one = {at::zeros({1}).requires_grad_()};
  const auto probe = Registry<LocalOptimizer>::Get().Create({GetParam(), {}}, {.parameters = one});
  ASSERT_TRUE(probe.ok()) << probe.status();
  if (!(*probe)->AnyDevice()) GTEST_SKIP() << "makes its steps with the host";
  std::vector<OptionMap> all = {{}, {{"weight_decay", 0.01}}};
  for (const OptionInfo& option : Registry<LocalOptimizer>::Get().Find(GetParam())->options) {
    if (option.name == "momentum") all.push_back({{"momentum", 0.9}});
    if (option.name == "nesterov") all.push_back({{"momentum", 0.9}, {"nesterov", true}});
    if (option.name == "amsgrad") all.push_back({{"amsgrad", true}});
  }
  for (const OptionMap& options : all) {
    for (const char* model : {"mlp", "test_idle", "test_normalized"}) {
      Setting setting{.model = {model, {}}};
      setting.options.optimizer = {GetParam(), options};
      setting.options.optimizer_state = OptimizerState::kKeep;
      const Outcome host = Train(data, setting, nullptr);
      const Outcome device = Train(data, setting, std::make_shared<ComputeDevice>(at::kCPU));
      ExpectNear(host.model, device.model);
      for (size_t job = 0; job < host.losses.size(); ++job) {
        EXPECT_NEAR(host.losses[job], device.losses[job], 1e-4);
      }
      ASSERT_EQ(host.memory.vectors.size(), device.memory.vectors.size());
      for (const auto& [name, vector] : host.memory.vectors) {
        ASSERT_TRUE(device.memory.vectors.contains(name)) << name;
        ExpectNear(vector, device.memory.vectors.at(name));
      }
      const Outcome again = Train(data, setting, std::make_shared<ComputeDevice>(at::kCPU));
      EXPECT_EQ(again.model, device.model);
      EXPECT_EQ(again.memory, device.memory);
    }
  }
}

class DeviceModelTest : public testing::TestWithParam<std::string> {};

TEST_P(DeviceModelTest, HasTheHostsBits) {
  for (const std::vector<int64_t>& shape : {std::vector<int64_t>{12}, std::vector<int64_t>{2, 187},
                                            std::vector<int64_t>{1, 8, 8}, std::vector<int64_t>{1, 28, 28}}) {
    OptionMap options;
    if (GetParam() == "torchscript") options["file"] = WriteTorchScriptMlp(shape, 3);
    Setting setting{.model = {GetParam(), options}, .job = {.seed = 2, .steps = 5}};
    setting.options.optimizer = {"sgd", {{"learning_rate", 0.01}}};
    if (!MakeModel(setting.model, {.input_shape = shape, .outputs = 3, .folder = ""}, 1).ok()) continue;
    ExpectTheSame(MakeData(shape), setting);
    return;
  }
  FAIL() << "the model accepts none of the shapes";
}

INSTANTIATE_TEST_SUITE_P(Registered, DeviceModelTest, testing::ValuesIn(Registry<Model>::Get().Names()),
                         [](const auto& info) { return info.param; });

TEST(DeviceTrainingTest, EveryLossHasTheHostsBits) {
  Setting setting;
  setting.options.optimizer = {"sgd", {}};
  setting.options.loss = LossKind::kMse;
  ExpectTheSame(MakeData({12}, /*classes=*/false), setting);
  setting.options.loss = LossKind::kBinary;
  Dataset two = MakeData({12});
  for (int64_t& label : two.labels) label %= 2;
  two.num_classes = 2;
  ExpectTheSame(two, setting);
}

TEST(DeviceTrainingTest, WhatAJobAsksForHasTheHostsBits) {
  const Dataset data = MakeData({12});
  Setting setting;
  setting.options.optimizer = {"sgd", {}};
  setting.options.gradient_noise = {"student_t", {}};
  const std::vector<int64_t> relabel = {2, 0, 1};
  setting.job.relabel = relabel;
  setting.job.statistics = {statistics::kLoss, statistics::kLossRms, statistics::kGradientDeviation};
  setting.job.steps = 9;  // batches go on over the end of an epoch
  ExpectTheSame(data, setting);
}

TEST(DeviceTrainingTest, AnotherTrainerOnTheSameDeviceSharesTheData) {
  const Dataset data = MakeData({12});
  const auto device = std::make_shared<ComputeDevice>(at::kCPU);
  const auto* const held = device->Hold(data);
  ASSERT_NE(held, nullptr);
  EXPECT_EQ(held, device->Hold(data));
  EXPECT_EQ(held->inputs.sizes().vec(), (std::vector<int64_t>{kSamples, 12}));
  EXPECT_EQ(held->labels.sizes().vec(), (std::vector<int64_t>{kSamples}));
  EXPECT_FALSE(held->values.defined());
  const Dataset other = MakeData({2}, /*classes=*/false);
  EXPECT_NE(held, device->Hold(other));
  EXPECT_FALSE(device->Hold(other)->labels.defined());
}

// Losses come in from the device twenty at a time.
TEST(DeviceTrainingTest, ProgressKnowsTheLossesSoFar) {
  const Dataset data = MakeData({12});
  std::vector<std::pair<int64_t, double>> told[2];
  for (const bool on_device : {false, true}) {
    Setting setting{.job = {.seed = 2, .steps = 47}};
    setting.options.optimizer = {"sgd", {}};
    setting.job.progress = [&told = told[on_device ? 1 : 0]](int64_t steps, double loss) {
      told.emplace_back(steps, loss);
    };
    Train(data, setting, on_device ? std::make_shared<ComputeDevice>(at::kCPU) : nullptr);
  }
  ASSERT_EQ(told[0].size(), 4U);  // of two jobs
  ASSERT_EQ(told[1].size(), 4U);
  for (size_t i = 0; i < 4; ++i) {
    EXPECT_EQ(told[0][i].first, told[1][i].first);
    EXPECT_NEAR(told[0][i].second, told[1][i].second, 1e-4);
  }
}

TEST(DeviceTrainingTest, DivergenceNamesTheStep) {
  Dataset data = MakeData({12});
  data.inputs[0] = std::numeric_limits<float>::infinity();
  auto model = *MakeModel({"softmax", {}}, {.input_shape = {12}, .outputs = 3, .folder = ""}, 3);
  const std::vector<float> global(model->values().begin(), model->values().end());
  std::vector<float> delta(global.size());
  const auto trainer = *LocalTrainer::Create(std::move(model), data,
                                             {.batch_size = 4,
                                              .shuffle = false,
                                              .optimizer = {"sgd", {}},
                                              .device = std::make_shared<ComputeDevice>(at::kCPU)});
  const std::vector<uint32_t> samples = {1, 2, 3, 4, 5, 6, 0, 7};
  const auto result = trainer->Train({.round = 3, .client = 5}, global, samples, delta);
  EXPECT_EQ(result.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(Message(result.status()), HasSubstr("round 3, client 5, step 2: the loss is"));
}

class GpuTest : public GpuFixture {};

TEST_F(GpuTest, TrainsAsTheHostDoes) {
  for (const char* optimizer : {"sgd", "adam", "clip_sgd"}) {  // the last one's steps pass through the host
    for (const char* model : {"mlp", "test_idle", "test_normalized"}) {
      Setting setting{.model = {model, {}}};
      setting.options.optimizer = {optimizer, {{"learning_rate", 0.01}}};
      ExpectNear(Train(MakeData({12}), setting, nullptr).model,
                 Train(MakeData({12}), setting, device_).model);
    }
  }
}

TEST_F(GpuTest, HasItsOwnBitsEachTimeFromAnyNumberOfThreads) {
  const Dataset data = MakeData({1, 28, 28});
  Setting setting{.model = {"lenet", {}}};
  setting.options.optimizer = {"sgd", {{"learning_rate", 0.01}}};
  const Outcome alone = Train(data, setting, device_);
  std::vector<Outcome> beside(3);
  std::vector<std::thread> threads;
  for (Outcome& outcome : beside) {
    threads.emplace_back([&, device = device_] { outcome = Train(data, setting, device); });
  }
  for (std::thread& thread : threads) thread.join();
  for (const Outcome& outcome : beside) {
    EXPECT_EQ(outcome.model, alone.model);
    EXPECT_EQ(outcome.evaluated, alone.evaluated);
  }
}

}  // namespace
}  // namespace muster
