// `muster report`: finished (or unfinished) runs side by side.
#include "server/monitoring/report.h"

#include <cstdio>

#include "app/commands.h"
#include "core/file.h"
#include "server/monitoring/run_files.h"

namespace muster {

absl::Status Report(const std::vector<std::string>& dirs, const std::string& out) {
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
  return absl::OkStatus();
}

}  // namespace muster
