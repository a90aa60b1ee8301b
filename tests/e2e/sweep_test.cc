// `muster sweep` as a user runs it: grids, killed and run again, and everything that can be wrong with them.
#include <gmock/gmock.h>

#include <algorithm>

#include "tests/e2e/fixture.h"

namespace muster {
namespace {

using ::testing::HasSubstr;

class SweepTest : public Federation {
 protected:
  void SetUp() override {
    Federation::SetUp();
    WriteAll(Path("grid.yaml"), kGrid);
  }
  Result Sweep(const std::string& out, std::vector<std::string> more = {}) const {
    std::vector<std::string> arguments = {"sweep", Path("grid.yaml"), "--quiet", "--out", Path(out)};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return Run(std::move(arguments));
  }
  std::string SummaryText(const std::string& out) const { return ReadAll(Path(out) + "/summary.json"); }
  static constexpr char kGrid[] = R"(name: small
base: config.yaml
seeds: [0, 1]
grid:
  federation.participation:
    - {name: fixed, clients: 4}
    - {name: fixed, clients: 8}
  rate:
    normal: {}
    wild: {training.optimizer: {name: sgd, learning_rate: 1e30}}
baseline: {rate: normal}
target: {accuracy: 0.5}
final_evaluations: 2
table: {rows: rate, columns: participation}
)";
};

TEST_F(SweepTest, RunsEveryCellAndComparesThem) {
  const Result run = Sweep("out");
  ASSERT_EQ(run.code, 0) << run.error;
  EXPECT_THAT(run.output, HasSubstr("accuracy % by rate and participation"));
  EXPECT_THAT(run.output, HasSubstr("diverged"));
  for (const char* file : {"grid.yaml", "summary.json", "table.md", "table.tex", "report.html"}) {
    EXPECT_TRUE(std::filesystem::exists(Path("out") + "/" + file)) << file;
  }
  const nlohmann::json summary = Summary("out");
  ASSERT_EQ(summary["arms"].size(), 4U);
  const nlohmann::json& normal = summary["arms"][0];
  EXPECT_EQ(normal["accuracy"]["count"], 2);
  EXPECT_GT(normal["accuracy"]["mean"], 0.5);
  EXPECT_EQ(normal["uploads"]["mean"], 4 * 12);
  EXPECT_EQ(summary["arms"][1]["diverged"], 2);
  // A cell is what `simulate` makes of the same settings.
  const Result alone =
      Simulate("alone", {"--set", "seed=1", "--set", "federation.participation={name: fixed, clients: 4}"});
  ASSERT_EQ(alone.code, 0) << alone.error;
  EXPECT_EQ(normal["cells"][1]["model_sha256"], ModelHash("alone"));
}

TEST_F(SweepTest, SameBitsHoweverManyCellsRunAtATime) {
  ASSERT_EQ(Sweep("one", {"--workers", "1"}).code, 0);
  ASSERT_EQ(Sweep("six", {"--workers", "6"}).code, 0);
  EXPECT_EQ(SummaryText("one"), SummaryText("six"));
}

TEST_F(SweepTest, KilledAndRunAgainGivesTheSameSummary) {
  ASSERT_EQ(Sweep("whole").code, 0);
  {
    Process process({Muster(), "sweep", Path("grid.yaml"), "--workers", "1", "--out", Path("killed")},
                    folder_);
    // In the middle of some cell, when the first is done.
    while (process.error().find("cell 1/8") == std::string::npos) sched_yield();
    process.Signal(SIGKILL);
    process.Wait();
  }
  EXPECT_FALSE(std::filesystem::exists(Path("killed/summary.json")));
  ASSERT_EQ(Sweep("killed").code, 0);
  EXPECT_EQ(SummaryText("killed"), SummaryText("whole"));
  // Once more, with nothing left to do: everything is read.
  ASSERT_EQ(Sweep("killed").code, 0);
  EXPECT_EQ(SummaryText("killed"), SummaryText("whole"));
}

TEST_F(SweepTest, WrongGridsAreRefusedBeforeAnythingRuns) {
  struct Case {
    const char* from;
    const char* to;
    const char* says;
  };
  const Case cases[] = {
      {"config.yaml", "nowhere.yaml", "grid.yaml:2: base: no such file"},
      {"clients: 8", "clients: 0", "grid.yaml:7: federation.participation.clients: 0 is out of range"},
      {"name: sgd", "name: sdg", "grid.yaml:10: training.optimizer.name: unknown 'sdg', did you mean 'sgd'?"},
      {"training.optimizer: {", "training.optimiser: {", "grid.yaml:10: training.optimiser: unknown key"},
      {"{name: sgd, learning_rate: 1e30}", "{name: sgd, learning_rate: 0.1, momentum: -1}", "momentum"},
      {"normal: {}", "normal: {data.clients: 100000}", "data.clients"},
      {"normal: {}", "normal: {data.trust.samples: 100000}", "data.trust.samples"},
      {"accuracy: 0.5", "accuracy: 50", "grid.yaml:12: accuracy: must be a number above 0"},
      {"rate: normal", "rate: norml", "did you mean 'normal'?"},
  };
  for (const Case& wrong : cases) {
    std::string grid = kGrid;
    grid.replace(grid.find(wrong.from), std::string(wrong.from).size(), wrong.to);
    WriteAll(Path("grid.yaml"), grid);
    const Result run = Sweep("out");
    EXPECT_EQ(run.code, 2) << wrong.to << "\n" << run.error;
    EXPECT_THAT(run.error, HasSubstr(wrong.says)) << wrong.to;
    EXPECT_EQ(std::count(run.error.begin(), run.error.end(), '\n'), 1) << run.error;
    EXPECT_FALSE(std::filesystem::exists(Path("out"))) << wrong.to;
  }
}

TEST_F(SweepTest, WhatIsThereIsNotLost) {
  ASSERT_EQ(Sweep("out").code, 0);
  const std::string before = SummaryText("out");
  const Result other = Sweep("out", {"--set", "federation.rounds=13"});
  EXPECT_EQ(other.code, 2);
  EXPECT_THAT(other.error, HasSubstr("another configuration"));
  EXPECT_EQ(SummaryText("out"), before);
  const Result swept = Sweep("new", {"--set", "federation.participation=fixed"});
  EXPECT_EQ(swept.code, 2);
  EXPECT_THAT(swept.error, HasSubstr("the sweep sets 'federation.participation' itself"));
  std::filesystem::create_directories(Path("full"));
  WriteAll(Path("full/file"), "mine");
  EXPECT_EQ(Sweep("full").code, 2);
  EXPECT_EQ(ReadAll(Path("full/file")), "mine");
}

TEST_F(SweepTest, AdversariesAreReported) {
  const Result run =
      Simulate("liars", {"--set", "simulation.adversaries=[{name: sign_flip, fraction: 0.25, factor: 5}]"});
  ASSERT_EQ(run.code, 0) << run.error;
  EXPECT_EQ(Summary("liars")["adversaries"]["sign_flip"].size(), 6U);
  EXPECT_THAT(run.error, HasSubstr("sign_flip"));
  const Result wrong =
      Simulate("none", {"--set", "simulation.adversaries=[{name: sign_flop, fraction: 0.25}]"});
  EXPECT_EQ(wrong.code, 2);
  EXPECT_THAT(wrong.error,
              HasSubstr("simulation.adversaries[0].name: unknown 'sign_flop', did you mean 'sign_flip'?"));
}

}  // namespace
}  // namespace muster
