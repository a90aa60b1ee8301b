// Whole federations whose workers' sums are reduced, by NCCL on a stand-in of GPUs. The CPU serves as the
// device that trains.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "tests/simulation/federations.h"
#include "tests/simulation/nccl_stand_in.h"

namespace muster {
namespace {

using ::testing::HasSubstr;

constexpr int kRounds = 3;

class ReductionTest : public ::testing::Test {
 protected:
  void SetUp() override { stand_in_.bytes_up = stand_in_.bytes_down = 0; }
  void TearDown() override { stand_in_.reduces = nullptr; }

  static std::unique_ptr<SimulatedFederation> Federation(const std::vector<std::string>& overrides,
                                                         bool device) {
    constexpr char kYaml[] = R"(
seed: 2
data: {dataset: {name: rings, samples: 400}, clients: 20, partition: {name: dirichlet, alpha: 0.5}}
model: {name: mlp, hidden: [100]}
training: {epochs: 1, batch_size: 10, static_plan: false, optimizer: {name: sgd, learning_rate: 0.05}}
federation: {rounds: 3, participation: {name: fixed, clients: 12}}
)";
    return MakeFederation(kYaml, overrides, 1, device);
  }

  static std::vector<float> Alone(const std::vector<std::string>& overrides, bool device) {
    return TrainAlone(*Federation(overrides, device));
  }

  // `leave` gets the last worker's group as long as it stands.
  std::vector<float> ByWorkers(const std::vector<std::string>& overrides, bool device, bool train_here,
                               const std::function<void(WorkerGroup&)>& leave = {}) {
    told_.clear();
    return TrainByThreads({.processes = processes_,
                           .train_here = train_here,
                           .collective = "nccl_stand_in",
                           .make = [&] { return Federation(overrides, device); },
                           .work =
                               [&](int rank, SimulatedFederation& federation, WorkerGroup& group) {
                                 const bool leaves = leave && rank == processes_ - 1;
                                 if (leaves) leave(group);
                                 const absl::Status worked = federation.Work(group);
                                 EXPECT_NE(worked.ok(), leaves) << worked;
                               },
                           .told = [this](const std::string& what) { told_.push_back(what); }});
  }

  NcclStandIn& stand_in_ = NcclStandIn::Get();
  int processes_ = 4;
  std::vector<std::string> told_;
};

TEST_F(ReductionTest, ChangesNoBit) {
  for (const bool device : {false, true}) {
    const std::vector<float> expected = Alone({}, device);
    for (const bool train_here : {false, true}) EXPECT_EQ(ByWorkers({}, device, train_here), expected);
    EXPECT_TRUE(told_.empty());
  }
}

TEST_F(ReductionTest, SumsThatLieOnADeviceAreReducedFromThere) {
  std::atomic<int> reductions{0};
  stand_in_.reduces = [&](int /*rank*/) { return ++reductions > 0; };
  processes_ = 2;  // of several workers one may have nothing to give
  const auto size = static_cast<int64_t>(ByWorkers({}, /*device=*/true, /*train_here=*/false).size());
  EXPECT_EQ(reductions, kRounds * processes_ * 2);  // elements, and counts
  // Rank 0 gives the model, and zeros to add to; every process two counts.
  const int64_t elements = kRounds * size * static_cast<int64_t>(sizeof(float) + sizeof(int64_t));
  const int64_t counts = int64_t{kRounds} * processes_ * 2 * static_cast<int64_t>(sizeof(int64_t));
  EXPECT_EQ(stand_in_.bytes_up, elements + counts);
}

// What is not folded is not reduced.
TEST_F(ReductionTest, IsLeftOutWhereUpdatesAreNeededOneByOne) {
  std::atomic<int> reductions{0};
  stand_in_.reduces = [&](int /*rank*/) { return ++reductions > 0; };
  const std::vector<std::string> median = {"federation.aggregator=median"};
  EXPECT_EQ(ByWorkers(median, /*device=*/true, /*train_here=*/false), Alone(median, /*device=*/true));
  EXPECT_EQ(reductions, 0);
  const std::vector<std::string> liars = {"simulation.adversaries=[{name: sign_flip, fraction: 0.5}]",
                                          "simulation.lose_updates=0.2"};
  EXPECT_EQ(ByWorkers(liars, /*device=*/true, /*train_here=*/true), Alone(liars, /*device=*/true));
  EXPECT_GT(reductions, 0);
}

TEST_F(ReductionTest, ThatFailsIsToldAndTheSumsComeByMessages) {
  stand_in_.reduces = [](int rank) { return rank != 1; };
  for (const bool train_here : {false, true}) {
    EXPECT_EQ(ByWorkers({}, /*device=*/true, train_here), Alone({}, /*device=*/true));
    ASSERT_EQ(told_.size(), static_cast<size_t>(kRounds));
    for (const std::string& what : told_) EXPECT_THAT(what, HasSubstr("are sent one by one: nccl: "));
  }
}

// The one that leaves takes its sums along; its clients are trained by others.
TEST_F(ReductionTest, AWorkerThatIsLostInItChangesNoBit) {
  WorkerGroup* leaving = nullptr;
  std::thread closing;
  std::atomic<bool> left{false};
  stand_in_.reduces = [&](int rank) {
    if (rank == processes_ - 1 && !left.exchange(true)) {
      closing = std::thread([collective = leaving->collective()] { collective->Close(); });
      return false;
    }
    return true;
  };
  EXPECT_EQ(
      ByWorkers({}, /*device=*/true, /*train_here=*/true, [&](WorkerGroup& group) { leaving = &group; }),
      Alone({}, /*device=*/true));
  closing.join();
  EXPECT_THAT(told_, ::testing::Contains(HasSubstr("worker 3")));
}

}  // namespace
}  // namespace muster
