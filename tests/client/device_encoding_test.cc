// Updates that are encoded where they lie, against the host's encoding of the same update. The CPU serves as
// the device.
#include <ATen/ATen.h>
#include <gmock/gmock.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <memory>
#include <numeric>
#include <span>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "client/local_trainer.h"
#include "client/task_runner.h"
#include "client/tensor_vector.h"
#include "compression/error_feedback.h"
#include "core/magnitude.h"
#include "core/random.h"
#include "tests/compression/cases.h"

namespace muster {
namespace {

using ::testing::HasSubstr;

// A vector of the device that tells whether all of it was asked for.
class Watched final : public DeviceVector {
 public:
  explicit Watched(const std::vector<float>& x)
      : x_(MakeDeviceVector(at::tensor(x, at::kFloat), std::nullopt)) {}

  bool copied() const { return copied_; }

  int64_t size() const override { return x_->size(); }
  absl::Status Copy(std::span<float> out) const override {
    copied_ = true;
    return x_->Copy(out);
  }
  absl::StatusOr<double> SumOfSquares() const override { return x_->SumOfSquares(); }
  absl::StatusOr<Kept> Largest(int64_t k) const override { return x_->Largest(k); }
  absl::StatusOr<std::vector<float>> LargestMagnitudes(int64_t bucket) const override {
    return x_->LargestMagnitudes(bucket);
  }
  absl::StatusOr<Signs> PackSigns(int64_t bucket, bool squares) const override {
    return x_->PackSigns(bucket, squares);
  }
  absl::StatusOr<Packed> RoundToLevels(int64_t bucket, int levels, std::span<const float> inverses,
                                       std::span<const NoiseKey> noise) const override {
    return x_->RoundToLevels(bucket, levels, inverses, noise);
  }

  absl::Status AddTo(double scale, std::unique_ptr<DeviceSum>& sum) const override {
    return x_->AddTo(scale, sum);
  }

 private:
  const std::shared_ptr<const DeviceVector> x_;
  mutable bool copied_ = false;
};

std::vector<float> Normal(int64_t size, double scale) {
  Random random({.seed = 11, .round = static_cast<uint64_t>(size)});
  std::vector<float> x(static_cast<size_t>(size));
  for (float& value : x) value = static_cast<float>(scale * random.Normal());
  return x;
}

// Everyday ones and odd ones: ties, zeros of both signs, a bucket of nothing else, tiny and huge ones.
std::vector<std::vector<float>> Vectors() {
  std::vector<std::vector<float>> vectors;
  for (const int64_t size : {1, 3, 8, 64, 1000, 4096, 10007}) {
    vectors.push_back(Normal(size, 0.01));
    std::vector<float> odd = Normal(size, 1);
    for (size_t i = 0; i < odd.size(); ++i) {
      if (i % 3 == 0) odd[i] = i % 2 == 0 ? 0.5F : -0.5F;
      if (i % 5 == 1) odd[i] = i % 2 == 0 ? 0.0F : -0.0F;
      if (i >= 4096 && i < 8192) odd[i] = -0.0F;
    }
    vectors.push_back(odd);
    vectors.emplace_back(static_cast<size_t>(size), 0.0F);
    vectors.push_back(Normal(size, 1e-31));
    vectors.push_back(Normal(size, 1e37));
  }
  return vectors;
}

const RandomKey kKey{5, Purpose::kCompression, 7, 9};

class DeviceEncodingTest : public testing::TestWithParam<PluginConfig> {};

// The scales of `sign` are sums, and the device has an order of its own: they may differ in the last bit.
void ExpectTheSameSigns(const Payload& host, const Payload& device, const Layout& layout) {
  const auto expected = DecodePayload(host, layout), decoded = DecodePayload(device, layout);
  ASSERT_TRUE(expected.ok() && decoded.ok()) << decoded.status();
  for (size_t i = 0; i < expected->size(); ++i) {
    const float a = (*expected)[i], b = (*decoded)[i];
    ASSERT_EQ(std::signbit(a), std::signbit(b)) << i;
    ASSERT_LE(std::fabs(b), std::nextafter(std::fabs(a), INFINITY)) << i;
    ASSERT_GE(std::fabs(b), std::nextafter(std::fabs(a), 0.0F)) << i;
  }
}

TEST_P(DeviceEncodingTest, IsTheHosts) {
  const std::unique_ptr<Compressor> compressor = MakeCompressor(GetParam());
  for (const std::vector<float>& x : Vectors()) {
    const Layout layout = TestLayout(static_cast<int64_t>(x.size()));
    const auto host = compressor->Compress(x, layout, kKey);
    ASSERT_TRUE(host.ok() || LargestMagnitude(x) > 1e30F) << host.status();
    const auto device = compressor->CompressOnDevice(Watched(x), layout, kKey);
    ASSERT_EQ(host.status(), device.status());
    if (!host.ok()) continue;  // some scale up what is huge
    ASSERT_EQ(host->size(), device->size()) << x.size();
    if (GetParam().name == "sign") {
      ExpectTheSameSigns(*host, *device, layout);
    } else {
      ASSERT_TRUE(host->bytes == device->bytes) << x.size() << " from " << x.front();
    }
  }
}

TEST_P(DeviceEncodingTest, RefusesWhatTheHostRefusesInTheSameWords) {
  const std::unique_ptr<Compressor> compressor = MakeCompressor(GetParam());
  for (const float bad : {std::numeric_limits<float>::quiet_NaN(), -std::numeric_limits<float>::infinity()}) {
    for (const size_t at : {0, 5000, 9999}) {
      std::vector<float> x = Normal(10000, 1);
      x[at] = bad;
      const auto host = compressor->Compress(x, TestLayout(10000), kKey);
      const auto device = compressor->CompressOnDevice(Watched(x), TestLayout(10000), kKey);
      EXPECT_EQ(host.status(), device.status());
    }
  }
  const auto device = compressor->CompressOnDevice(Watched({1, 2, 3}), TestLayout(10000), kKey);
  EXPECT_EQ(device.status(),
            compressor->Compress(std::vector<float>{1, 2, 3}, TestLayout(10000), kKey).status());
  EXPECT_FALSE(device.ok());
}

INSTANTIATE_TEST_SUITE_P(Compressors, DeviceEncodingTest, testing::ValuesIn(CompressorCases()));

TEST(DeviceEncodingTest, ItsNormIsTheHosts) {
  for (const std::vector<float>& x : Vectors()) {
    double squares = 0;
    for (const float value : x) squares += double{value} * value;
    const auto there = Watched(x).SumOfSquares();
    ASSERT_TRUE(there.ok()) << there.status();
    if (std::isnan(squares)) {
      EXPECT_TRUE(std::isnan(*there));
    } else {
      EXPECT_NEAR(*there, squares, 1e-12 * squares);
    }
  }
}

TEST(DeviceEncodingTest, EncodedBytesAloneComeToTheHost) {
  std::vector<PluginConfig> there = {{"sign", {}}, {"top_k", {}}, {"ternary", {}}, {"stc", {}}};
  for (int64_t bits = 2; bits <= 8; ++bits) there.push_back({"quantize", {{"bits", bits}}});
  for (const PluginConfig& config : there) {
    const Watched x(Normal(10000, 1));
    EXPECT_TRUE(MakeCompressor(config)->CompressOnDevice(x, TestLayout(10000), kKey).ok());
    EXPECT_FALSE(x.copied()) << Describe(config);
  }
}

TEST(DeviceEncodingTest, AnErrorOfTheDeviceIsAStatus) {
  const auto x = MakeDeviceVector(at::zeros({4}), std::nullopt);
  const auto kept = x->Largest(5);
  EXPECT_EQ(kept.status().code(), absl::StatusCode::kInternal);
}

// What a client sends whose trainer has a device.
class DeviceUpdateTest : public testing::Test {
 protected:
  DeviceUpdateTest() {
    data_.sample_shape = {12};
    data_.num_classes = 3;
    Random random({.seed = 1});
    for (int64_t i = 0; i < 30; ++i) {
      data_.labels.push_back(i % 3);
      for (int64_t j = 0; j < 12; ++j) data_.inputs.push_back(static_cast<float>(random.Normal()));
    }
    samples_.resize(30);
    std::iota(samples_.begin(), samples_.end(), 0U);
  }

  std::unique_ptr<LocalTrainer> Trainer(const TrainerOptions& options) {
    auto model = MakeModel({"mlp", {{"hidden", std::vector<int64_t>{40}}}},
                           {.input_shape = {12}, .outputs = 3, .folder = ""}, 3);
    EXPECT_TRUE(model.ok()) << model.status();
    global_.assign((*model)->values().begin(), (*model)->values().end());
    auto trainer = LocalTrainer::Create(*std::move(model), data_, options);
    EXPECT_TRUE(trainer.ok()) << trainer.status();
    return *std::move(trainer);
  }
  static TrainerOptions Options() {
    return {.optimizer = {"sgd", {}}, .device = std::make_shared<ComputeDevice>(at::kCPU)};
  }

  Dataset data_;
  std::vector<uint32_t> samples_;
  std::vector<float> global_;
  TrainingJob job_{.seed = 2, .round = 6, .client = 4, .epochs = 2};
};

TEST_F(DeviceUpdateTest, StaysOnlyWhereTheJobLetsIt) {
  const auto trainer = Trainer(Options());
  std::vector<float> delta(global_.size()), there(global_.size()), untouched(global_.size(), 7);
  const auto fetched = trainer->Train(job_, global_, samples_, delta);
  ASSERT_TRUE(fetched.ok()) << fetched.status();
  EXPECT_EQ(fetched->on_device, nullptr);
  job_.may_stay = true;
  std::vector<float> written = untouched;
  const auto stayed = trainer->Train(job_, global_, samples_, written);
  ASSERT_TRUE(stayed.ok()) << stayed.status();
  ASSERT_NE(stayed->on_device, nullptr);
  EXPECT_EQ(written, untouched);
  ASSERT_TRUE(stayed->on_device->Copy(there).ok());
  EXPECT_EQ(there, delta);
}

TEST_F(DeviceUpdateTest, ComesWhereTheHostNeedsIt) {
  job_.may_stay = true;
  std::vector<TrainerOptions> hosts(4, Options());
  hosts[0].device = nullptr;
  hosts[1].method = {"fedprox", {}};  // corrects gradients
  hosts[2].method = {"fednova", {}};  // looks at the update
  hosts[3].optimizer = {"clip_sgd", {}};
  for (const TrainerOptions& options : hosts) {
    const auto trainer = Trainer(options);
    std::vector<float> delta(global_.size());
    const auto result = trainer->Train(job_, global_, samples_, delta);
    ASSERT_TRUE(result.ok()) << result.status();
    EXPECT_EQ(result->on_device, nullptr);
    EXPECT_TRUE(std::any_of(delta.begin(), delta.end(), [](float value) { return value != 0; }));
  }
}

TEST_F(DeviceUpdateTest, IsSentAsTheHostWouldHaveSentIt) {
  for (const PluginConfig& config :
       {PluginConfig{"identity", {}}, {"quantize", {{"bits", int64_t{4}}}}, {"top_k", {}}, {"float16", {}}}) {
    const std::unique_ptr<Compressor> compressor = MakeCompressor(config);
    for (const char* memory : {"none", "ef14"}) {
      const auto trainer = Trainer(Options());
      const auto feedback = Registry<ErrorFeedback>::Get().Create(
          {memory, {}}, {.compressor = compressor.get(), .layout = &trainer->layout()});
      if (!feedback.ok()) continue;  // none of the unbiased ones that would grow
      std::vector<float> delta(global_.size());
      ASSERT_TRUE(trainer->Train(job_, global_, samples_, delta).ok());
      State own;
      const RandomKey key{job_.seed, Purpose::kCompression, 6, 4};
      const auto expected = (*feedback)->Encode(delta, key, own);
      ASSERT_TRUE(expected.ok()) << expected.status();
      SliceTrainer slice(*trainer, data_, samples_);
      LocalUpdate update;
      TaskFailure failure;
      ASSERT_TRUE(TaskRunner().Run(slice, **feedback, job_, global_, State(), update, failure))
          << failure.status;
      EXPECT_TRUE(update.payload.bytes == expected->bytes) << Describe(config) << " " << memory;
      EXPECT_EQ(update.training.on_device, nullptr);
    }
  }
}

TEST_F(DeviceUpdateTest, ThatIsNotFiniteIsRefusedInTheSameWords) {
  TrainerOptions options = Options();
  // One step: the loss before it is finite, what it leaves is not.
  options.optimizer = {"sgd", {{"learning_rate", 3e38}}};
  for (float& input : data_.inputs) input *= 1e3F;
  options.batch_size = 30;
  job_.epochs = 1;
  const auto trainer = Trainer(options);
  std::vector<float> delta(global_.size());
  const absl::Status fetched = trainer->Train(job_, global_, samples_, delta).status();
  job_.may_stay = true;
  const absl::Status stayed = trainer->Train(job_, global_, samples_, delta).status();
  EXPECT_THAT(Message(fetched), HasSubstr("round 6, client 4, step 1: the update is not finite"));
  EXPECT_EQ(fetched, stayed);
}

}  // namespace
}  // namespace muster
