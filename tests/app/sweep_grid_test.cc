// Grid files: what they expand to, and what is wrong with them.
#include "app/sweep_grid.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "absl/strings/str_cat.h"

namespace muster {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

class SweepGridTest : public ::testing::Test {
 protected:
  void SetUp() override {
    folder_ = absl::StrCat(::testing::TempDir(), "muster-grid-", getpid());
    std::filesystem::create_directories(folder_);
    std::ofstream(absl::StrCat(folder_, "/base.yaml")) << "model: softmax\n";
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  absl::StatusOr<SweepGrid> Parse(const std::string& yaml) const {
    return ParseSweepGrid(yaml, absl::StrCat(folder_, "/grid.yaml"));
  }
  std::string Error(const std::string& yaml) const {
    const absl::Status status = Parse(yaml).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << yaml;
    return Message(status);
  }

  std::string folder_;
};

TEST_F(SweepGridTest, AGridIsEveryCombination) {
  const auto grid = Parse(R"(base: base.yaml
seeds: [3, 1]
grid:
  federation.participation.clients: [5, 10]
  split:
    iid: {data.partition: iid}
    skewed: {data.partition: {name: dirichlet, alpha: 0.3}, training.epochs: 2}
  training.optimizer: [sgd, {name: adam, learning_rate: 0.001}]
)");
  ASSERT_TRUE(grid.ok()) << grid.status();
  EXPECT_EQ(grid->name, "grid");
  EXPECT_THAT(grid->seeds, ElementsAre(3, 1));
  ASSERT_EQ(grid->arms.size(), 8U);
  EXPECT_EQ(grid->axes[0].header, "clients");
  EXPECT_THAT(grid->axes[2].settings, ElementsAre("sgd", "adam learning_rate=0.001"));
  EXPECT_EQ(grid->arms[0].name, "clients=5, iid, sgd");
  EXPECT_EQ(grid->arms[7].name, "clients=10, skewed, adam learning_rate=0.001");
  EXPECT_EQ(grid->arms[7].folder, "clients=10_skewed_adam_learning_rate=0.001");
  std::vector<std::string> paths;
  for (const ConfigOverride& change : grid->arms[7].overrides) paths.push_back(change.path);
  EXPECT_THAT(paths, ElementsAre("federation.participation.clients", "data.partition", "training.epochs",
                                 "training.optimizer"));
  // Each arm beside the one that differs from it in the selected settings only.
  EXPECT_EQ(grid->ArmWith(7, {{1, 0}}), 5U);
  EXPECT_EQ(grid->ArmWith(5, {{0, 0}, {2, 0}}), 0U);
}

TEST_F(SweepGridTest, ArmsAreAListOfNamedSettings) {
  const auto grid = Parse(R"(name: arms
base: base.yaml
arms:
  plain: {}
  longer: {training.epochs: 3}
baseline: plain
target: {share: 0.9, of: longer}
final_evaluations: 2
)");
  ASSERT_TRUE(grid.ok()) << grid.status();
  ASSERT_EQ(grid->arms.size(), 2U);
  EXPECT_EQ(grid->arms[1].name, "longer");
  EXPECT_TRUE(grid->seeds.empty());
  EXPECT_EQ(grid->ArmWith(1, *grid->baseline), 0U);
  EXPECT_EQ(grid->ArmWith(0, grid->target->of), 1U);
  EXPECT_EQ(grid->target->share, 0.9);
  EXPECT_EQ(grid->final_evaluations, 2);
}

TEST_F(SweepGridTest, EqualLastPartsKeepTheirPaths) {
  const auto grid = Parse(
      "base: base.yaml\ngrid:\n  training.optimizer.learning_rate: [1]\n  "
      "federation.server_optimizer.learning_rate: "
      "[1]\n");
  ASSERT_TRUE(grid.ok()) << grid.status();
  EXPECT_EQ(grid->axes[0].header, "training.optimizer.learning_rate");
}

TEST_F(SweepGridTest, WhatIsWrongIsToldWithItsPlace) {
  struct Case {
    const char* yaml;
    const char* says;
  };
  const Case cases[] = {
      {"", "must hold a map"},
      {"grid: {training.epochs: [1]}", "base: is missing"},
      {"base: nowhere.yaml\ngrid: {training.epochs: [1]}", "grid.yaml:1: base: no such file"},
      {"base: base.yaml", "either 'arms'"},
      {"base: base.yaml\narms: {a: {}}\ngrid: {training.epochs: [1]}", "either 'arms'"},
      {"base: base.yaml\nsed: [1]\narms: {a: {}}", "grid.yaml:2: sed: unknown key, did you mean 'seeds'?"},
      {"base: base.yaml\nseeds: 3\narms: {a: {}}", "seeds: must be a list"},
      {"base: base.yaml\nseeds: [1, 1]\narms: {a: {}}", "1 is given twice"},
      {"base: base.yaml\nseeds: [-1]\narms: {a: {}}", "at least 0"},
      {"base: base.yaml\narms: {}", "arms: must be a map of names"},
      {"base: base.yaml\narms: {a: 3}", "a: must be a map of paths"},
      {"base: base.yaml\ngrid: {training.epochs: []}", "training.epochs: must be a list of values"},
      {"base: base.yaml\ngrid: {training.epochs: 3}", "training.epochs: must be a list of values"},
      {"base: base.yaml\ngrid: {training.epochs: [3, 3]}", "'3' is given twice"},
      {"base: base.yaml\ngrid: {seed: [3, 4]}", "list seeds under 'seeds'"},
      {"base: base.yaml\ngrid: {training.epochs: [1], x: {a: {training.epochs: 2}}}",
       "sets 'training.epochs'"},
      {"base: base.yaml\narms: {a b: {}, a+b: {}}", "would share a folder"},
      {"base: base.yaml\narms: {a: {}}\nbaseline: b", "grid.yaml:3: baseline: there is no 'b'"},
      {"base: base.yaml\ngrid: {training.epochs: [1, 2]}\nbaseline: {epoch: 1}", "no axis 'epoch'"},
      {"base: base.yaml\narms: {a: {}}\ntarget: {share: 0.9}", "a share needs"},
      {"base: base.yaml\narms: {a: {}}\ntarget: {accuracy: 90}", "accuracy: must be a number above 0"},
      {"base: base.yaml\narms: {a: {}}\ntarget: {accuracy: 0.9, share: 0.5}", "give either"},
      {"base: base.yaml\narms: {a: {}}\nfinal_evaluations: 0", "at least 1"},
      {"base: base.yaml\narms: {a: {}}\ntable: {rows: arm, columns: arm}", "must be two axes"},
      {"base: base.yaml\narms: {a: {}}\ntable: {rows: arm}", "needs 'columns'"},
  };
  for (const Case& wrong : cases) EXPECT_THAT(Error(wrong.yaml), HasSubstr(wrong.says)) << wrong.yaml;
}

}  // namespace
}  // namespace muster
