// The worked examples of CONTRIBUTING.md compile, register and train together.
#include <gtest/gtest.h>

#include "core/config.h"
#include "simulation/simulated_federation.h"

namespace muster {
namespace {

TEST(PluginExamplesTest, TheyTrainAFederationTogether) {
  constexpr char kYaml[] = R"(
data: {dataset: {name: rings, samples: 400}, clients: 8}
model: {name: bottleneck, width: 16}
training: {epochs: 5, optimizer: {name: normalized_sgd, learning_rate: 0.1}, compressor: int16,
           method: {name: fedcm, share: 0.5, learning_rate: 0.1}}
federation:
  rounds: 15
  participation: {name: ramp, from: 2, to: 8}
  aggregator: {name: capped, cap: 40}
)";
  v1::Experiment config;
  ASSERT_EQ(Message(LoadConfig(kYaml, "examples", ".", {}, config)), "");
  auto federation = SimulatedFederation::Create(config, 2);
  ASSERT_TRUE(federation.ok()) << federation.status();
  auto model = (*federation)->Run(nullptr, "", {});
  ASSERT_TRUE(model.ok()) << model.status();
  EXPECT_NE(*model, (*federation)->initial_model());
  const auto again = SimulatedFederation::Create(config, 1);
  ASSERT_TRUE(again.ok());
  EXPECT_EQ(*(*again)->Run(nullptr, "", {}), *model);
}

}  // namespace
}  // namespace muster
