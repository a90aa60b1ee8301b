// Clients trained in a group against the same clients trained one by one on the same device, which is the CPU
// but for BatchedGpuTest.
#include "client/batched_trainer.h"

#include <gmock/gmock.h>

#include <cmath>
#include <limits>
#include <numeric>
#include <string>
#include <thread>
#include <tuple>
#include <vector>

#include "absl/strings/str_cat.h"
#include "core/random.h"
#include "core/statistics.h"
#include "tests/client/gpu_fixture.h"

namespace muster {
namespace {

using ::testing::HasSubstr;

constexpr int64_t kInputs = 12;
constexpr int64_t kBatch = 8;
// A full batch, less than one, several with and without a small one at the end, a single sample.
const std::vector<int64_t> kSizes = {8, 5, 30, 17, 24, 1, 30};

Dataset MakeData(LossKind loss) {
  Dataset data;
  data.sample_shape = {kInputs};
  data.num_classes = loss == LossKind::kMse ? 0 : loss == LossKind::kBinary ? 2 : 3;
  Random random({.seed = 1});
  const int64_t samples = std::accumulate(kSizes.begin(), kSizes.end(), int64_t{0});
  for (int64_t i = 0; i < samples; ++i) {
    if (data.num_classes > 0) {
      data.labels.push_back(i % data.num_classes);
    } else {
      data.values.push_back(static_cast<float>(random.Normal()));
    }
    for (int64_t j = 0; j < kInputs; ++j) {
      data.inputs.push_back(static_cast<float>(random.Normal() + (j % 3 == i % 3 ? 1 : 0)));
    }
  }
  return data;
}

// What each client holds, one after another.
std::vector<std::vector<uint32_t>> MakeSlices() {
  std::vector<std::vector<uint32_t>> slices;
  uint32_t next = 0;
  for (const int64_t size : kSizes) {
    slices.emplace_back(static_cast<size_t>(size));
    std::iota(slices.back().begin(), slices.back().end(), next);
    next += static_cast<uint32_t>(size);
  }
  return slices;
}

// With a device of its own, which holds the data that it is used with.
struct Setting {
  PluginConfig model = {"mlp", {{"hidden", std::vector<int64_t>{8, 6}}}};
  TrainerOptions options = {.batch_size = kBatch,
                            .optimizer = {"sgd", {{"learning_rate", 0.05}}},
                            .device = std::make_shared<ComputeDevice>(at::kCPU)};
};

std::unique_ptr<FlatModel> Model(const Setting& setting, const Dataset& data) {
  auto model = MakeModel(
      setting.model,
      {.input_shape = data.sample_shape, .outputs = ModelOutputs(setting.options.loss, data), .folder = ""},
      /*seed=*/3);
  EXPECT_TRUE(model.ok()) << model.status();
  return *std::move(model);
}

// Epochs enough for losses to come back from the device more than once.
std::vector<TrainingJob> Jobs(const TrainingJob& like) {
  std::vector<TrainingJob> jobs(kSizes.size(), like);
  for (size_t i = 0; i < jobs.size(); ++i) jobs[i].client = static_cast<int64_t>(i);
  return jobs;
}
const TrainingJob kJob = {.seed = 2, .round = 4, .epochs = 6};

struct Trained {
  std::vector<absl::StatusOr<TrainingResult>> results;
  std::vector<std::vector<float>> deltas;
};

Trained TrainTogether(const Dataset& data, const Setting& setting, const std::vector<TrainingJob>& jobs,
                      const std::vector<std::vector<uint32_t>>& slices = MakeSlices()) {
  const auto model = Model(setting, data);
  const auto trainer = BatchedTrainer::Make(*model, data, setting.options);
  EXPECT_TRUE(trainer.ok() && *trainer != nullptr) << trainer.status();
  const std::vector<float> global(model->values().begin(), model->values().end());
  Trained trained{.results = {}, .deltas = std::vector(jobs.size(), std::vector<float>(global.size()))};
  std::vector<BatchedTrainer::Client> clients;
  for (size_t i = 0; i < jobs.size(); ++i) clients.push_back({jobs[i], slices[i], trained.deltas[i]});
  trained.results = (*trainer)->Train(clients, global);
  EXPECT_EQ(trained.results.size(), jobs.size());
  return trained;
}

Trained TrainOneByOne(const Dataset& data, const Setting& setting, const std::vector<TrainingJob>& jobs,
                      const std::vector<std::vector<uint32_t>>& slices = MakeSlices()) {
  auto model = Model(setting, data);
  const std::vector<float> global(model->values().begin(), model->values().end());
  Trained trained{.results = {}, .deltas = std::vector(jobs.size(), std::vector<float>(global.size()))};
  const auto trainer = LocalTrainer::Create(std::move(model), data, setting.options);
  EXPECT_TRUE(trainer.ok()) << trainer.status();
  for (size_t i = 0; i < jobs.size(); ++i) {
    trained.results.push_back((*trainer)->Train(jobs[i], global, slices[i], trained.deltas[i]));
  }
  return trained;
}

double Distance(const std::vector<float>& a, const std::vector<float>& b) {
  double sum = 0;
  for (size_t i = 0; i < a.size(); ++i) sum += std::pow(double{a[i]} - b[i], 2);
  return std::sqrt(sum);
}

// Updates to 1e-4 of their norm, losses to 1e-5 of themselves and one.
void ExpectTheSame(const Dataset& data, const Setting& setting, const std::vector<TrainingJob>& jobs) {
  const Trained together = TrainTogether(data, setting, jobs);
  const Trained alone = TrainOneByOne(data, setting, jobs);
  for (size_t i = 0; i < jobs.size(); ++i) {
    ASSERT_TRUE(alone.results[i].ok()) << alone.results[i].status();
    ASSERT_TRUE(together.results[i].ok()) << together.results[i].status();
    const double norm = Distance(alone.deltas[i], std::vector<float>(alone.deltas[i].size()));
    EXPECT_GT(norm, 0);
    EXPECT_LE(Distance(together.deltas[i], alone.deltas[i]), 1e-4 * norm) << "client " << i;
    EXPECT_EQ(together.results[i]->num_samples, alone.results[i]->num_samples);
    EXPECT_EQ(together.results[i]->steps, alone.results[i]->steps);
    const double loss = alone.results[i]->train_loss;
    EXPECT_NEAR(together.results[i]->train_loss, loss, 1e-5 * (1 + loss)) << "client " << i;
    EXPECT_TRUE(together.results[i]->extras.empty());
    EXPECT_TRUE(together.results[i]->numbers.empty());
  }
}

std::vector<std::string> OptimizersOfAnyDevice() {
  std::vector<std::string> names;
  for (const std::string& name : Registry<LocalOptimizer>::Get().Names()) {
    const std::vector<at::Tensor> one = {at::zeros({1}).requires_grad_()};
    const auto probe = Registry<LocalOptimizer>::Get().Create({name, {}}, {.parameters = one});
    if (probe.ok() && (*probe)->AnyDevice()) names.push_back(name);
  }
  return names;
}

class BatchedOptimizerTest : public testing::TestWithParam<std::string> {};

TEST_P(BatchedOptimizerTest, TrainsAsOneByOne) {
  std::vector<OptionMap> all = {{}, {{"weight_decay", 0.01}}};
  for (const OptionInfo& option : Registry<LocalOptimizer>::Get().Find(GetParam())->options) {
    if (option.name == "momentum") all.push_back({{"momentum", 0.9}});
    if (option.name == "nesterov") all.push_back({{"momentum", 0.9}, {"nesterov", true}});
    if (option.name == "amsgrad") all.push_back({{"amsgrad", true}});
    if (option.name == "lr_decay") all.push_back({{"lr_decay", 0.1}});
  }
  const PluginConfig models[] = {
      {"softmax", {}},
      {"mlp", {{"hidden", std::vector<int64_t>{8, 6}}}},
      {"mlp", {{"hidden", std::vector<int64_t>{5}}, {"activation", std::string("tanh")}}}};
  for (OptionMap& options : all) {
    options["learning_rate"] = 0.01;
    for (const PluginConfig& model : models) {
      for (const LossKind loss : {LossKind::kCrossEntropy, LossKind::kMse, LossKind::kBinary}) {
        SCOPED_TRACE(
            absl::StrCat(model.name, ", loss ", static_cast<int>(loss), ", ", options.size(), " options"));
        Setting setting{.model = model};
        setting.options.optimizer = {GetParam(), options};
        setting.options.loss = loss;
        ExpectTheSame(MakeData(loss), setting, Jobs(kJob));
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(OfAnyDevice, BatchedOptimizerTest, testing::ValuesIn(OptimizersOfAnyDevice()),
                         [](const auto& info) { return info.param; });

TEST(BatchedTrainerTest, ThoseOfAnyDeviceAreTested) {
  EXPECT_THAT(OptimizersOfAnyDevice(),
              testing::IsSupersetOf({"adagrad", "adam", "adamw", "rmsprop", "sgd", "sign_sgd"}));
}

// Every client makes as many steps, over the ends of its epochs.
TEST(BatchedTrainerTest, TrainsBySteps) {
  const Dataset data = MakeData(LossKind::kCrossEntropy);
  TrainingJob job = kJob;
  job.steps = 23;
  job.learning_rate_factor = 0.3;
  ExpectTheSame(data, Setting(), Jobs(job));
  Setting in_order;
  in_order.options.shuffle = false;
  ExpectTheSame(data, in_order, Jobs(job));
}

TEST(BatchedTrainerTest, LiarsLearnWhatTheyTakeClassesFor) {
  const std::vector<int64_t> flipped = {2, 1, 0}, all_one = {1, 1, 1};
  for (const LossKind loss : {LossKind::kCrossEntropy, LossKind::kBinary}) {
    std::vector<TrainingJob> jobs = Jobs(kJob);
    const auto classes = static_cast<size_t>(MakeData(loss).num_classes);
    jobs[2].relabel = std::span(flipped).subspan(3 - classes);
    jobs[3].relabel = std::span(all_one).first(classes);
    Setting setting;
    setting.options.loss = loss;
    ExpectTheSame(MakeData(loss), setting, jobs);
  }
}

TEST(BatchedTrainerTest, WhoDivergesIsNamedAndSpoilsNobody) {
  const Trained well = TrainTogether(MakeData(LossKind::kCrossEntropy), Setting(), Jobs(kJob));
  Dataset data = MakeData(LossKind::kCrossEntropy);
  const std::vector<std::vector<uint32_t>> slices = MakeSlices();
  data.inputs[slices[4].front() * kInputs] = std::numeric_limits<float>::infinity();
  data.inputs[slices[5].front() * kInputs] = std::numeric_limits<float>::quiet_NaN();
  const Trained ill = TrainTogether(data, Setting(), Jobs(kJob));
  const Trained alone = TrainOneByOne(data, Setting(), Jobs(kJob));
  for (size_t i = 0; i < kSizes.size(); ++i) {
    if (i == 4 || i == 5) {
      EXPECT_EQ(ill.results[i].status().code(), absl::StatusCode::kInvalidArgument);
      EXPECT_EQ(Message(ill.results[i].status()), Message(alone.results[i].status()));
      EXPECT_THAT(Message(ill.results[i].status()),
                  HasSubstr(absl::StrCat("round 4, client ", i, ", step ")));
    } else {
      EXPECT_TRUE(ill.results[i].ok()) << ill.results[i].status();
      EXPECT_EQ(ill.deltas[i], well.deltas[i]);
    }
  }
}

TEST(BatchedTrainerTest, AJobThatCannotBeBegunIsRefusedAlone) {
  const Dataset data = MakeData(LossKind::kCrossEntropy);
  std::vector<TrainingJob> jobs = Jobs(kJob);
  std::vector<std::vector<uint32_t>> slices = MakeSlices();
  slices[1].clear();
  slices[2].back() = static_cast<uint32_t>(data.size());
  jobs[3].epochs = 0;
  const Trained together = TrainTogether(data, Setting(), jobs, slices);
  const Trained alone = TrainOneByOne(data, Setting(), jobs, slices);
  for (size_t i = 0; i < jobs.size(); ++i) {
    EXPECT_EQ(together.results[i].ok(), i < 1 || i > 3) << i;
    EXPECT_EQ(together.results[i].status(), alone.results[i].status()) << i;
  }
}

TEST(BatchedTrainerTest, HasItsBitsEachTimeFromAnyThread) {
  const Dataset data = MakeData(LossKind::kCrossEntropy);
  const Trained here = TrainTogether(data, Setting(), Jobs(kJob));
  std::vector<Trained> there(3);
  std::vector<std::thread> threads;
  for (Trained& trained : there) {
    threads.emplace_back([&] { trained = TrainTogether(data, Setting(), Jobs(kJob)); });
  }
  for (std::thread& thread : threads) thread.join();
  for (const Trained& trained : there) EXPECT_EQ(trained.deltas, here.deltas);
}

TEST(BatchedTrainerTest, LeavesToOthersWhatItCannotDo) {
  const Dataset data = MakeData(LossKind::kCrossEntropy);
  const auto makes = [&data](const Setting& setting) {
    const auto trainer = BatchedTrainer::Make(*Model(setting, data), data, setting.options);
    EXPECT_TRUE(trainer.ok()) << trainer.status();
    return *trainer != nullptr;
  };
  EXPECT_TRUE(makes(Setting()));
  Setting setting;
  setting.options.device = nullptr;
  EXPECT_FALSE(makes(setting));
  setting = Setting();
  setting.options.static_plan = false;
  EXPECT_FALSE(makes(setting));
  setting = Setting();
  setting.options.optimizer = {"clip_sgd", {}};
  EXPECT_FALSE(makes(setting));
  setting = Setting();
  setting.options.optimizer_state = OptimizerState::kKeep;
  EXPECT_FALSE(makes(setting));
  setting = Setting();
  setting.options.method = {"fedprox", {{"mu", 0.01}}};
  EXPECT_FALSE(makes(setting));
  setting = Setting();
  setting.options.gradient_noise = {"student_t", {}};
  EXPECT_FALSE(makes(setting));
  setting = Setting();
  setting.model = {"mlp", {{"activation", std::string("gelu")}}};
  EXPECT_FALSE(makes(setting));
  setting = Setting();
  setting.model = {"mlp", {{"hidden", std::vector<int64_t>{3000, 3000}}}};  // enough for the device by itself
  EXPECT_FALSE(makes(setting));
}

TEST(BatchedTrainerTest, KnowsPlainJobsAlone) {
  EXPECT_TRUE(BatchedTrainer::Knows(kJob));
  TrainingJob job = kJob;
  job.statistics = {statistics::kLoss};
  EXPECT_FALSE(BatchedTrainer::Knows(job));
  job = kJob;
  job.vectors["group_weights"] = std::make_shared<const std::vector<float>>();
  EXPECT_FALSE(BatchedTrainer::Knows(job));
  job = kJob;
  job.cancelled = [] { return false; };
  EXPECT_FALSE(BatchedTrainer::Knows(job));
  job = kJob;
  job.progress = [](int64_t, double) {};
  EXPECT_FALSE(BatchedTrainer::Knows(job));
}

TEST(BatchedTrainerTest, GroupsAreSmallerWhereModelsAreLarge) {
  const Dataset data = MakeData(LossKind::kCrossEntropy);
  const auto group = [&data](const std::vector<int64_t>& hidden) {
    const Setting setting{.model = {"mlp", {{"hidden", hidden}}}};
    return (*BatchedTrainer::Make(*Model(setting, data), data, setting.options))->group();
  };
  EXPECT_EQ(group({8}), 64);
  const int64_t large = group({1000, 1000});
  EXPECT_LT(large, 64);
  EXPECT_GE(large, 2);
}

// 66,753 elements: enough for updates to stay where they are.
const PluginConfig kLarge = {"mlp", {{"hidden", std::vector<int64_t>{250, 250}}}};

std::vector<TrainingJob> StayingJobs(const TrainingJob& like) {
  std::vector<TrainingJob> jobs = Jobs(like);
  for (TrainingJob& job : jobs) job.may_stay = true;
  return jobs;
}

// The same clients with their updates left on the device and brought down.
void ExpectTheSameWhereTheyStay(const Dataset& data, const Setting& setting, const TrainingJob& job) {
  const Trained down = TrainTogether(data, setting, Jobs(job));
  Trained there = TrainTogether(data, setting, StayingJobs(job));
  for (size_t i = 0; i < kSizes.size(); ++i) {
    ASSERT_EQ(there.results[i].status(), down.results[i].status()) << i;
    if (!down.results[i].ok()) continue;
    EXPECT_EQ(down.results[i]->on_device, nullptr);
    ASSERT_NE(there.results[i]->on_device, nullptr);
    EXPECT_EQ(there.deltas[i], std::vector<float>(there.deltas[i].size())) << "was written";
    ASSERT_TRUE(there.results[i]->on_device->Copy(there.deltas[i]).ok());
    EXPECT_EQ(there.deltas[i], down.deltas[i]);
    EXPECT_EQ(there.results[i]->steps, down.results[i]->steps);
    EXPECT_EQ(there.results[i]->train_loss, down.results[i]->train_loss);
  }
}

TEST(BatchedTrainerTest, LargeUpdatesStayWhereTheJobsLetThem) {
  const Dataset data = MakeData(LossKind::kCrossEntropy);
  const Setting large{.model = kLarge};
  ExpectTheSameWhereTheyStay(data, large, kJob);
  std::vector<TrainingJob> jobs = StayingJobs(kJob);
  jobs[3].may_stay = false;
  for (const Trained& trained :
       {TrainTogether(data, large, jobs), TrainTogether(data, Setting(), StayingJobs(kJob))}) {
    for (size_t i = 0; i < jobs.size(); ++i) {
      ASSERT_TRUE(trained.results[i].ok()) << trained.results[i].status();
      EXPECT_EQ(trained.results[i]->on_device, nullptr);
      EXPECT_NE(trained.deltas[i], std::vector<float>(trained.deltas[i].size()));
    }
  }
}

TEST(BatchedTrainerTest, WhoDivergesIsNamedWhereUpdatesStay) {
  const std::vector<std::vector<uint32_t>> slices = MakeSlices();
  TrainingJob once = kJob;
  once.steps = 1;
  // A loss that is not finite, and one that is, of an update that is not.
  for (const auto& [input, job, what] :
       {std::tuple{std::numeric_limits<float>::quiet_NaN(), kJob, "the loss is nan"},
        {1e37F, once, "step 1: the update is not finite"}}) {
    Setting setting{.model = kLarge};
    setting.options.optimizer = {"sgd", {{"learning_rate", job.steps == 1 ? 1e6 : 0.05}}};
    Dataset data = MakeData(LossKind::kCrossEntropy);
    for (const uint32_t sample : slices[4]) data.inputs[sample * kInputs] = input;
    ExpectTheSameWhereTheyStay(data, setting, job);
    const Trained trained = TrainTogether(data, setting, StayingJobs(job));
    for (size_t i = 0; i < kSizes.size(); ++i) EXPECT_EQ(trained.results[i].ok(), i != 4) << i;
    EXPECT_THAT(Message(trained.results[4].status()), HasSubstr("round 4, client 4, step 1"));
    EXPECT_THAT(Message(trained.results[4].status()), HasSubstr(what));
  }
}

class BatchedGpuTest : public GpuFixture {};

TEST_F(BatchedGpuTest, LargeUpdatesStayWithTheBitsOfThoseBroughtDown) {
  Setting setting{.model = kLarge};
  setting.options.device = device_;
  ExpectTheSameWhereTheyStay(MakeData(LossKind::kCrossEntropy), setting, kJob);
}

TEST_F(BatchedGpuTest, TrainsAsOneByOneWithItsOwnBitsEachTime) {
  const Dataset data = MakeData(LossKind::kCrossEntropy);
  for (const char* optimizer : {"sgd", "adam"}) {
    Setting setting;
    setting.options.optimizer = {optimizer, {{"learning_rate", 0.01}}};
    setting.options.device = device_;
    ExpectTheSame(data, setting, Jobs(kJob));
    const Trained once = TrainTogether(data, setting, Jobs(kJob));
    EXPECT_EQ(TrainTogether(data, setting, Jobs(kJob)).deltas, once.deltas);
  }
}

}  // namespace
}  // namespace muster
