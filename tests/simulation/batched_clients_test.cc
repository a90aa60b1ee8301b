// Whole simulated federations whose clients are trained in groups. The CPU serves as the device.
#include <gtest/gtest.h>

#include <atomic>
#include <cmath>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "core/config.h"
#include "simulation/simulated_federation.h"

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
  v1::Experiment config;
  EXPECT_EQ(Message(LoadConfig(kYaml, "batched", ".", overrides, config)), "");
  auto federation = SimulatedFederation::Create(config, threads, std::make_shared<ComputeDevice>(at::kCPU));
  EXPECT_TRUE(federation.ok()) << federation.status();
  return *std::move(federation);
}

std::vector<float> Train(const std::vector<std::string>& overrides, int threads) {
  const auto model = Federation(overrides, threads)->Run(nullptr, "", {});
  EXPECT_TRUE(model.ok()) << model.status();
  return *model;
}

// By two workers of rank 0, each a thread in place of a process. The first one leaves for good when it has
// trained so many clients; 0: never.
std::vector<float> TrainByWorkers(const std::vector<std::string>& overrides, bool train_here,
                                  int leaves_after) {
  constexpr int kProcesses = 3;
  const auto options = [](int rank, int port) {
    return WorkerGroupOptions{
        .place = {.rank = rank, .size = kProcesses, .local_rank = rank, .host = "127.0.0.1", .port = port},
        .patience_seconds = 30,
        .threads = 1,
        .common = {}};
  };
  const auto group = WorkerGroup::Open(options(0, 0));
  EXPECT_TRUE(group.ok()) << group.status();
  std::vector<std::thread> workers;
  for (int rank = 1; rank < kProcesses; ++rank) {
    workers.emplace_back([&, rank] {
      const auto own = WorkerGroup::Open(options(rank, (*group)->place().port));
      ASSERT_TRUE(own.ok() && (*own)->Form().ok());
      std::atomic<int> trained{0};
      const absl::Status worked = Federation(overrides, 1)->Work(**own, [&](double /*seconds*/) {
        if (rank == 1 && ++trained == leaves_after) (*own)->collective()->Close();
      });
      EXPECT_TRUE(worked.ok() || (rank == 1 && leaves_after > 0)) << worked;
    });
  }
  const absl::Status formed = (*group)->Form();
  EXPECT_TRUE(formed.ok()) << formed;
  std::atomic<int> lost{0};
  const auto model = Federation(overrides, 1)
                         ->RunOnWorkers(**group, train_here, [&lost](const std::string& /*what*/) { ++lost; },
                                        nullptr, "", {});
  for (std::thread& worker : workers) worker.join();
  EXPECT_TRUE(model.ok()) << model.status();
  EXPECT_EQ(lost.load(), leaves_after > 0 ? 1 : 0);
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
