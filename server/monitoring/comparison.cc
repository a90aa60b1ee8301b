#include "server/monitoring/comparison.h"

#include <algorithm>
#include <map>

#include "absl/strings/str_cat.h"
#include "server/monitoring/report.h"
#include "server/monitoring/units.h"

namespace muster {
namespace {

constexpr double kTargetShare = 0.95;  // of the best accuracy of all compared runs

// The first evaluated round with at least `accuracy`, or nullptr.
const RoundRecord* FirstReaching(const Run& run, double accuracy) {
  for (const RoundRecord& record : run.rounds) {
    if (record.test && record.test->accuracy >= accuracy) return &record;
  }
  return nullptr;
}

std::string AtRound(const std::string& value, int64_t round) { return absl::StrCat(value, " @", round + 1); }

// Columns a terminal needs for it: UTF-8 characters, one column each.
size_t Columns(const std::string& text) {
  return static_cast<size_t>(std::count_if(
      text.begin(), text.end(), [](char c) { return (static_cast<unsigned char>(c) & 0xc0) != 0x80; }));
}

// Control characters would break the table and steer the terminal.
std::string Printable(std::string text) {
  for (char& c : text) {
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) c = ' ';
  }
  return text;
}

}  // namespace

bool LearnsClasses(const Run& run) {
  return std::any_of(run.rounds.begin(), run.rounds.end(), [](const RoundRecord& record) {
    return record.test && !record.test->class_recall.empty();
  });
}

RunSummary SummaryOf(const Run& run) {
  if (run.summary) return *run.summary;
  RunSummary summary = Summarize(run.rounds);
  summary.name = run.name();
  summary.wall_seconds = summary.training_seconds;
  return summary;
}

std::vector<std::string> RunLabels(std::span<const Run> runs) {
  std::map<std::string, int> uses;
  for (const Run& run : runs) ++uses[run.name()];
  std::vector<std::string> labels;
  for (const Run& run : runs) {
    labels.push_back(uses[run.name()] == 1 ? run.name() : absl::StrCat(run.name(), " (", run.directory, ")"));
  }
  return labels;
}

Comparison Compare(std::span<const Run> runs) {
  const bool classes = std::any_of(runs.begin(), runs.end(), LearnsClasses);
  double target = 0;
  for (const Run& run : runs) {
    const RunSummary summary = SummaryOf(run);
    if (summary.best) target = std::max(target, kTargetShare * summary.best->accuracy);
  }
  Comparison comparison;
  comparison.columns = {"run"};
  if (classes) {
    comparison.columns.insert(comparison.columns.end(), {"final acc", "best acc @round"});
  } else {
    comparison.columns.insert(comparison.columns.end(), {"final loss", "best loss @round"});
  }
  comparison.columns.insert(comparison.columns.end(), {"rounds", "uploads", "up"});
  if (classes) comparison.columns.push_back(absl::StrCat("up to ", FormatShare(target), " @round"));
  comparison.columns.push_back("time");

  const std::vector<std::string> labels = RunLabels(runs);
  for (size_t i = 0; i < runs.size(); ++i) {
    const RunSummary summary = SummaryOf(runs[i]);
    const auto value = [&](const RoundMetrics& m) {
      return classes ? FormatShare(m.accuracy) : FormatLoss(m.loss);
    };
    std::vector<std::string> row = {Printable(labels[i])};
    row.push_back(summary.final ? value(*summary.final) : "-");
    row.push_back(summary.best ? AtRound(value(*summary.best), summary.best->round) : "-");
    row.push_back(absl::StrCat(FormatCount(summary.rounds), runs[i].summary ? "" : " so far"));
    row.push_back(FormatCount(summary.totals.uploads));
    row.push_back(FormatBytes(static_cast<double>(summary.totals.upload_bytes)));
    if (classes) {
      const RoundRecord* reached = target > 0 ? FirstReaching(runs[i], target) : nullptr;
      row.push_back(
          reached ? AtRound(FormatBytes(static_cast<double>(reached->totals.upload_bytes)), reached->round)
                  : "-");
    }
    row.push_back(FormatSeconds(summary.wall_seconds));
    comparison.rows.push_back(std::move(row));
  }
  return comparison;
}

std::string ComparisonTable(std::span<const Run> runs) { return AlignedText(Compare(runs)); }

std::string AlignedText(const Comparison& comparison) {
  std::vector<size_t> widths;
  for (size_t c = 0; c < comparison.columns.size(); ++c) {
    widths.push_back(Columns(comparison.columns[c]));
    for (const std::vector<std::string>& row : comparison.rows)
      widths[c] = std::max(widths[c], Columns(row[c]));
  }
  std::string text;
  const auto add_row = [&](const std::vector<std::string>& row) {
    for (size_t c = 0; c < row.size(); ++c) {
      const std::string pad(widths[c] - Columns(row[c]), ' ');
      const std::string between = c == 0 ? "" : "  ";
      if (c < comparison.labels) {
        absl::StrAppend(&text, between, row[c], c + 1 < row.size() ? pad : "");
      } else {
        absl::StrAppend(&text, between, pad, row[c]);
      }
    }
    text += '\n';
  };
  add_row(comparison.columns);
  for (const std::vector<std::string>& row : comparison.rows) add_row(row);
  return text;
}

}  // namespace muster
