#include "app/sweep_results.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "server/monitoring/units.h"

namespace muster {
namespace {

using nlohmann::ordered_json;

constexpr double kNone = std::numeric_limits<double>::quiet_NaN();

// The regularised incomplete beta function I_x(a, b), by its continued fraction (Lentz), for x below
// (a + 1) / (a + b + 2).
double IncompleteBeta(double x, double a, double b) {
  constexpr double kTiny = 1e-300;
  const auto away_from_zero = [](double v) { return std::abs(v) < kTiny ? kTiny : v; };
  double c = 1, d = 1 / away_from_zero(1 - (a + b) * x / (a + 1)), fraction = d;
  for (int m = 1; m < 500; ++m) {
    const double even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m));
    const double odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1));
    double factor = 1;
    for (const double term : {even, odd}) {
      d = 1 / away_from_zero(1 + term * d);
      c = away_from_zero(1 + term / c);
      factor *= c * d;
    }
    fraction *= factor;
    if (std::abs(factor - 1) < 1e-15) break;
  }
  const double log_front =
      std::lgamma(a + b) - std::lgamma(a) - std::lgamma(b) + a * std::log(x) + b * std::log1p(-x);
  return std::exp(log_front) * fraction / a;
}

// P(|T| > t).
double StudentTails(double t, double degrees) {
  const double x = degrees / (degrees + t * t), a = degrees / 2, b = 0.5;
  return x < (a + 1) / (a + b + 2) ? IncompleteBeta(x, a, b) : 1 - IncompleteBeta(1 - x, b, a);
}

// "85.15 ± 0.42", "-" for none; no interval where there is none or nothing varies.
template <typename Format>
std::string Text(const Estimate& estimate, Format format) {
  if (estimate.count == 0 || std::isnan(estimate.mean)) return "-";
  std::string text = format(estimate.mean);
  if (estimate.half_width > 0) absl::StrAppend(&text, " ± ", format(estimate.half_width));
  return text;
}
std::string Percent(double share) { return absl::StrFormat("%.2f", 100 * share); }
std::string Decimals(double value) { return absl::StrFormat("%.4g", value); }
std::string Count(double value) {
  return value == std::round(value) ? FormatCount(std::llround(value)) : absl::StrFormat("%.1f", value);
}

// How an arm's accuracy (or loss) stands in a table: failures are results.
std::string Final(const SweepArmResult& arm, bool classes) {
  const std::string failed =
      arm.failed == 0
          ? ""
          : absl::StrCat(arm.diverged == arm.failed ? "diverged" : "failed",
                         arm.failed == arm.cells ? "" : absl::StrCat(" ", arm.failed, " of ", arm.cells));
  if (arm.failed == arm.cells) return failed;
  const std::string text = classes ? Text(arm.accuracy, Percent) : Text(arm.loss, FormatLoss);
  return failed.empty() ? text : absl::StrCat(text, " (", failed, ")");
}

// "0.65", "-" where one of them is missing.
std::string Ratio(const Estimate& value, const Estimate& base) {
  if (value.count == 0 || base.count == 0 || !(base.mean > 0)) return "-";
  return absl::StrFormat("%.3g", value.mean / base.mean);
}

ordered_json Json(const Estimate& estimate) {
  if (estimate.count == 0) return nullptr;
  return {{"mean", estimate.mean}, {"half_width_95", estimate.half_width}, {"count", estimate.count}};
}

}  // namespace

double StudentT95(int64_t degrees) {
  double low = 0, high = 20;  // 12.706 with one degree of freedom
  for (int i = 0; i < 100; ++i) {
    const double middle = (low + high) / 2;
    (StudentTails(middle, static_cast<double>(degrees)) > 0.05 ? low : high) = middle;
  }
  return (low + high) / 2;
}

Estimate MakeEstimate(std::span<const double> values) {
  Estimate estimate{.count = static_cast<int64_t>(values.size()), .mean = kNone, .half_width = kNone};
  if (values.empty()) return estimate;
  const auto count = static_cast<double>(values.size());
  double sum = 0, squares = 0;
  for (const double value : values) sum += value;
  estimate.mean = sum / count;
  if (values.size() < 2) return estimate;
  for (const double value : values) squares += (value - estimate.mean) * (value - estimate.mean);
  estimate.half_width =
      squares == 0 ? 0 : StudentT95(estimate.count - 1) * std::sqrt(squares / (count - 1) / count);
  return estimate;
}

const RoundRecord* SweepCell::FirstReaching(double accuracy) const {
  for (const RoundRecord& record : evaluations) {
    if (record.test->accuracy >= accuracy) return &record;
  }
  return nullptr;
}

SweepCell MakeSweepCell(const Run& run, const std::string& failure, int64_t final_evaluations) {
  SweepCell cell;
  cell.failure = failure;
  // In the words of the client whose loss was no number, or of the server that refused its update.
  cell.diverged = absl::StrContains(failure, "diverged") || absl::StrContains(failure, "beyond 2^20");
  cell.classes = LearnsClasses(run);
  const RunSummary summary = SummaryOf(run);
  cell.model_sha256 = summary.model_sha256;
  cell.rounds = summary.rounds;
  cell.totals = summary.totals;
  for (const RoundRecord& record : run.rounds) {
    if (!record.test) continue;
    RoundRecord& kept = cell.evaluations.emplace_back();
    kept.round = record.round;
    kept.test = record.test;
    kept.totals = record.totals;
  }
  if (!failure.empty() || cell.evaluations.empty()) return cell;
  const size_t count = std::min(cell.evaluations.size(), static_cast<size_t>(final_evaluations));
  RoundMetrics& final = cell.final.emplace();
  final.round = cell.evaluations.back().round;
  for (size_t i = cell.evaluations.size() - count; i < cell.evaluations.size(); ++i) {
    const Evaluation& test = *cell.evaluations[i].test;
    final.loss += test.loss / static_cast<double>(count);
    final.accuracy += test.accuracy / static_cast<double>(count);
    final.macro_f1 += test.macro_f1 / static_cast<double>(count);
  }
  return cell;
}

SweepResults::SweepResults(SweepGrid grid, std::vector<SweepCell> cells)
    : grid_(std::move(grid)), cells_(std::move(cells)), seeds_(cells_.size() / grid_.arms.size()) {
  classes_ = std::any_of(cells_.begin(), cells_.end(), [](const SweepCell& cell) { return cell.classes; });
  Summarize();
}

std::optional<double> SweepResults::Target(const SweepCell& cell) const {
  if (!grid_.target) return std::nullopt;
  if (grid_.target->accuracy > 0) return grid_.target->accuracy;
  const size_t seed = static_cast<size_t>(&cell - cells_.data()) % seeds_;
  const SweepCell& of = cells_[grid_.ArmWith(cell.arm, grid_.target->of) * seeds_ + seed];
  if (!of.final) return std::nullopt;
  return grid_.target->share * of.final->accuracy;
}

void SweepResults::Summarize() {
  for (size_t a = 0; a < grid_.arms.size(); ++a) {
    SweepArmResult& arm = arms_.emplace_back();
    std::vector<double> accuracy, loss, macro_f1, uploads, up, down, rounds, target_rounds, target_up;
    for (size_t s = 0; s < seeds_; ++s) {
      const SweepCell& cell = cells_[a * seeds_ + s];
      ++arm.cells;
      const std::optional<double> target = Target(cell);
      if (const RoundRecord* reached = target ? cell.FirstReaching(*target) : nullptr) {
        target_rounds.push_back(static_cast<double>(reached->round + 1));
        target_up.push_back(static_cast<double>(reached->totals.upload_bytes));
      }
      if (!cell.failure.empty()) {
        ++arm.failed;
        arm.diverged += cell.diverged ? 1 : 0;
        continue;
      }
      if (cell.final) {
        loss.push_back(cell.final->loss);
        if (cell.classes) accuracy.push_back(cell.final->accuracy);
        if (cell.classes) macro_f1.push_back(cell.final->macro_f1);
      }
      uploads.push_back(static_cast<double>(cell.totals.uploads));
      up.push_back(static_cast<double>(cell.totals.upload_bytes));
      down.push_back(static_cast<double>(cell.totals.download_bytes));
      rounds.push_back(static_cast<double>(cell.rounds));
    }
    arm.accuracy = MakeEstimate(accuracy);
    arm.loss = MakeEstimate(loss);
    arm.macro_f1 = MakeEstimate(macro_f1);
    arm.uploads = MakeEstimate(uploads);
    arm.upload_bytes = MakeEstimate(up);
    arm.download_bytes = MakeEstimate(down);
    arm.rounds = MakeEstimate(rounds);
    arm.rounds_to_target = MakeEstimate(target_rounds);
    arm.bytes_to_target = MakeEstimate(target_up);
  }
}

Comparison SweepResults::Arms() const {
  Comparison table;
  for (const SweepAxis& axis : grid_.axes) table.columns.push_back(axis.header);
  table.labels = grid_.axes.size();
  const auto column = [&](const std::string& name) { table.columns.push_back(name); };
  column(classes_ ? "accuracy %" : "test loss");
  if (classes_) column("loss");
  if (classes_) column("macro-F1 %");
  for (const char* name : {"rounds", "uploads", "up", "down"}) column(name);
  if (grid_.target) column("rounds to target");
  if (grid_.target) column("up to target");
  if (grid_.baseline) {
    column(classes_ ? "points" : "loss ratio");
    column("up ratio");
    if (grid_.target) column("to target ratio");
  }
  for (size_t a = 0; a < grid_.arms.size(); ++a) {
    const SweepArmResult& arm = arms_[a];
    std::vector<std::string>& row = table.rows.emplace_back();
    for (size_t i = 0; i < grid_.axes.size(); ++i) {
      row.push_back(grid_.axes[i].settings[grid_.arms[a].settings[i]]);
    }
    row.push_back(Final(arm, classes_));
    if (classes_) row.push_back(Text(arm.loss, FormatLoss));
    if (classes_) row.push_back(Text(arm.macro_f1, Percent));
    row.push_back(Text(arm.rounds, Count));
    row.push_back(Text(arm.uploads, Count));
    row.push_back(Text(arm.upload_bytes, FormatBytes));
    row.push_back(Text(arm.download_bytes, FormatBytes));
    const auto reached = [&arm](const std::string& text) {
      const int64_t count = arm.rounds_to_target.count;
      if (count == 0) return std::string("never");
      return count == arm.cells ? text : absl::StrCat(text, " (", count, " of ", arm.cells, ")");
    };
    if (grid_.target) row.push_back(reached(Text(arm.rounds_to_target, Count)));
    if (grid_.target) row.push_back(reached(Text(arm.bytes_to_target, FormatBytes)));
    if (!grid_.baseline) continue;
    const SweepArmResult& base = arms_[grid_.ArmWith(a, *grid_.baseline)];
    if (!classes_) {
      row.push_back(Ratio(arm.loss, base.loss));
    } else if (arm.accuracy.count > 0 && base.accuracy.count > 0) {
      row.push_back(absl::StrFormat("%+.2f", 100 * (arm.accuracy.mean - base.accuracy.mean)));
    } else {
      row.push_back("-");
    }
    row.push_back(Ratio(arm.upload_bytes, base.upload_bytes));
    if (grid_.target) row.push_back(Ratio(arm.bytes_to_target, base.bytes_to_target));
  }
  return table;
}

std::vector<std::pair<std::string, Comparison>> SweepResults::Accuracies() const {
  std::vector<std::pair<std::string, Comparison>> tables;
  if (!grid_.table) return tables;
  const size_t rows = grid_.table->rows, columns = grid_.table->columns;
  for (size_t first = 0; first < grid_.arms.size(); ++first) {
    // Every combination of the other axes once: where these two are at their first setting.
    const std::vector<size_t>& settings = grid_.arms[first].settings;
    if (settings[rows] != 0 || settings[columns] != 0) continue;
    std::vector<std::string> title = {absl::StrCat(classes_ ? "accuracy %" : "test loss", " by ",
                                                   grid_.axes[rows].header, " and ",
                                                   grid_.axes[columns].header)};
    for (size_t a = 0; a < grid_.axes.size(); ++a) {
      if (a == rows || a == columns) continue;
      title.push_back(absl::StrCat(grid_.axes[a].header, ": ", grid_.axes[a].settings[settings[a]]));
    }
    Comparison table;
    table.columns.push_back(grid_.axes[rows].header);
    for (const std::string& label : grid_.axes[columns].settings) table.columns.push_back(label);
    for (size_t r = 0; r < grid_.axes[rows].settings.size(); ++r) {
      std::vector<std::string>& row = table.rows.emplace_back();
      row.push_back(grid_.axes[rows].settings[r]);
      for (size_t c = 0; c < grid_.axes[columns].settings.size(); ++c) {
        row.push_back(Final(arms_[grid_.ArmWith(first, {{rows, r}, {columns, c}})], classes_));
      }
    }
    tables.emplace_back(absl::StrJoin(title, ", "), std::move(table));
  }
  return tables;
}

std::string SweepResults::Notes() const {
  std::string notes = absl::StrCat(classes_ ? "accuracy, loss, macro-F1: test set" : "loss: test set",
                                   ", mean of the last ", grid_.final_evaluations, " evaluations");
  if (seeds_ > 1) {
    absl::StrAppend(&notes, "; ±: half the 95 % interval (Student t) over ", seeds_, " seeds");
  }
  if (grid_.target && grid_.target->accuracy > 0) {
    absl::StrAppend(&notes, "; target: accuracy ", Decimals(100 * grid_.target->accuracy), " %");
  } else if (grid_.target) {
    absl::StrAppend(&notes, "; target: ", Decimals(100 * grid_.target->share), " % of the final accuracy of ",
                    grid_.Name(grid_.target->of), ", seed by seed");
  }
  if (grid_.baseline) {
    absl::StrAppend(&notes, "; ", classes_ ? "points and ratios" : "ratios", ": against ",
                    grid_.Name(*grid_.baseline));
  }
  return notes;
}

std::string SweepResults::ToJson() const {
  ordered_json json = {{"name", grid_.name}, {"final_evaluations", grid_.final_evaluations}};
  if (grid_.target && grid_.target->accuracy > 0) json["target"] = {{"accuracy", grid_.target->accuracy}};
  if (grid_.target && grid_.target->share > 0) {
    json["target"] = {{"share", grid_.target->share}, {"of", grid_.Name(grid_.target->of)}};
  }
  if (grid_.baseline) json["baseline"] = grid_.Name(*grid_.baseline);
  json["arms"] = ordered_json::array();
  for (size_t a = 0; a < grid_.arms.size(); ++a) {
    const SweepArmResult& arm = arms_[a];
    ordered_json settings = ordered_json::object();
    for (size_t i = 0; i < grid_.axes.size(); ++i) {
      settings[grid_.axes[i].name] = grid_.axes[i].settings[grid_.arms[a].settings[i]];
    }
    ordered_json object = {{"name", grid_.arms[a].name},
                           {"settings", std::move(settings)},
                           {"failed", arm.failed},
                           {"diverged", arm.diverged},
                           {"accuracy", Json(arm.accuracy)},
                           {"loss", Json(arm.loss)},
                           {"macro_f1", Json(arm.macro_f1)},
                           {"rounds", Json(arm.rounds)},
                           {"uploads", Json(arm.uploads)},
                           {"upload_bytes", Json(arm.upload_bytes)},
                           {"download_bytes", Json(arm.download_bytes)},
                           {"rounds_to_target", Json(arm.rounds_to_target)},
                           {"upload_bytes_to_target", Json(arm.bytes_to_target)},
                           {"cells", ordered_json::array()}};
    for (size_t s = 0; s < seeds_; ++s) {
      const SweepCell& cell = cells_[a * seeds_ + s];
      ordered_json entry = {{"seed", cell.seed},
                            {"directory", cell.directory},
                            {"rounds", cell.rounds},
                            {"uploads", cell.totals.uploads},
                            {"upload_bytes", cell.totals.upload_bytes},
                            {"download_bytes", cell.totals.download_bytes}};
      if (cell.final) {
        entry["loss"] = cell.final->loss;
        if (cell.classes) entry["accuracy"] = cell.final->accuracy;
        if (cell.classes) entry["macro_f1"] = cell.final->macro_f1;
      }
      const std::optional<double> target = Target(cell);
      if (target) {
        const RoundRecord* reached = cell.FirstReaching(*target);
        entry["target_accuracy"] = *target;
        entry["rounds_to_target"] = reached ? ordered_json(reached->round + 1) : ordered_json();
        entry["upload_bytes_to_target"] =
            reached ? ordered_json(reached->totals.upload_bytes) : ordered_json();
      }
      if (!cell.failure.empty()) entry["failure"] = cell.failure;
      if (!cell.model_sha256.empty()) entry["model_sha256"] = cell.model_sha256;
      object["cells"].push_back(std::move(entry));
    }
    json["arms"].push_back(std::move(object));
  }
  return json.dump(1, ' ', /*ensure_ascii=*/false, ordered_json::error_handler_t::replace) + "\n";
}

std::string ToMarkdown(const Comparison& table) {
  const auto row = [](const std::vector<std::string>& cells) {
    std::string text = "|";
    for (const std::string& cell : cells) {
      text += ' ';
      for (const char c : cell) absl::StrAppend(&text, c == '|' ? "\\" : "", std::string(1, c));
      text += " |";
    }
    return text + "\n";
  };
  std::string text = row(table.columns);
  text += '|';
  for (size_t c = 0; c < table.columns.size(); ++c) text += c < table.labels ? " --- |" : " ---: |";
  text += '\n';
  for (const std::vector<std::string>& cells : table.rows) text += row(cells);
  return text;
}

std::string ToLatex(const Comparison& table, const std::string& caption) {
  const auto escape = [](const std::string& cell) {
    std::string text;
    for (const char c : cell) {
      if (std::string("&%$#_{}").find(c) != std::string::npos) {
        absl::StrAppend(&text, "\\", std::string(1, c));
      } else if (c == '~') {
        text += "\\textasciitilde{}";
      } else if (c == '^') {
        text += "\\textasciicircum{}";
      } else if (c == '\\') {
        text += "\\textbackslash{}";
      } else if (c == '<' || c == '>') {
        absl::StrAppend(&text, "$", std::string(1, c), "$");
      } else {
        text += c;
      }
    }
    for (size_t at = text.find("±"); at != std::string::npos; at = text.find("±", at)) {
      text.replace(at, std::string("±").size(), "$\\pm$");
    }
    return text;
  };
  const auto row = [&](const std::vector<std::string>& cells) {
    std::vector<std::string> escaped;
    for (const std::string& cell : cells) escaped.push_back(escape(cell));
    return absl::StrCat("    ", absl::StrJoin(escaped, " & "), " \\\\\n");
  };
  std::string text =
      absl::StrCat("\\begin{table}\n  \\centering\n  \\caption{", escape(caption), "}\n  \\begin{tabular}{",
                   std::string(table.labels, 'l'), std::string(table.columns.size() - table.labels, 'r'),
                   "}\n    \\toprule\n", row(table.columns), "    \\midrule\n");
  for (const std::vector<std::string>& cells : table.rows) text += row(cells);
  return text + "    \\bottomrule\n  \\end{tabular}\n\\end{table}\n";
}

}  // namespace muster
