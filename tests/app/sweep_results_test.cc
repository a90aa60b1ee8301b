// Means, intervals and tables of sweeps, against values computed by hand or taken from tables of Student's t.
#include "app/sweep_results.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"

namespace muster {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

TEST(StudentT, AgreesWithTables) {
  EXPECT_NEAR(StudentT95(1), 12.7062047, 1e-6);
  EXPECT_NEAR(StudentT95(2), 4.3026527, 1e-6);
  EXPECT_NEAR(StudentT95(4), 2.7764451, 1e-6);
  EXPECT_NEAR(StudentT95(9), 2.2621572, 1e-6);
  EXPECT_NEAR(StudentT95(30), 2.0422725, 1e-6);
  EXPECT_NEAR(StudentT95(1'000'000), 1.9599664, 1e-4);
}

TEST(MakeEstimate, IsTheMeanAndHalfTheInterval) {
  const Estimate three = MakeEstimate(std::vector<double>{1, 2, 3});  // deviation 1
  EXPECT_DOUBLE_EQ(three.mean, 2);
  EXPECT_NEAR(three.half_width, 4.3026527 / std::sqrt(3.0), 1e-6);
  EXPECT_EQ(MakeEstimate(std::vector<double>{5, 5}).half_width, 0);
  EXPECT_TRUE(std::isnan(MakeEstimate(std::vector<double>{5}).half_width));
  EXPECT_EQ(MakeEstimate({}).count, 0);
}

// Two axes, {a, b} x {x, y}, two seeds.
SweepGrid Grid() {
  SweepGrid grid;
  grid.name = "test";
  grid.axes = {{"first", "first", {"a", "b"}}, {"second", "second", {"x", "y"}}};
  for (size_t i = 0; i < 2; ++i) {
    for (size_t k = 0; k < 2; ++k) {
      SweepArm& arm = grid.arms.emplace_back();
      arm.settings = {i, k};
      arm.name = absl::StrCat(grid.axes[0].settings[i], ", ", grid.axes[1].settings[k]);
    }
  }
  grid.seeds = {0, 1};
  grid.baseline = {{0, 0}};
  grid.target = SweepTarget{.accuracy = 0, .share = 0.9, .of = {{0, 0}}};
  grid.table = SweepTable{.rows = 0, .columns = 1};
  grid.final_evaluations = 2;
  return grid;
}

Run MakeRun(std::vector<double> accuracies, int64_t bytes_a_round) {
  Run run;
  int64_t bytes = 0;
  for (size_t i = 0; i < accuracies.size(); ++i) {
    RoundRecord& record = run.rounds.emplace_back();
    record.round = static_cast<int64_t>(i);
    bytes += bytes_a_round;
    record.totals.upload_bytes = bytes;
    record.totals.uploads = 10 * record.round + 10;
    record.test = Evaluation{};
    record.test->accuracy = accuracies[i];
    record.test->loss = 1 - accuracies[i];
    record.test->class_recall = {1, 1};
  }
  return run;
}

std::vector<SweepCell> Cells() {
  std::vector<SweepCell> cells;
  const auto add = [&cells](size_t arm, uint64_t seed, const Run& run, const std::string& failure = "") {
    SweepCell& cell = cells.emplace_back(MakeSweepCell(run, failure, 2));
    cell.arm = arm;
    cell.seed = seed;
  };
  add(0, 0, MakeRun({0.5, 0.7, 0.9}, 1000));  // final 0.8, target 0.72: round 3, 3000 bytes
  add(0, 1, MakeRun({0.5, 0.8, 0.8}, 1000));  // final 0.8, target 0.72: round 2
  add(1, 0, MakeRun({0.4, 0.5, 0.5}, 1000));
  add(1, 1, MakeRun({0.4, 0.5, 0.5}, 1000));
  add(2, 0, MakeRun({0.6, 0.75, 0.65}, 100));  // final 0.7; round 2, 200 bytes
  add(2, 1, MakeRun({0.6, 0.65, 0.65}, 100));  // final 0.65; never
  add(3, 0, MakeRun({0.2}, 100), "round 1: client 0: train: training diverged");
  add(3, 1, MakeRun({0.2}, 100), "round 1: 1 of 5 updates, quorum 3");
  return cells;
}

TEST(SweepResults, FinalsAreMeansOfTheLastEvaluations) {
  const SweepResults results(Grid(), Cells());
  EXPECT_DOUBLE_EQ(results.arm(0).accuracy.mean, 0.8);
  EXPECT_DOUBLE_EQ(results.arm(0).loss.mean, 0.2);
  EXPECT_NEAR(results.arm(0).accuracy.half_width, 0, 1e-12);
  EXPECT_NEAR(results.arm(2).accuracy.mean, 0.675, 1e-12);
  EXPECT_NEAR(results.arm(2).accuracy.half_width, 12.7062047 * 0.025, 1e-6);  // deviation 0.05 / sqrt 2
  EXPECT_EQ(results.arm(0).upload_bytes.mean, 3000);
}

TEST(SweepResults, TargetsAreSharesOfTheBaselineSeedBySeed) {
  const SweepResults results(Grid(), Cells());
  EXPECT_EQ(results.arm(0).rounds_to_target.mean, 2.5);
  EXPECT_EQ(results.arm(0).bytes_to_target.mean, 2500);
  EXPECT_EQ(results.arm(2).rounds_to_target.count, 1);
  EXPECT_EQ(results.arm(2).bytes_to_target.mean, 200);
  EXPECT_EQ(results.arm(1).rounds_to_target.mean, 2);  // its own baseline is itself
}

TEST(SweepResults, FailuresAreResults) {
  const SweepResults results(Grid(), Cells());
  EXPECT_EQ(results.arm(3).failed, 2);
  EXPECT_EQ(results.arm(3).diverged, 1);
  EXPECT_EQ(results.arm(3).accuracy.count, 0);
  const Comparison table = results.Arms();
  EXPECT_EQ(table.labels, 2U);
  ASSERT_EQ(table.rows.size(), 4U);
  for (const auto& row : table.rows) EXPECT_EQ(row.size(), table.columns.size());
  EXPECT_EQ(table.rows[3][2], "failed");
  EXPECT_THAT(table.rows[2], ::testing::Contains("200 B (1 of 2)"));
  EXPECT_THAT(table.rows[2], ::testing::Contains("-12.50"));
  EXPECT_THAT(table.rows[2], ::testing::Contains("0.1"));   // upload bytes
  EXPECT_THAT(table.rows[2], ::testing::Contains("0.08"));  // to the target
}

TEST(SweepResults, AccuracyByTwoAxes) {
  const auto tables = SweepResults(Grid(), Cells()).Accuracies();
  ASSERT_EQ(tables.size(), 1U);
  EXPECT_EQ(tables[0].first, "accuracy % by first and second");
  EXPECT_THAT(tables[0].second.columns, ElementsAre("first", "x", "y"));
  EXPECT_THAT(tables[0].second.rows[0][2], ::testing::StartsWith("50.00"));
  EXPECT_EQ(tables[0].second.rows[1][2], "failed");
}

TEST(SweepResults, JsonHasEveryCell) {
  const nlohmann::json json = nlohmann::json::parse(SweepResults(Grid(), Cells()).ToJson());
  ASSERT_EQ(json["arms"].size(), 4U);
  EXPECT_EQ(json["arms"][2]["settings"]["first"], "b");
  EXPECT_EQ(json["arms"][2]["cells"][0]["upload_bytes_to_target"], 200);
  EXPECT_TRUE(json["arms"][2]["cells"][1]["upload_bytes_to_target"].is_null());
  EXPECT_EQ(json["arms"][3]["cells"][1]["failure"], "round 1: 1 of 5 updates, quorum 3");
}

TEST(SweepTables, MarkdownAndLatexEscape) {
  const Comparison table{{"arm_1", "a|b"}, {{"50 %", "1 ± 2"}}, 1};
  EXPECT_EQ(ToMarkdown(table), "| arm_1 | a\\|b |\n| --- | ---: |\n| 50 % | 1 ± 2 |\n");
  const std::string latex = ToLatex(table, "x & y");
  EXPECT_THAT(latex, HasSubstr("\\caption{x \\& y}"));
  EXPECT_THAT(latex,
              HasSubstr("\\begin{tabular}{lr}\n    \\toprule\n    arm\\_1 & a|b \\\\\n    \\midrule\n"));
  EXPECT_THAT(latex, HasSubstr("50 \\% & 1 $\\pm$ 2 \\\\\n    \\bottomrule"));
}

}  // namespace
}  // namespace muster
