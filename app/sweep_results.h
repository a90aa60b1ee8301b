// What came out of a sweep: its cells' results, their means over seeds, tables and summary.json.
#ifndef MUSTER_APP_SWEEP_RESULTS_H_
#define MUSTER_APP_SWEEP_RESULTS_H_

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "app/sweep_grid.h"
#include "server/monitoring/comparison.h"
#include "server/monitoring/run_files.h"

namespace muster {

// A mean and half the width of its 95 % confidence interval (Student's t over independent seeds).
struct Estimate {
  int64_t count = 0;
  double mean = 0;        // NaN for none
  double half_width = 0;  // NaN for fewer than two
};
Estimate MakeEstimate(std::span<const double> values);
// t with P(|T| <= t) = 0.95 for T of Student's distribution with `degrees` >= 1 degrees of freedom.
double StudentT95(int64_t degrees);

// One arm with one seed.
struct SweepCell {
  size_t arm = 0;
  uint64_t seed = 0;
  std::string directory;  // seen from the sweep's
  std::string failure;    // why the run could not go on to its end; "": it did
  bool diverged = false;  // and that was because training diverged
  std::string model_sha256;
  int64_t rounds = 0;
  Totals totals;
  // Means over the last evaluations; none if there was no evaluation, or the run failed.
  std::optional<RoundMetrics> final;
  bool classes = false;                  // accuracy and macro-F1 mean something
  std::vector<RoundRecord> evaluations;  // rounds that were evaluated, without their clients

  // The first evaluated round with at least `accuracy`, or nullptr.
  const RoundRecord* FirstReaching(double accuracy) const;
};

// Takes a finished run's files, or those of a run that failed for `failure`.
SweepCell MakeSweepCell(const Run& run, const std::string& failure, int64_t final_evaluations);

// Means over the seeds of one arm; failed cells do not count in them.
struct SweepArmResult {
  Estimate accuracy, loss, macro_f1, uploads, upload_bytes, download_bytes, rounds;
  // Of the cells that reached the target, `rounds_to_target.count` of them.
  Estimate rounds_to_target, bytes_to_target;
  int64_t cells = 0;
  int64_t failed = 0;    // of them
  int64_t diverged = 0;  // of the failed ones
};

class SweepResults {
 public:
  // `cells`: by arm, then by seed; as many for every arm.
  SweepResults(SweepGrid grid, std::vector<SweepCell> cells);

  const SweepArmResult& arm(size_t index) const { return arms_[index]; }
  // One line an arm, all figures.
  Comparison Arms() const;
  // Accuracy by the two axes of grid.table: one table for each combination of the other axes, with its title.
  std::vector<std::pair<std::string, Comparison>> Accuracies() const;
  // What the figures are: for below the tables.
  std::string Notes() const;
  // Deterministic: the same cells give the same text.
  std::string ToJson() const;

 private:
  std::optional<double> Target(const SweepCell& cell) const;
  void Summarize();

  const SweepGrid grid_;
  const std::vector<SweepCell> cells_;
  size_t seeds_ = 1;
  bool classes_ = false;
  std::vector<SweepArmResult> arms_;
};

// A table for a paper. LaTeX needs the package booktabs; both escape what the labels hold.
std::string ToMarkdown(const Comparison& table);
std::string ToLatex(const Comparison& table, const std::string& caption);

}  // namespace muster

#endif  // MUSTER_APP_SWEEP_RESULTS_H_
