#include "server/monitoring/metrics.h"

#include <gmock/gmock.h>
#include <httplib.h>

#include <set>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "core/file.h"
#include "server/monitoring/http_server.h"
#include "server/monitoring/monitoring_endpoint.h"

namespace muster {
namespace {

using testing::HasSubstr;

RoundRecord Round(int64_t round) {
  RoundRecord record;
  record.round = round;
  record.reason = "search";
  record.cohort = {1, 2, 3};
  record.accepted = 2;
  record.failures = {
      {.client = 3, .stage = "deadline", .code = "DEADLINE_EXCEEDED", .message = "", .download_bytes = 0}};
  record.train_loss = 0.5;
  record.trust_loss = 0.75;
  record.upload_bytes = 200;
  record.download_bytes = 300;
  record.update_norm = 2;
  record.numbers = {{"group_weights", {0.25, 0.75}}};
  record.test =
      Evaluation{.samples = 10, .loss = 0.625, .accuracy = 0.875, .macro_f1 = 0.5, .class_recall = {1, 0.25}};
  record.clients = {{1, {.samples = 1, .loss = 0, .accuracy = 0.5, .macro_f1 = 0, .class_recall = {}}},
                    {2, {.samples = 1, .loss = 0, .accuracy = 1.0, .macro_f1 = 0, .class_recall = {}}}};
  record.search = SearchRecord{
      .reference_loss = 0.5, .candidates = {{2, 0.625}, {3, 0.375}}, .found = 3, .chosen = 3, .previous = 4};
  record.saved_bytes = 4000;
  record.seconds = {{"train", 0.25}, {"total", 0.5}};
  record.totals.samples_trained = 100 + 60 * (round - 3);
  record.totals.upload_bytes = 1200;
  record.totals.download_bytes = 1300;
  return record;
}

bool Shows(const std::string& text, const std::string& line) {
  return text.find(absl::StrCat("\n", line, "\n")) != std::string::npos;
}

ClientFinished Answer(ClientId client, int64_t samples, double norm) {
  ClientFinished answer;
  answer.client = client;
  answer.accepted = true;
  answer.metrics = {.train_loss = 1, .steps = 2, .seconds = 0.02};
  answer.num_samples = samples;
  answer.upload_bytes = 100;
  answer.codec = "sign";
  answer.update_norm = norm;
  answer.fold_seconds = 0.002;
  return answer;
}

// Every event there is.
void RunOneRound(RoundListener& metrics, int64_t round = 4) {
  metrics.On(RunStarted{.name = "fed",
                        .first_round = round,
                        .rounds = 10,
                        .clients = 7,
                        .parameters = 99,
                        .totals = {.client_trainings = 0,
                                   .uploads = 0,
                                   .upload_bytes = 1000,
                                   .download_bytes = 1000,
                                   .samples_trained = 100}});
  metrics.On(RoundStarted{round, 3, "search"});
  metrics.On(Answer(1, 1, 2));
  metrics.On(Answer(2, 1, 2));
  metrics.On(RoundCommitted{Round(round)});
}

TEST(Metrics, TellOfARound) {
  Metrics metrics("fed", "1.2.3");
  metrics.SetConnections([] {
    return Connections{.states = {{"idle", 4}, {"training", 2}}, .heartbeats = 9};
  });
  RunOneRound(metrics);
  const std::string text = metrics.Text();
  for (const char* line : {
           "muster_build_info{federation=\"fed\",version=\"1.2.3\"} 1",
           "muster_clients{federation=\"fed\"} 7",
           "muster_connected_clients{federation=\"fed\",state=\"training\"} 2",
           "muster_heartbeats_total{federation=\"fed\"} 9",
           "muster_committed_rounds{federation=\"fed\"} 5",
           "muster_round_in_flight{federation=\"fed\"} 0",
           "muster_cohort_clients{federation=\"fed\"} 3",
           "muster_cohort_accepted_clients{federation=\"fed\"} 2",
           "muster_rounds_total{federation=\"fed\",reason=\"search\"} 1",
           "muster_client_tasks_total{federation=\"fed\"} 3",
           "muster_updates_accepted_total{federation=\"fed\"} 2",
           "muster_client_failures_total{federation=\"fed\",code=\"DEADLINE_EXCEEDED\",stage=\"deadline\"} 1",
           "muster_samples_trained_total{federation=\"fed\"} 60",
           "muster_upload_bytes_total{federation=\"fed\"} 200",
           "muster_run_upload_bytes{federation=\"fed\"} 1200",
           "muster_test_accuracy_ratio{federation=\"fed\"} 0.875",
           "muster_test_recall_ratio{federation=\"fed\",class=\"1\"} 0.25",
           "muster_client_accuracy_ratio{federation=\"fed\",quantile=\"0\"} 0.5",
           "muster_client_accuracy_ratio{federation=\"fed\",quantile=\"1\"} 1",
           "muster_method_value{federation=\"fed\",index=\"1\",name=\"group_weights\"} 0.75",
           "muster_search_candidate_loss{federation=\"fed\",clients=\"3\"} 0.375",
           "muster_search_chosen_clients{federation=\"fed\"} 3",
           "muster_saved_upload_bytes{federation=\"fed\"} 4000",
           "muster_round_duration_seconds_bucket{federation=\"fed\",le=\"0.5\"} 1",
           "muster_round_phase_duration_seconds_sum{federation=\"fed\",phase=\"train\"} 0.25",
           "muster_client_training_duration_seconds_count{federation=\"fed\"} 2",
       }) {
    EXPECT_TRUE(Shows(text, line)) << line;
  }
}

TEST(Metrics, TellHowMuchUpdatesAgree) {
  Metrics metrics("fed", "1");
  metrics.On(RoundStarted{0, 2, "fixed", {1, 2}});
  metrics.On(Answer(1, 3, 2));
  metrics.On(Answer(2, 1, 6));
  RoundRecord record = Round(0);
  record.update_norm = 1.5;  // of the weighted mean; the mean norm is (3 * 2 + 1 * 6) / 4 = 3
  metrics.On(RoundCommitted{record});
  metrics.On(RoundStarted{5, 1, "fixed", {2}});
  const std::string text = metrics.Text();
  for (const char* line : {
           "muster_update_cosine_ratio{federation=\"fed\"} 0.5",
           "muster_client_update_norm_sum{federation=\"fed\"} 8",
           "muster_update_bytes_total{federation=\"fed\",codec=\"sign\"} 200",
           "muster_fold_duration_seconds_count{federation=\"fed\"} 2",
           "muster_client_model_age_rounds_count{federation=\"fed\"} 1",
           "muster_client_model_age_rounds_sum{federation=\"fed\"} 5",
       }) {
    EXPECT_TRUE(Shows(text, line)) << line;
  }
}

TEST(Metrics, TheJournalLagsOnlyWhileARoundIsInFlight) {
  Metrics metrics("fed", "1");
  EXPECT_TRUE(Shows(metrics.Text(), "muster_journal_lag_seconds{federation=\"fed\"} 0"));
  metrics.On(RoundStarted{0, 1, "fixed", {1}});
  EXPECT_FALSE(Shows(metrics.Text(), "muster_journal_lag_seconds{federation=\"fed\"} 0"));
  metrics.On(RoundCommitted{Round(0)});
  EXPECT_TRUE(Shows(metrics.Text(), "muster_journal_lag_seconds{federation=\"fed\"} 0"));
}

TEST(Metrics, CountersCountThisProcessAndGaugesTheWholeRun) {
  Metrics metrics("fed", "1");
  RunOneRound(metrics, 4);
  metrics.On(RoundStarted{5, 3, "search"});
  EXPECT_TRUE(Shows(metrics.Text(), "muster_round_in_flight{federation=\"fed\"} 1"));
  metrics.On(RoundCommitted{Round(5)});
  metrics.On(RunFinished{6, "rounds"});
  const std::string text = metrics.Text();
  EXPECT_TRUE(Shows(text, "muster_upload_bytes_total{federation=\"fed\"} 400"));
  EXPECT_TRUE(Shows(text, "muster_committed_rounds{federation=\"fed\"} 6"));
  EXPECT_TRUE(Shows(text, "muster_run_finished{federation=\"fed\"} 1"));
}

TEST(Metrics, ASearchReplacesTheCandidatesOfTheOneBefore) {
  Metrics metrics("fed", "1");
  RunOneRound(metrics);
  RoundRecord next = Round(5);
  next.search->candidates = {{9, 0.125}};
  metrics.On(RoundCommitted{next});
  EXPECT_TRUE(Shows(metrics.Text(), "muster_search_candidate_loss{federation=\"fed\",clients=\"9\"} 0.125"));
  EXPECT_EQ(metrics.Text().find("clients=\"3\""), std::string::npos);
}

TEST(Metrics, APeersWordsMakeNoNewTimeSeries) {
  Metrics metrics("fed", "1");
  RoundRecord record = Round(0);
  record.failures.clear();
  for (int i = 0; i < 100; ++i) {
    record.failures.push_back({.client = i,
                               .stage = absl::StrCat("stage", i),
                               .code = absl::StrCat("\"\n", i),
                               .message = "",
                               .download_bytes = 0});
  }
  metrics.On(RoundCommitted{record});
  EXPECT_THAT(
      metrics.Text(),
      HasSubstr("muster_client_failures_total{federation=\"fed\",code=\"other\",stage=\"other\"} 100\n"));
}

// Which metrics a text shows: names after "# TYPE", with their types.
std::map<std::string, std::string> TypesIn(const std::string& text) {
  std::map<std::string, std::string> types;
  for (const auto line : absl::StrSplit(text, '\n')) {
    const std::vector<std::string> words = absl::StrSplit(line, ' ');
    if (words.size() == 4 && words[1] == "TYPE") types[words[2]] = words[3];
  }
  return types;
}

TEST(Metrics, TheTableHoldsAllOfThem) {
  Metrics metrics("fed", "1");
  metrics.SetConnections([] { return Connections{.states = {{"idle", 1}}}; });
  RunOneRound(metrics);
  std::map<std::string, std::string> documented;
  for (const MetricInfo& info : AllMetrics()) documented[std::string(info.name)] = std::string(info.type);
  EXPECT_EQ(TypesIn(metrics.Text()), documented);
}

TEST(Metrics, TheDocumentationIsTheTable) {
  const char* const file = std::getenv("MUSTER_METRICS_DOCUMENTATION");
  ASSERT_NE(file, nullptr);
  if (std::getenv("MUSTER_WRITE_DOCUMENTATION") != nullptr) {
    ASSERT_TRUE(WriteFileAtomic(file, MetricsDocumentation()).ok());
  }
  EXPECT_EQ(ReadFile(file).value_or(""), MetricsDocumentation())
      << "write it anew: MUSTER_WRITE_DOCUMENTATION=1 ctest -R server";
}

TEST(MonitoringEndpoint, ServesMetricsAndHealth) {
  const auto endpoint = MonitoringEndpoint::Open("127.0.0.1:0", "fed", "1");
  ASSERT_TRUE(endpoint.ok()) << endpoint.status();
  RunOneRound(**endpoint);
  const std::string url = (*endpoint)->url();  // http://127.0.0.1:PORT/
  httplib::Client client(url.substr(0, url.rfind('/')));
  const auto health = client.Get("/healthz");
  ASSERT_TRUE(health);
  EXPECT_EQ(health->body, "ok\n");
  const auto answer = client.Get("/metrics");
  ASSERT_TRUE(answer);
  EXPECT_EQ(answer->status, 200);
  EXPECT_THAT(answer->get_header_value("Content-Type"), HasSubstr("text/plain; version=0.0.4"));
  EXPECT_THAT(answer->body, HasSubstr("muster_committed_rounds{federation=\"fed\"} 5"));
  EXPECT_EQ(client.Get("/nothing")->status, 404);
}

TEST(HttpServer, AnAddressThatCannotBeHadIsNamed) {
  HttpServer first, second, third;
  ASSERT_TRUE(first.Start("127.0.0.1:0").ok());
  EXPECT_THAT(Message(second.Start(absl::StrCat("127.0.0.1:", first.port()))),
              HasSubstr("cannot listen on 127.0.0.1"));
  for (const char* address : {"9464", "localhost", ":9464", "127.0.0.1:http", "127.0.0.1:70000"}) {
    EXPECT_EQ(third.Start(address).code(), absl::StatusCode::kInvalidArgument) << address;
  }
}

}  // namespace
}  // namespace muster
