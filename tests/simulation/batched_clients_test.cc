// Whole simulated federations whose clients are trained in groups. The CPU serves as the device.
#include <gtest/gtest.h>

#include <atomic>
#include <cmath>
#include <memory>
#include <string>
#include <vector>

#include "tests/simulation/federations.h"

namespace muster {
namespace {

// Of 150 clients, who are more than a group, some have ten times the samples of others.
std::unique_ptr<SimulatedFederation> Federation(const std::vector<std::string>& overrides, int threads) {
  constexpr char kYaml[] = R"(
seed: 2
data: {dataset: {name: rings, samples: 3000}, clients: 150, partition: {name: quantity, exponent: 0.5}}
model: {name: mlp, hidden: [6]}
training: {epochs: 2, batch_size: 10, optimizer: {name: sgd, learning_rate: 0.05, momentum: 0.9}}
federation: {rounds: 3, participation: {name: fixed, clients: 140}}
)";
  return MakeFederation(kYaml, overrides, threads, /*device=*/true);
}

std::vector<float> Train(const std::vector<std::string>& overrides, int threads) {
  return TrainAlone(*Federation(overrides, threads));
}

// By two workers of rank 0. The first one leaves for good when it has trained so many clients; 0: never.
std::vector<float> TrainByWorkers(const std::vector<std::string>& overrides, bool train_here,
                                  int leaves_after) {
  std::atomic<int> lost{0};
  const std::vector<float> model =
      TrainByThreads({.processes = 3,
                      .train_here = train_here,
                      .make = [&] { return Federation(overrides, 1); },
                      .work =
                          [&](int rank, SimulatedFederation& federation, WorkerGroup& group) {
                            std::atomic<int> trained{0};
                            const absl::Status worked = federation.Work(group, [&](double /*seconds*/) {
                              if (rank == 1 && ++trained == leaves_after) group.collective()->Close();
                            });
                            EXPECT_TRUE(worked.ok() || (rank == 1 && leaves_after > 0)) << worked;
                          },
                      .told = [&lost](const std::string& /*what*/) { ++lost; }});
  EXPECT_EQ(lost.load(), leaves_after > 0 ? 1 : 0);
  return model;
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
const std::vector<std::string> kHard = {
    "training.compressor={name: top_k, ratio: 0.3}", "training.error_feedback=ef14",
    "simulation.lose_updates=0.2",
    "simulation.adversaries=[{name: flip_labels, fraction: 0.1}, {name: a_little_is_enough, fraction: 0.1}, "
    "{name: drop_out, fraction: 0.2, probability: 0.5}]"};

TEST(BatchedClientsTest, ThreadsDoNotChangeABit) {
  const std::vector<float> expected = Train(kHard, 1);
  EXPECT_EQ(Train(kHard, 3), expected);
  std::vector<std::string> alone = kHard;
  alone.push_back(kOneByOne);
  EXPECT_NE(Train(alone, 1), expected);
}

// Their updates stay on the device until they are folded.
const std::vector<std::string> kLarge = {"model.hidden=[256, 256]",
                                         "data.dataset={name: rings, samples: 400}", "data.clients=20",
                                         "federation.participation={name: fixed, clients: 18}"};

TEST(BatchedClientsTest, NorDoWorkers) {
  for (const bool train_here : {false, true}) {
    EXPECT_EQ(TrainByWorkers(kLarge, train_here, 0), Train(kLarge, 1));
    EXPECT_EQ(TrainByWorkers(kHard, train_here, 0), Train(kHard, 1));
    EXPECT_EQ(TrainByWorkers({}, train_here, 0), Train({}, 1));  // who fold updates themselves
  }
}

// What others train of its group is trained with those whose answers had arrived.
TEST(BatchedClientsTest, NorDoesAWorkerThatIsLostWithHalfAGroupAnswered) {
  EXPECT_EQ(TrainByWorkers(kHard, true, 10), Train(kHard, 1));
  EXPECT_EQ(TrainByWorkers(kHard, false, 80), Train(kHard, 1));
  EXPECT_EQ(TrainByWorkers({}, true, 20), Train({}, 1));
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
