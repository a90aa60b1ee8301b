#include "server/monitoring/open_metrics.h"

#include <gmock/gmock.h>

#include "absl/strings/str_cat.h"

namespace muster {
namespace {

using ::testing::EndsWith;
using ::testing::HasSubstr;

using StoredRun = Run;  // in a test `Run` is testing::Test::Run

StoredRun TwoRounds() {
  StoredRun run;
  for (int64_t round = 0; round < 2; ++round) {
    RoundRecord& record = run.rounds.emplace_back();
    record.round = round;
    record.reason = "fi\"xed";
    record.cohort = {1, 2, 3};
    record.accepted = 2;
    record.failures = {
        {.client = 3, .stage = "train", .code = "INTERNAL", .message = "", .download_bytes = 0}};
    record.upload_bytes = 100;
    record.totals.upload_bytes = 100 * (round + 1);
    record.totals.samples_trained = 30 * (round + 1);
    record.train_loss = 0.5;
    record.seconds = {{"train", 7}, {"total", 8}, {"commit", 2}};
  }
  run.rounds[1].test = Evaluation{.samples = 1, .loss = 0.25, .accuracy = 0.75, .class_recall = {}};
  return run;
}

TEST(OpenMetrics, RoundsLieBehindEachOtherAndCountersGrow) {
  const StoredRun run = TwoRounds();
  const RunHistory history{.run = &run, .federation = "a\\b", .end = 1000};
  const std::string text = OpenMetricsText(std::span(&history, 1));
  EXPECT_THAT(text, HasSubstr("# TYPE muster_upload_bytes counter\n"));
  EXPECT_THAT(text, HasSubstr("muster_upload_bytes_total{federation=\"a\\\\b\"} 100 990.000\n"
                              "muster_upload_bytes_total{federation=\"a\\\\b\"} 200 1000.000\n"));
  EXPECT_THAT(text, HasSubstr("muster_samples_trained_total{federation=\"a\\\\b\"} 60 1000.000\n"));
  EXPECT_THAT(text,
              HasSubstr("muster_rounds_total{federation=\"a\\\\b\",reason=\"fi\\\"xed\"} 2 1000.000\n"));
  EXPECT_THAT(text, HasSubstr("{federation=\"a\\\\b\",stage=\"train\",code=\"INTERNAL\"} 2 1000.000\n"));
  EXPECT_THAT(text, HasSubstr("# TYPE muster_test_accuracy_ratio gauge\n"));
  EXPECT_THAT(text, HasSubstr("muster_test_accuracy_ratio{federation=\"a\\\\b\"} 0.75 1000.000\n"));
  EXPECT_EQ(text.find("muster_trust_loss"), std::string::npos);
  EXPECT_THAT(text, EndsWith("\n# EOF\n"));
}

TEST(OpenMetrics, SeveralRunsShareTheirFamilies) {
  const StoredRun run = TwoRounds();
  const RunHistory histories[] = {{.run = &run, .federation = "a", .end = 1000},
                                  {.run = &run, .federation = "b", .end = 50}};
  const std::string text = OpenMetricsText(histories);
  const size_t first = text.find("# TYPE muster_train_loss gauge");
  ASSERT_NE(first, std::string::npos);
  EXPECT_EQ(text.find("# TYPE muster_train_loss gauge", first + 1), std::string::npos);
  EXPECT_THAT(text, HasSubstr("muster_updates_accepted_total{federation=\"b\"} 2 40.000\n"));
}

}  // namespace
}  // namespace muster
