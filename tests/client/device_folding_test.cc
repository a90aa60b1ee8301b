// Updates that are folded where they lie, against the host's fold of the same update. The CPU serves as the
// device; DeviceVectorGpuTest is for real ones, which encode there, too.
#include <ATen/ATen.h>
#include <gmock/gmock.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <span>
#include <vector>

#include "client/task_runner.h"
#include "client/tensor_vector.h"
#include "compression/error_feedback.h"
#include "core/random.h"
#include "tests/client/gpu_fixture.h"
#include "tests/compression/cases.h"

namespace muster {
namespace {

using ::testing::ElementsAreArray;
using ::testing::HasSubstr;

constexpr int64_t kSize = 1000;

Payload OnDevice(const std::vector<float>& x, at::Device place = at::kCPU) {
  const Layout layout = TestLayout(static_cast<int64_t>(x.size()));
  return {.bytes = PayloadHeader(kIdentityCodec, layout),
          .on_device = MakeDeviceVector(at::tensor(x, at::kFloat).to(place), std::nullopt)};
}
Payload OnHost(const std::vector<float>& x) {
  Payload payload{PayloadHeader(kIdentityCodec, TestLayout(static_cast<int64_t>(x.size())))};
  payload.bytes.append(reinterpret_cast<const char*>(x.data()), x.size() * sizeof(float));
  return payload;
}

// Ordinary ones; one at the end of the range; one that lies between two units of the sum again and again.
std::vector<std::vector<float>> Vectors() {
  Random random({.seed = 4});
  std::vector<float> ordinary(kSize), large(kSize), ties(kSize), tiny(kSize);
  for (size_t i = 0; i < kSize; ++i) {
    ordinary[i] = static_cast<float>(0.01 * random.Normal());
    large[i] = i % 3 == 0 ? 0x1.0p20F : static_cast<float>(-0x1.0p20 * random.Uniform());
    ties[i] = (static_cast<float>(i) - 500.5F) * 0x1.0p-37F;
    tiny[i] = i % 2 == 0 ? -0.0F : 1e-40F;
  }
  return {ordinary, large, ties, tiny};
}

const Layout kLayout = TestLayout(kSize);

TEST(DeviceFoldingTest, HasTheHostsBitsInAnyOrderAndMix) {
  for (const double bound : {1.0, 64.0, 1000.0}) {
    ExactSum host(kSize, bound), device(kSize, bound), mixed(kSize, bound);
    const std::vector<std::vector<float>> all = Vectors();
    for (size_t i = 0; i < all.size(); ++i) {
      const double weight = bound * (i == 0 ? 0.3 : 0.125);
      ASSERT_TRUE(FoldPayload(OnHost(all[i]), weight, kLayout, host).ok());
      ASSERT_TRUE(FoldPayload(OnDevice(all[i]), weight, kLayout, device).ok());
    }
    for (size_t i = all.size(); i-- > 0;) {
      const double weight = bound * (i == 0 ? 0.3 : 0.125);
      ASSERT_TRUE(FoldPayload(i % 2 == 0 ? OnHost(all[i]) : OnDevice(all[i]), weight, kLayout, mixed).ok());
    }
    const std::vector<int64_t> expected(host.words().begin(), host.words().end());
    EXPECT_NE(expected.front(), 0);
    EXPECT_THAT(device.words(), ElementsAreArray(expected));
    EXPECT_THAT(mixed.words(), ElementsAreArray(expected));
  }
}

TEST(DeviceFoldingTest, AWholeWeightAtTheEndOfTheRangeFits) {
  ExactSum host(1, 1), device(1, 1);
  ASSERT_TRUE(host.Add(std::vector<float>{-0x1.0p20F}, 1).ok());
  ASSERT_TRUE(FoldPayload(OnDevice({-0x1.0p20F}), 1, TestLayout(1), device).ok());
  EXPECT_THAT(device.words(), ElementsAreArray(host.words()));
}

TEST(DeviceFoldingTest, WhoeverReadsTheSumHasItAll) {
  const std::vector<float> x = Vectors().front();
  const auto fold = [&](ExactSum& sum) {
    ASSERT_TRUE(FoldPayload(OnDevice(x), 2, kLayout, sum).ok());
    ASSERT_TRUE(FoldPayload(OnDevice(x), 2, kLayout, sum).ok());
  };
  std::vector<float> out(kSize);
  ExactSum mean(kSize, 4), taken(kSize, 4), quotient(kSize, 4), added(kSize, 4), other(kSize, 4);
  fold(mean);
  ASSERT_TRUE(mean.Mean(out).ok());
  EXPECT_FLOAT_EQ(out[7], x[7]);
  fold(quotient);
  ASSERT_TRUE(quotient.Quotient(8, out).ok());
  EXPECT_FLOAT_EQ(out[7], x[7] / 2);
  fold(other);
  ASSERT_TRUE(added.AddWords(other.words()).ok());
  ASSERT_TRUE(added.Mean(out).ok());
  EXPECT_FLOAT_EQ(out[7], x[7]);
  fold(taken);
  EXPECT_EQ(taken.terms(), 2);
  const auto all = std::move(taken).TakeMean();
  ASSERT_TRUE(all.ok());
  EXPECT_EQ(*all, out);
}

TEST(DeviceFoldingTest, RefusesWhatTheHostRefusesInTheSameWords) {
  std::vector<float> good = Vectors().front();
  for (const float bad :
       {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity(), -2e6F}) {
    std::vector<float> x = good;
    x[700] = bad;
    ExactSum host(kSize, 4), device(kSize, 4);
    ASSERT_TRUE(FoldPayload(OnDevice(good), 1, kLayout, device).ok());
    const std::vector<int64_t> before(device.words().begin(), device.words().end());
    const absl::Status refused = FoldPayload(OnDevice(x), 1, kLayout, device);
    EXPECT_THAT(Message(refused), HasSubstr("element 700"));
    EXPECT_EQ(refused, FoldPayload(OnHost(x), 1, kLayout, host));
    EXPECT_THAT(device.words(), ElementsAreArray(before));
  }
  for (const double weight : {-1.0, 5.0, std::nan("")}) {
    ExactSum host(kSize, 4), device(kSize, 4);
    EXPECT_FALSE(FoldPayload(OnDevice(good), weight, kLayout, device).ok());
    EXPECT_EQ(FoldPayload(OnDevice(good), weight, kLayout, device),
              FoldPayload(OnHost(good), weight, kLayout, host));
    EXPECT_EQ(device.terms(), 0);
  }
}

TEST(DeviceFoldingTest, APayloadThatIsNotWhatItSaysIsRefused) {
  Payload other = OnDevice({1, 2, 3});
  other.bytes = PayloadHeader(kIdentityCodec, kLayout);
  Payload coded = OnDevice(Vectors().front());
  coded.bytes = PayloadHeader(6, kLayout);
  for (const Payload& payload : {other, coded}) {
    ExactSum sum(kSize, 1);
    EXPECT_EQ(FoldPayload(payload, 1, kLayout, sum).code(), absl::StatusCode::kInvalidArgument);
    EXPECT_EQ(DecodePayload(payload, kLayout).status().code(), absl::StatusCode::kInvalidArgument);
  }
}

TEST(DeviceFoldingTest, APayloadComesToTheHostWhole) {
  const std::vector<float> x = Vectors().front();
  Payload payload = OnDevice(x);
  const Payload host = OnHost(x);
  EXPECT_EQ(payload.size(), host.size());
  EXPECT_EQ(payload.view().size(), kPayloadHeaderBytes);
  EXPECT_EQ(*DecodePayload(payload, kLayout), x);
  ASSERT_TRUE(FetchPayload(payload).ok());
  EXPECT_EQ(payload.on_device, nullptr);
  EXPECT_TRUE(payload.bytes == host.bytes);
  ASSERT_TRUE(FetchPayload(payload).ok());  // there already
  EXPECT_TRUE(payload.bytes == host.bytes);
}

// Its update is on a device.
class Distant final : public Trainer {
 public:
  const Layout& layout() const override { return kLayout; }
  int64_t num_samples() const override { return 1; }
  absl::StatusOr<TrainingResult> Train(const TrainingJob& job, ConstParameters /*global*/,
                                       std::span<float> delta, State& /*memory*/) override {
    const std::vector<float> x = Vectors().front();
    TrainingResult result{.num_samples = 1};
    if (job.may_stay) {
      result.on_device = OnDevice(x).on_device;
    } else {
      std::copy(x.begin(), x.end(), delta.begin());
    }
    return result;
  }
};

TEST(DeviceFoldingTest, OnlyWhatIsSentAsItIsStaysAndOnlyIfTheCallerHasItSo) {
  for (const char* name : {"identity", "top_k", "float16"}) {
    const auto compressor = MakeCompressor({name, {}});
    for (const char* memory : {"none", "ef14"}) {
      const auto feedback = Registry<ErrorFeedback>::Get().Create(
          {memory, {}}, {.compressor = compressor.get(), .layout = &kLayout});
      if (!feedback.ok()) continue;
      const std::vector<float> global(kSize);
      std::vector<std::string> bytes;
      for (const bool leave : {false, true}) {
        Distant trainer;
        LocalUpdate update;
        TaskFailure failure;
        ASSERT_TRUE(TaskRunner().Run(trainer, **feedback, {}, global, State(), update, failure, leave));
        const bool stays = leave && std::string(name) == "identity" && std::string(memory) == "none";
        EXPECT_EQ(update.payload.on_device != nullptr, stays) << name << " " << memory;
        ASSERT_TRUE(FetchPayload(update.payload).ok());
        bytes.push_back(update.payload.bytes);
      }
      EXPECT_TRUE(bytes[0] == bytes[1]);
    }
  }
}

class DeviceVectorGpuTest : public GpuFixture {};

TEST_F(DeviceVectorGpuTest, EncodesAndFoldsAsTheHostDoes) {
  const at::Device place = device_->place();
  ExactSum host(kSize, 64), there(kSize, 64);
  for (const std::vector<float>& x : Vectors()) {
    ASSERT_TRUE(FoldPayload(OnHost(x), 8, kLayout, host).ok());
    ASSERT_TRUE(FoldPayload(OnDevice(x, place), 8, kLayout, there).ok());
    std::vector<PluginConfig> configs = {{"top_k", {}}, {"ternary", {}}};
    for (int64_t bits = 2; bits <= 8; ++bits) {
      configs.push_back({"quantize", {{"bits", bits}, {"bucket", int64_t{60}}}});
    }
    for (const PluginConfig& config : configs) {
      const auto compressor = MakeCompressor(config);
      const auto expected = compressor->Compress(x, kLayout, RandomKey());
      const auto encoded = compressor->CompressOnDevice(*OnDevice(x, place).on_device, kLayout, RandomKey());
      ASSERT_TRUE(expected.ok() && encoded.ok()) << encoded.status();
      EXPECT_TRUE(encoded->bytes == expected->bytes) << Describe(config);
    }
    const auto signs = MakeCompressor({"sign", {{"scale", std::string("none")}}});
    const auto encoded = signs->CompressOnDevice(*OnDevice(x, place).on_device, kLayout, RandomKey());
    ASSERT_TRUE(encoded.ok()) << encoded.status();
    EXPECT_TRUE(encoded->bytes == signs->Compress(x, kLayout, RandomKey())->bytes);
  }
  EXPECT_THAT(there.words(), ElementsAreArray(host.words()));
}

}  // namespace
}  // namespace muster
