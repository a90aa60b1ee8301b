// Whole federations whose updates lie on a device until they are encoded or folded. The CPU serves as the
// device.
#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"
#include "tests/simulation/federations.h"

namespace muster {
namespace {

std::vector<float> Model(const std::vector<std::string>& overrides, int workers, bool device = true) {
  constexpr char kYaml[] = R"(
seed: 2
data: {dataset: {name: rings, samples: 400}, clients: 8, partition: {name: dirichlet, alpha: 0.5}}
model: {name: mlp, hidden: [8]}
training: {epochs: 1, batch_size: 10, static_plan: false, optimizer: {name: sgd, learning_rate: 0.05}}
federation: {rounds: 3, participation: {name: fixed, clients: 4}}
)";
  return TrainAlone(*MakeFederation(kYaml, overrides, workers, device));
}

TEST(DeviceUpdatesTest, WorkersDoNotChangeABit) {
  for (const char* compressor :
       {"identity", "sign", "{name: top_k, ratio: 0.2}", "{name: quantize, bits: 4}"}) {
    const std::vector<std::string> overrides = {absl::StrCat("training.compressor=", compressor),
                                                "simulation.lose_updates=0.2"};
    const std::vector<float> alone = Model(overrides, 1);
    EXPECT_FALSE(alone.empty());
    EXPECT_EQ(Model(overrides, 3), alone) << compressor;
  }
}

// What zstd packs without loss is folded with the host.
TEST(DeviceUpdatesTest, FoldedOnTheDeviceHaveTheBitsOfTheHostsFold) {
  const std::vector<float> there = Model({"training.compressor=identity"}, 2);
  EXPECT_EQ(Model({"training.compressor=zstd"}, 2), there);
  EXPECT_FALSE(there.empty());
}

// So do those of clients who were trained in groups, of a model so large that theirs stay, too.
TEST(DeviceUpdatesTest, OfGroupsHaveTheBitsOfTheHostsFold) {
  const auto large = [](const char* compressor, int workers) {
    return Model({"training.static_plan=true", "model.hidden=[256, 256]",
                  absl::StrCat("training.compressor=", compressor)},
                 workers);
  };
  const std::vector<float> there = large("identity", 1);
  EXPECT_GT(there.size(), size_t{1} << 16);
  EXPECT_EQ(large("identity", 3), there);
  EXPECT_EQ(large("zstd", 2), there);
}

// The steps differ from the host's in rounding; what is made of their update does not. A client that lies
// sees its update whole, and one that remembers what it did not send does so.
TEST(DeviceUpdatesTest, EndWhereThoseOfTheHostEnd) {
  for (const char* what :
       {"training.compressor=identity", "training.compressor={name: top_k, ratio: 0.2}",
        "training.error_feedback=ef14", "simulation.adversaries=[{name: sign_flip, fraction: 1}]",
        "training.method=fednova"}) {
    const std::vector<float> host = Model({what}, 1, /*device=*/false), there = Model({what}, 1);
    ASSERT_EQ(host.size(), there.size());
    for (size_t i = 0; i < host.size(); ++i) EXPECT_NEAR(host[i], there[i], 1e-5) << what;
  }
}

}  // namespace
}  // namespace muster
