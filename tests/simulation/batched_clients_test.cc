// Whole simulated federations whose clients are trained in groups. The CPU serves as the device.
#include <gtest/gtest.h>

#include <cmath>
#include <memory>
#include <string>
#include <vector>

#include "core/config.h"
#include "simulation/simulated_federation.h"

namespace muster {
namespace {

// Of 150 clients, who are more than a group, some have ten times the samples of others.
std::vector<float> Train(const std::vector<std::string>& overrides, int workers) {
  constexpr char kYaml[] = R"(
seed: 2
data: {dataset: {name: rings, samples: 3000}, clients: 150, partition: {name: quantity, exponent: 0.5}}
model: {name: mlp, hidden: [6]}
training: {epochs: 2, batch_size: 10, optimizer: {name: sgd, learning_rate: 0.05, momentum: 0.9}}
federation: {rounds: 3, participation: {name: fixed, clients: 140}}
)";
  v1::Experiment config;
  EXPECT_EQ(Message(LoadConfig(kYaml, "batched", ".", overrides, config)), "");
  const auto federation =
      SimulatedFederation::Create(config, workers, std::make_shared<ComputeDevice>(at::kCPU));
  EXPECT_TRUE(federation.ok()) << federation.status();
  const auto model = (*federation)->Run(nullptr, "", {});
  EXPECT_TRUE(model.ok()) << model.status();
  return *model;
}

const std::string kOneByOne = "training.static_plan=false";

TEST(BatchedClientsTest, TrainAsOneByOneButForRounding) {
  const std::vector<float> together = Train({}, 2);
  const std::vector<float> alone = Train({kOneByOne}, 2);
  ASSERT_EQ(together.size(), alone.size());
  EXPECT_NE(together, alone);
  double difference = 0, norm = 0;
  for (size_t i = 0; i < alone.size(); ++i) {
    difference += std::pow(double{together[i]} - alone[i], 2);
    norm += std::pow(double{alone[i]}, 2);
  }
  EXPECT_LE(std::sqrt(difference), 1e-4 * std::sqrt(norm));
}

// Nor do colluders, who train twice, liars, those who drop out, compression with memory and lost updates.
TEST(BatchedClientsTest, WorkersDoNotChangeABit) {
  const std::vector<std::string> hard = {"training.compressor={name: top_k, ratio: 0.3}",
                                         "training.error_feedback=ef14", "simulation.lose_updates=0.2",
                                         "simulation.adversaries=[{name: flip_labels, fraction: 0.1}, {name: "
                                         "a_little_is_enough, fraction: 0.1}, "
                                         "{name: drop_out, fraction: 0.2, probability: 0.5}]"};
  const std::vector<float> expected = Train(hard, 1);
  EXPECT_EQ(Train(hard, 3), expected);
  std::vector<std::string> alone = hard;
  alone.push_back(kOneByOne);
  EXPECT_NE(Train(alone, 1), expected);
}

TEST(BatchedClientsTest, ThoseThatStepWithTheHostAreTrainedOneByOne) {
  const std::string clip = "training.optimizer=clip_sgd";
  EXPECT_EQ(Train({clip}, 2), Train({clip, kOneByOne}, 1));
}

// Who is asked for its loss is trained by itself.
TEST(BatchedClientsTest, StatisticsAreToldByThoseTrainedOneByOne) {
  const std::string asks = "federation.selector=oort";
  EXPECT_EQ(Train({asks}, 2), Train({asks, kOneByOne}, 1));
}

}  // namespace
}  // namespace muster
