#include "server/monitoring/client_metrics.h"

#include <gmock/gmock.h>

#include <map>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "server/monitoring/metrics.h"
#include "server/monitoring/worker_metrics.h"

namespace muster {
namespace {

using ::testing::HasSubstr;

TEST(ClientProcessMetrics, TellOfSessionsRoundsAndTheSpool) {
  int64_t spooled = 7;
  ClientProcessMetrics metrics("fed", "1", [&spooled] { return spooled; });
  metrics.Joined();
  metrics.RoundEnded(0, true, 0.5, 0.02, 100);
  metrics.Disconnected();
  metrics.Joined();
  metrics.RoundEnded(3, false, 0.25, 0.02, 100);
  metrics.RoundEnded(4, true, 0, 0, 0);  // an update of an earlier process
  spooled = 9;
  const std::string text = metrics.Text();
  for (const char* line :
       {"muster_edge_sessions_total{federation=\"fed\"} 2",
        "muster_edge_disconnects_total{federation=\"fed\"} 1", "muster_edge_connected{federation=\"fed\"} 1",
        "muster_edge_last_round{federation=\"fed\"} 5",
        "muster_edge_rounds_total{federation=\"fed\",outcome=\"accepted\"} 2",
        "muster_edge_rounds_total{federation=\"fed\",outcome=\"refused\"} 1",
        "muster_edge_upload_bytes_total{federation=\"fed\"} 200",
        "muster_edge_train_loss{federation=\"fed\"} 0.25",
        "muster_edge_training_duration_seconds_count{federation=\"fed\"} 2",
        "muster_edge_spool_bytes{federation=\"fed\"} 9"}) {
    EXPECT_THAT(text, HasSubstr(absl::StrCat("\n", line, "\n")));
  }
}

TEST(ClientProcessMetrics, TheTableHoldsAllOfThem) {
  const ClientProcessMetrics metrics("fed", "1", [] { return 0; });
  std::map<std::string, std::string> shown, documented;
  for (const auto line : absl::StrSplit(metrics.Text(), '\n')) {
    const std::vector<std::string> words = absl::StrSplit(line, ' ');
    if (words.size() == 4 && words[1] == "TYPE" && words[2].starts_with("muster_edge_"))
      shown[words[2]] = words[3];
  }
  for (const MetricInfo& info : ClientProcessMetricTable())
    documented[std::string(info.name)] = std::string(info.type);
  EXPECT_EQ(shown, documented);
}

TEST(WorkerProcessMetrics, TellOfTrainingAndAreAllInTheTable) {
  WorkerProcessMetrics metrics("fed", "1", 3, 2);
  metrics.Trained(0.02);
  metrics.Trained(0.03);
  const std::string text = metrics.Text();
  for (const char* line :
       {"muster_worker_rank{federation=\"fed\"} 3", "muster_worker_threads{federation=\"fed\"} 2",
        "muster_worker_training_duration_seconds_count{federation=\"fed\"} 2"}) {
    EXPECT_THAT(text, HasSubstr(absl::StrCat("\n", line, "\n")));
  }
  for (const MetricInfo& info : WorkerProcessMetricTable()) {
    EXPECT_THAT(text,
                HasSubstr(absl::StrCat("# TYPE ", std::string(info.name), " ", std::string(info.type))));
  }
}

}  // namespace
}  // namespace muster
