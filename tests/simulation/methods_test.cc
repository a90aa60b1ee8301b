// Federated methods in whole simulated federations: with every local optimiser, with ISP, compression and
// lost updates, on any number of workers, stopped and resumed.
#include <gmock/gmock.h>
#include <unistd.h>

#include <filesystem>

#include "absl/strings/str_cat.h"
#include "core/config.h"
#include "methods/method.h"
#include "simulation/simulated_federation.h"
#include "tests/optim/optimizers.h"

namespace muster {
namespace {

using ::testing::HasSubstr;

v1::Experiment Config(const std::vector<std::string>& overrides) {
  constexpr char kYaml[] = R"(
seed: 2
data: {dataset: {name: rings, samples: 400}, clients: 8, partition: {name: dirichlet, alpha: 0.5}}
model: {name: mlp, hidden: [8]}
training: {epochs: 2, batch_size: 10, optimizer: {name: sgd, learning_rate: 0.05}}
federation: {rounds: 6, participation: {name: fixed, clients: 4}}
)";
  v1::Experiment config;
  EXPECT_EQ(Message(LoadConfig(kYaml, "methods", ".", overrides, config)), "");
  return config;
}

// All that must not show in the bits, or must survive: ISP, losses on the way, compression with memory.
std::vector<std::string> Hard(const std::string& method) {
  return {absl::StrCat("training.method=", method),
          "data.trust.samples=50",
          "federation.participation={name: isp, initial_clients: 3, period: 2, subsets: 2, warmup_rounds: 1}",
          "training.compressor={name: top_k, ratio: 0.3}",
          "training.error_feedback=ef14",
          "training.schedule=cosine",
          "simulation.lose_updates=0.2"};
}

absl::StatusOr<std::vector<float>> Train(const std::vector<std::string>& overrides, int workers = 2) {
  MUSTER_ASSIGN_OR_RETURN(const auto federation, SimulatedFederation::Create(Config(overrides), workers));
  return federation->Run(nullptr, "", {});
}

std::vector<float> Model(const std::vector<std::string>& overrides, int workers = 2) {
  auto model = Train(overrides, workers);
  EXPECT_TRUE(model.ok()) << model.status();
  return model.ok() ? *std::move(model) : std::vector<float>();
}

class EverySimulatedMethod : public testing::TestWithParam<std::string> {};

TEST_P(EverySimulatedMethod, WorkersDoNotChangeABit) {
  const std::vector<float> expected = Model(Hard(GetParam()), 1);
  EXPECT_FALSE(expected.empty());
  EXPECT_EQ(Model(Hard(GetParam()), 3), expected);
}

class StopAfter final : public RoundListener {
 public:
  StopAfter(int64_t rounds, SimulatedFederation& federation) : rounds_(rounds), federation_(federation) {}
  void On(const Event& event) override {
    const auto* committed = std::get_if<RoundCommitted>(&event);
    if (committed != nullptr && committed->record.round + 1 == rounds_) federation_.RequestStop();
  }

 private:
  const int64_t rounds_;
  SimulatedFederation& federation_;
};

TEST_P(EverySimulatedMethod, StoppedAndResumedEndsWithTheSameBits) {
  const std::string folder =
      absl::StrCat(testing::TempDir(), "/muster_methods_", ::getpid(), "_", GetParam());
  std::filesystem::remove_all(folder);
  std::filesystem::create_directories(folder);
  const v1::Experiment config = Config(Hard(GetParam()));
  {
    auto journal = *Journal::Create(folder, Durability::kProcess);
    const auto federation = *SimulatedFederation::Create(config, 2);
    StopAfter stop(3, *federation);
    ASSERT_TRUE(federation->Run(journal.get(), absl::StrCat(folder, "/clients"), {&stop}).ok());
  }
  auto journal = *Journal::Open(folder, Durability::kProcess);
  ASSERT_EQ(journal->Records()->size(), 3U);
  const auto federation = *SimulatedFederation::Create(config, 2);
  const auto model = federation->Run(journal.get(), absl::StrCat(folder, "/clients"), {});
  ASSERT_TRUE(model.ok()) << model.status();
  EXPECT_EQ(*model, Model(Hard(GetParam())));
  std::filesystem::remove_all(folder);
}

// A method's correction changes where training goes, whatever makes the steps; with batches of their own and
// unequally many steps no two of these can end in the same place.
TEST_P(EverySimulatedMethod, WorksWithEveryLocalOptimiser) {
  for (const std::string& optimizer : OptimizersThatLearn()) {
    SCOPED_TRACE(optimizer);
    const std::string choice = absl::StrCat("training.optimizer=", optimizer);
    const auto plain = Train({choice});
    if (!plain.ok()) continue;  // wants options or a server half
    const auto model = Train({choice, absl::StrCat("training.method=", GetParam())});
    if (!model.ok()) {
      EXPECT_THAT(Message(model.status()),
                  HasSubstr(absl::StrCat("the optimizer ", optimizer, " asks for none")));
    } else if (GetParam() == "none") {
      EXPECT_EQ(*model, *plain);
    } else {
      EXPECT_NE(*model, *plain);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(All, EverySimulatedMethod, testing::ValuesIn(Registry<Method>::Get().Names()),
                         [](const auto& info) { return info.param; });

TEST(SimulatedMethodsTest, WithoutTheirParameterTheyAreFedAvgBitForBit) {
  for (const std::string optimizer : {"{name: sgd, momentum: 0.9}", "adam"}) {
    const std::vector<std::string> base = {"federation.aggregator.weights=uniform",
                                           absl::StrCat("training.optimizer=", optimizer)};
    const auto with = [&](const std::string& method) {
      std::vector<std::string> overrides = base;
      overrides.push_back(absl::StrCat("training.method=", method));
      return Model(overrides);
    };
    const std::vector<float> expected = Model(base);
    EXPECT_EQ(with("{name: fedprox, mu: 0}"), expected);
    EXPECT_EQ(with("{name: feddyn, alpha: 0}"), expected);
    EXPECT_EQ(with("{name: scaffold, correction: 0}"), expected);
  }
}

// SCAFFOLD's vectors, counted in both directions.
TEST(SimulatedMethodsTest, WhatTravelsBesideTheModelIsCounted) {
  struct Bytes final : RoundListener {
    void On(const Event& event) override {
      const auto* committed = std::get_if<RoundCommitted>(&event);
      if (committed == nullptr) return;
      up = committed->record.totals.upload_bytes;
      down = committed->record.totals.download_bytes;
    }
    int64_t up = 0, down = 0;
  };
  const auto bytes = [](const std::string& method) {
    const auto federation =
        *SimulatedFederation::Create(Config({absl::StrCat("training.method=", method)}), 2);
    Bytes counted;
    EXPECT_TRUE(federation->Run(nullptr, "", {&counted}).ok());
    return std::pair{counted, federation->layout().size};
  };
  const auto [plain, size] = bytes("none");
  const int64_t updates = 6 * 4;
  EXPECT_EQ(plain.up, updates * (24 + 4 * size));
  EXPECT_EQ(plain.down, updates * (24 + 4 * size));
  const Bytes scaffold = bytes("scaffold").first, fednova = bytes("fednova").first;
  EXPECT_EQ(scaffold.up, 2 * plain.up);
  EXPECT_EQ(scaffold.down, plain.down + updates * 4 * size);
  EXPECT_EQ(fednova.up, plain.up + updates * 8);
  EXPECT_EQ(fednova.down, plain.down);
  EXPECT_EQ(bytes("feddyn").first.up, plain.up);
  EXPECT_EQ(bytes("fedprox").first.up, plain.up);
}

std::string Refusal(const std::vector<std::string>& overrides) {
  return Message(SimulatedFederation::Create(Config(overrides), 1).status());
}

TEST(SimulatedMethodsTest, CombinationsThatMakeNoSenseAreRefusedAtTheStart) {
  for (const std::string method : {"scaffold", "feddyn", "fednova"}) {
    const std::string choice = absl::StrCat("training.method=", method);
    for (const std::string aggregator : {"median", "krum", "majority_vote"}) {
      EXPECT_THAT(
          Refusal({choice, absl::StrCat("federation.aggregator=", aggregator)}),
          testing::AllOf(HasSubstr(absl::StrCat("training.method (", method, ")")), HasSubstr(aggregator)));
    }
    EXPECT_EQ(Refusal({choice, "federation.server_optimizer=adam"}), "");
  }
  EXPECT_EQ(Refusal({"training.method=fedprox", "federation.aggregator=median"}), "");
  EXPECT_THAT(
      Refusal({"training.method=feddyn", "training.error_feedback=ef21", "training.compressor=top_k"}),
      HasSubstr("ef21"));
  EXPECT_THAT(Refusal({"training.method=scaffold",
                       "federation.server_optimizer={name: also, groups: client, prior: uniform}"}),
              HasSubstr("also"));
}

}  // namespace
}  // namespace muster
