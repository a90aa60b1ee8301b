// Simulated federations that tests make from a few lines of configuration, and their training by workers.
#ifndef MUSTER_TESTS_SIMULATION_FEDERATIONS_H_
#define MUSTER_TESTS_SIMULATION_FEDERATIONS_H_

#include <gtest/gtest.h>

#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "core/config.h"
#include "simulation/simulated_federation.h"

namespace muster {

// With `device` the CPU serves as one.
inline std::unique_ptr<SimulatedFederation> MakeFederation(const std::string& yaml,
                                                           const std::vector<std::string>& overrides,
                                                           int threads, bool device) {
  v1::Experiment config;
  EXPECT_EQ(Message(LoadConfig(yaml, "test", ".", overrides, config)), "");
  auto federation = SimulatedFederation::Create(config, threads,
                                                device ? std::make_shared<ComputeDevice>(at::kCPU) : nullptr);
  EXPECT_TRUE(federation.ok()) << federation.status();
  return *std::move(federation);
}

inline std::vector<float> TrainAlone(SimulatedFederation& federation) {
  auto model = federation.Run(nullptr, "", {});
  EXPECT_TRUE(model.ok()) << model.status();
  return model.ok() ? *std::move(model) : std::vector<float>();
}

// Rank 0 and its workers, each a thread in place of a process.
struct ThreadGroup {
  int processes = 2;
  bool train_here = false;  // rank 0, too
  std::string collective = "gloo";
  std::function<std::unique_ptr<SimulatedFederation>()> make;  // one for each process
  // What a worker does with its federation once the group is formed.
  std::function<void(int rank, SimulatedFederation& federation, WorkerGroup& group)> work;
  WorkersPool::Told told;
};

inline std::vector<float> TrainByThreads(const ThreadGroup& threads) {
  const auto options = [&threads](int rank, int port) {
    return WorkerGroupOptions{.place = {.rank = rank,
                                        .size = threads.processes,
                                        .local_rank = rank,
                                        .host = "127.0.0.1",
                                        .port = port},
                              .collective = threads.collective,
                              .patience_seconds = 30,
                              .threads = 1,
                              .common = {}};
  };
  const auto group = WorkerGroup::Open(options(0, 0));
  EXPECT_TRUE(group.ok()) << group.status();
  std::vector<std::thread> workers;
  for (int rank = 1; rank < threads.processes; ++rank) {
    workers.emplace_back([&, rank] {
      const auto own = WorkerGroup::Open(options(rank, (*group)->place().port));
      ASSERT_TRUE(own.ok() && (*own)->Form().ok());
      threads.work(rank, *threads.make(), **own);
    });
  }
  const absl::Status formed = (*group)->Form();
  EXPECT_TRUE(formed.ok()) << formed;
  const auto model = threads.make()->RunOnWorkers(**group, threads.train_here, threads.told, nullptr, "", {});
  for (std::thread& worker : workers) worker.join();
  EXPECT_TRUE(model.ok()) << model.status();
  return *model;
}

}  // namespace muster

#endif  // MUSTER_TESTS_SIMULATION_FEDERATIONS_H_
