// What clients send that were trained in a group on a device, where their updates stay there and where the
// host encodes them. The CPU serves as the device.
#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <limits>
#include <memory>
#include <numeric>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "compression/error_feedback.h"
#include "core/config.h"
#include "simulation/virtual_clients.h"
#include "tests/compression/cases.h"

namespace muster {
namespace {

constexpr int64_t kClients = 6;
constexpr ClientId kIll = 2;  // has a sample that no model bears

// No error feedback that does not say so: the host encodes.
class ByTheHost final : public ErrorFeedback {
 public:
  ByTheHost(const Compressor& compressor, const Layout& layout) : compressor_(compressor), layout_(layout) {}
  absl::StatusOr<Payload> Encode(std::span<const float> update, const RandomKey& key,
                                 State& /*memory*/) const override {
    return compressor_.Compress(update, layout_, key);
  }

 private:
  const Compressor& compressor_;
  const Layout& layout_;
};

class GroupUpdatesTest : public testing::Test {
 protected:
  GroupUpdatesTest() {
    TrainTest samples;
    samples.train.sample_shape = {12};
    samples.train.num_classes = 3;
    Random random({.seed = 1});
    for (uint32_t i = 0; i < 20 * kClients; ++i) {
      samples.train.labels.push_back(i % 3);
      for (int64_t j = 0; j < 12; ++j) {
        samples.train.inputs.push_back(static_cast<float>(random.Normal()));
      }
    }
    samples.train.inputs[20 * kIll * 12] = std::numeric_limits<float>::quiet_NaN();
    data_.samples = std::make_shared<const TrainTest>(std::move(samples));
    for (uint32_t client = 0; client < kClients; ++client) {
      std::vector<uint32_t> slice(20);
      std::iota(slice.begin(), slice.end(), 20 * client);
      data_.training.AddClient(slice);
    }
    cohort_.resize(kClients);
    std::iota(cohort_.begin(), cohort_.end(), 0);
    const TrainerOptions options{.batch_size = 8,
                                 .optimizer = {"sgd", {{"learning_rate", 0.05}, {"momentum", 0.9}}},
                                 .device = std::make_shared<ComputeDevice>(at::kCPU)};
    auto model = *MakeModel({"mlp", {{"hidden", std::vector<int64_t>{250, 250}}}},
                            {.input_shape = {12}, .outputs = 3, .folder = ""}, 3);
    task_.task = {
        .round = 4,
        .seed = 2,
        .model = std::make_shared<const std::vector<float>>(model->values().begin(), model->values().end()),
        .epochs = 2};
    task_.cohort = kClients;
    batched_ = *BatchedTrainer::Make(*model, data_.train(), options);
    trainer_ = *LocalTrainer::Create(std::move(model), data_.train(), options);
  }

  const Layout& layout() const { return trainer_->layout(); }
  void Fold() { task_.task.folding = std::make_shared<const Folding>(); }
  std::vector<TrainedClient> Train(const ErrorFeedback& feedback) const {
    const VirtualClients clients(data_, feedback, adversaries_, Misfortunes(), batched_.get());
    EXPECT_GE(clients.Group(task_.task), kClients);
    return clients.Train(*trainer_, task_, cohort_, std::vector<State>(kClients));
  }
  std::unique_ptr<ErrorFeedback> Feedback(const std::string& name, const Compressor& compressor) const {
    return *Registry<ErrorFeedback>::Get().Create({name, {}},
                                                  {.compressor = &compressor, .layout = &layout()});
  }
  // The same failures, and the payloads that `same` holds for the same.
  void ExpectTheHosts(const std::vector<TrainedClient>& trained, const Compressor& compressor,
                      const std::function<void(const Payload& host, const Payload& device)>& same) const {
    const std::vector<TrainedClient> expected = Train(ByTheHost(compressor, layout()));
    for (size_t i = 0; i < kClients; ++i) {
      const auto* const host = std::get_if<Update>(&expected[i].outcome);
      const auto* const device = std::get_if<Update>(&trained[i].outcome);
      ASSERT_EQ(host == nullptr, i == kIll) << i;
      ASSERT_EQ(device == nullptr, i == kIll) << i;
      if (host == nullptr) {
        EXPECT_EQ(std::get<ClientFailure>(trained[i].outcome).message,
                  std::get<ClientFailure>(expected[i].outcome).message);
      } else {
        EXPECT_EQ(device->metrics.train_loss, host->metrics.train_loss);
        same(host->payload, device->payload);
      }
    }
  }

  FederatedData data_;
  Adversaries adversaries_;
  std::vector<ClientId> cohort_;
  VirtualTask task_;
  std::unique_ptr<BatchedTrainer> batched_;
  std::unique_ptr<LocalTrainer> trainer_;
};

void ExpectTheSameBytes(const Payload& host, const Payload& device) {
  EXPECT_TRUE(host.bytes == device.bytes);
  EXPECT_EQ(device.on_device, nullptr);
}

TEST_F(GroupUpdatesTest, AreEncodedOnTheDeviceAsTheHostEncodesThem) {
  for (const PluginConfig& config : {PluginConfig{"identity", {}},
                                     {"top_k", {{"ratio", 0.1}}},
                                     {"stc", {}},
                                     {"ternary", {}},
                                     {"quantize", {{"bits", int64_t{4}}}},
                                     {"sign", {{"scale", std::string("none")}}},
                                     {"float16", {}}}) {
    SCOPED_TRACE(Describe(config));
    const auto compressor = MakeCompressor(config);
    ExpectTheHosts(Train(*Feedback("none", *compressor)), *compressor, ExpectTheSameBytes);
  }
}

// The scales are sums, and the device has an order of its own.
TEST_F(GroupUpdatesTest, SignsDifferInTheLastBitOfTheirScalesAtMost) {
  const auto compressor = MakeCompressor({"sign", {}});
  ExpectTheHosts(Train(*Feedback("none", *compressor)), *compressor,
                 [&](const Payload& host, const Payload& device) {
                   const auto a = DecodePayload(host, layout()), b = DecodePayload(device, layout());
                   ASSERT_TRUE(a.ok() && b.ok()) << b.status();
                   for (size_t i = 0; i < a->size(); ++i) {
                     ASSERT_EQ(std::signbit((*a)[i]), std::signbit((*b)[i]));
                     ASSERT_LE((*b)[i], std::nextafter((*a)[i], INFINITY));
                     ASSERT_GE((*b)[i], std::nextafter((*a)[i], -INFINITY));
                   }
                 });
}

TEST_F(GroupUpdatesTest, AreFoldedOnTheDeviceWithTheHostsSum) {
  const auto compressor = MakeCompressor({"identity", {}});
  Fold();
  ExactSum host(layout().size, 1000), device(layout().size, 1000);
  ExpectTheHosts(Train(*Feedback("none", *compressor)), *compressor,
                 [&](const Payload& from_host, const Payload& there) {
                   EXPECT_NE(there.on_device, nullptr);
                   EXPECT_TRUE(FoldPayload(from_host, 20, layout(), host).ok());
                   EXPECT_TRUE(FoldPayload(there, 20, layout(), device).ok());
                 });
  EXPECT_EQ(device.terms(), kClients - 1);
  EXPECT_EQ(std::vector<int64_t>(device.words().begin(), device.words().end()),
            std::vector<int64_t>(host.words().begin(), host.words().end()));
}

TEST_F(GroupUpdatesTest, OfLiarsAndOfThoseWhoRememberComeToTheHost) {
  const auto compressor = MakeCompressor({"top_k", {{"ratio", 0.1}}});
  // What is remembered is what was not sent: together they are the update.
  const std::vector<TrainedClient> remembering = Train(*Feedback("ef14", *compressor));
  ExpectTheHosts(remembering, *compressor, ExpectTheSameBytes);
  for (size_t i = 0; i < kClients; ++i) EXPECT_EQ(remembering[i].if_taken.empty(), i == kIll) << i;

  v1::Experiment config;
  constexpr char kYaml[] = "{data: {dataset: rings, clients: 6}, model: mlp, federation: {rounds: 1}}";
  ASSERT_EQ(Message(LoadConfig(kYaml, "liars", ".",
                               {"simulation.adversaries=[{name: sign_flip, fraction: 0.5}]"}, config)),
            "");
  adversaries_ = *Adversaries::Create(config.simulation(), kClients, 3, 1);
  ASSERT_EQ(adversaries_.groups()[0].clients.size(), 3U);
  Fold();
  const auto identity = MakeCompressor({"identity", {}});
  ExpectTheHosts(Train(*Feedback("none", *identity)), *identity,
                 [&](const Payload& host, const Payload& sent) {
                   EXPECT_EQ(*DecodePayload(sent, layout()), *DecodePayload(host, layout()));
                 });
  for (const TrainedClient& trained : Train(*Feedback("none", *identity))) {
    const auto* const update = std::get_if<Update>(&trained.outcome);
    if (update == nullptr) continue;
    const bool lies = adversaries_.Of(update->client) != nullptr;
    EXPECT_EQ(update->payload.on_device == nullptr, lies) << update->client;
  }
}

}  // namespace
}  // namespace muster
