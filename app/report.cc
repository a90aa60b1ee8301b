// `muster report`: finished (or unfinished) runs side by side.
#include "server/monitoring/report.h"

#include <sys/stat.h>

#include <cstdio>

#include "absl/strings/str_cat.h"
#include "app/commands.h"
#include "core/file.h"
#include "server/monitoring/comparison.h"
#include "server/monitoring/open_metrics.h"
#include "server/monitoring/run_files.h"
#include "server/monitoring/units.h"

namespace muster {

namespace {

absl::Status WriteOpenMetrics(const std::vector<Run>& runs, const std::string& path) {
  const std::vector<std::string> labels = RunLabels(runs);
  std::vector<RunHistory> histories;
  for (size_t i = 0; i < runs.size(); ++i) {
    // The records tell how long rounds took, the file when the last of them was.
    struct stat file = {};
    if (stat((runs[i].directory + "/rounds.jsonl").c_str(), &file) != 0) {
      return InvalidInput(absl::StrCat(runs[i].directory, ": has no rounds yet"));
    }
    histories.push_back(
        {.run = &runs[i], .federation = labels[i], .end = static_cast<double>(file.st_mtime)});
  }
  MUSTER_RETURN_IF_ERROR(WriteFileAtomic(path, OpenMetricsText(histories)));
  std::printf("history: %s\n", path.c_str());
  return absl::OkStatus();
}

}  // namespace

absl::Status Report(const std::vector<std::string>& dirs, const std::string& out,
                    const std::string& openmetrics) {
  std::vector<Run> runs;
  for (const std::string& dir : dirs) {
    MUSTER_ASSIGN_OR_RETURN(runs.emplace_back(), ReadRun(dir));
  }
  MUSTER_ASSIGN_OR_RETURN(const std::string page, RenderReport(runs));
  const std::string path = !out.empty()       ? out
                           : dirs.size() == 1 ? dirs.front() + "/report.html"
                                              : "comparison.html";
  MUSTER_RETURN_IF_ERROR(WriteFileAtomic(path, page));
  std::printf("%s\nreport: %s\n", ComparisonTable(runs).c_str(), path.c_str());
  return openmetrics.empty() ? absl::OkStatus() : WriteOpenMetrics(runs, openmetrics);
}

absl::Status ExplainParticipation(const std::vector<std::string>& dirs) {
  for (const std::string& dir : dirs) {
    MUSTER_ASSIGN_OR_RETURN(const std::vector<RoundRecord> rounds, ReadRounds(dir, /*may_be_torn=*/true));
    std::printf("%s\n", dir.c_str());
    size_t searches = 0;
    for (const RoundRecord& record : rounds) {
      if (!record.search) continue;
      ++searches;
      std::printf("  round %lld: %lld -> %lld clients: %s\n", static_cast<long long>(record.round + 1),
                  static_cast<long long>(record.search->previous),
                  static_cast<long long>(record.search->chosen), record.search->why.c_str());
      for (const Candidate& candidate : record.search->candidates) {
        std::printf("    %lld clients: expected loss %.6g, %s the reference %.6g\n",
                    static_cast<long long>(candidate.clients), candidate.loss,
                    candidate.loss < record.search->reference_loss ? "below" : "not below",
                    record.search->reference_loss);
      }
      if (record.saved_bytes) {
        std::printf("    uploads saved so far (estimate): %s\n",
                    FormatBytes(static_cast<double>(*record.saved_bytes)).c_str());
      }
    }
    if (searches == 0) std::printf("  no search: the number of clients did not depend on losses\n");
  }
  return absl::OkStatus();
}

}  // namespace muster
