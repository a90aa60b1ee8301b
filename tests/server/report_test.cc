#include "server/monitoring/report.h"

#include <gmock/gmock.h>

#include <cmath>
#include <filesystem>
#include <limits>
#include <nlohmann/json.hpp>
#include <regex>

#include "absl/strings/str_cat.h"
#include "core/file.h"
#include "core/random.h"

namespace muster {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::SizeIs;
using ::testing::StartsWith;
using Json = nlohmann::json;

using StoredRun = Run;  // in a test `Run` is testing::Test::Run

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

// Rounds that look like a federation on ten classes: `speed` sets how fast it learns.
std::vector<RoundRecord> Rounds(int64_t count, uint64_t seed, double speed, bool searches) {
  Random random({seed});
  std::vector<RoundRecord> rounds;
  Totals totals;
  int64_t clients = 10;
  for (int64_t round = 0; round < count; ++round) {
    RoundRecord& record = rounds.emplace_back();
    record.round = round;
    record.reason = searches ? "probe" : "fixed";
    for (int64_t client = 0; client < clients; ++client) record.cohort.push_back(3 * client);
    record.accepted = clients;
    if (round % 17 == 5) {
      record.failures.push_back({.client = 3,
                                 .stage = round % 2 ? "train" : "upload",
                                 .code = round % 2 ? "INTERNAL" : "DEADLINE_EXCEEDED",
                                 .message = "the client's own words",
                                 .download_bytes = 0});
      --record.accepted;
    }
    const double progress = 1 - std::exp(-speed * static_cast<double>(round + 1));
    record.train_loss = 2.3 - 1.8 * progress + 0.05 * random.Normal();
    record.upload_bytes = 318'040 * record.accepted;
    record.download_bytes = 318'040 * clients;
    totals.client_trainings += clients;
    totals.uploads += record.accepted;
    totals.upload_bytes += record.upload_bytes;
    totals.download_bytes += record.download_bytes;
    totals.samples_trained += 600 * record.accepted;
    record.totals = totals;
    record.seconds = {{"train", 0.2}, {"total", 0.25}};
    if (round % 2 == 1) {
      Evaluation test{10000,
                      2.3 - 1.85 * progress + 0.03 * random.Normal(),
                      0.1 + 0.76 * progress + 0.012 * random.Normal(),
                      0.1 + 0.74 * progress,
                      {}};
      for (int c = 0; c < 10; ++c) test.class_recall.push_back(0.2 + 0.7 * progress * random.Uniform());
      record.test = test;
    }
    if (round == count - 1) {
      for (ClientId client = 0; client < 100; ++client) {
        const double accuracy = std::min(1.0, 0.65 + 0.12 * random.Normal() + 0.1);
        record.clients.push_back({client, {60, 0.5, accuracy, 0.7, {0.7, 0.8}}});
      }
    }
    if (searches && round % 25 == 24) {
      SearchRecord search;
      search.reference_loss = 1.5 - progress;
      search.previous = clients;
      for (int64_t size = 5; size <= 25; size += 5) {
        search.candidates.push_back({size, 1.52 - progress - 0.0015 * static_cast<double>(size)});
      }
      search.found = 15;
      search.chosen = clients = 10 + (round / 25) % 3 * 7;
      record.search = search;
    }
  }
  return rounds;
}

DataSummary Data(int64_t clients) {
  DataSummary data;
  data.dataset = "fashion_mnist";
  data.train_samples = 60'000;
  data.test_samples = 10'000;
  data.classes = {"T-shirt/top", "Trouser", "Pullover", "Dress", "Coat",
                  "Sandal",      "Shirt",   "Sneaker",  "Bag",   "Ankle boot"};
  Random random({5});
  for (int64_t client = 0; client < clients; ++client) {
    const double samples = 200 + 2000 * random.Uniform() * random.Uniform();
    std::vector<int64_t> counts;
    int64_t sum = 0;
    for (const double share : random.Dirichlet(0.3, 10)) {
      counts.push_back(static_cast<int64_t>(share * samples));
      sum += counts.back();
    }
    data.label_counts.push_back(counts);
    data.client_samples.push_back(sum);
  }
  return data;
}

StoredRun SampleRun(const std::string& name, int64_t rounds, uint64_t seed, double speed, bool searches) {
  StoredRun run;
  run.directory = absl::StrCat("runs/", name, "-", seed);
  run.config =
      absl::StrCat("name: ", name, "\nseed: ", seed, "\nmodel: {name: mlp, hidden: [200]}\n",
                   "federation:\n  rounds: ", rounds, "\n  participation: {name: fixed, clients: 10}\n");
  run.rounds = Rounds(rounds, seed, speed, searches);
  run.data = Data(100);
  run.data->Thin();
  RunSummary summary = Summarize(run.rounds);
  summary.name = name;
  summary.seed = seed;
  summary.finish_reason = "rounds";
  summary.wall_seconds = summary.training_seconds + 2;
  summary.model_sha256 = "3f2a9c17d04be85561aa0c7793e2bd1184f60d29ce5a7b3390fd18462e7c5ab0";
  summary.parameters = 79'510;
  summary.muster_version = "0.1.0";
  summary.libtorch_version = "1.13.1";
  run.summary = summary;
  return run;
}

Json PageData(const std::string& page) {
  static constexpr char kOpen[] = "id=\"report-data\">";
  const size_t begin = page.find(kOpen) + sizeof(kOpen) - 1;
  return Json::parse(page.substr(begin, page.find("</script>", begin) - begin));
}

// Leaves the page in the tests' temporary folder, to be looked at.
std::string Render(const std::vector<StoredRun>& runs, const std::string& name) {
  const absl::StatusOr<std::string> page = RenderReport(runs);
  EXPECT_TRUE(page.ok()) << page.status();
  EXPECT_TRUE(WriteFileAtomic(absl::StrCat(::testing::TempDir(), "muster_", name, ".html"), *page).ok());
  return *page;
}

std::string FreshFolder(const std::string& name) {
  const std::string folder = ::testing::TempDir() + "run_files_" + name;
  std::filesystem::remove_all(folder);
  std::filesystem::create_directories(folder);
  return folder;
}

void Write(const std::string& path, const std::string& text) {
  ASSERT_TRUE(WriteFileAtomic(path, text).ok());
}

// ---- The page
// -----------------------------------------------------------------------------------------------------

TEST(ReportTest, PageOfOneRunHasEverySection) {
  const std::string page = Render({SampleRun("fashion-isp", 200, 1, 0.03, true)}, "report_one");
  for (const char* id :
       {"tiles", "comparison", "curves", "accuracy-chart", "test-loss-chart", "train-loss-chart",
        "cohort-chart", "searches-table", "failures-chart", "labels-chart", "samples-chart", "recall-chart",
        "client-accuracy-chart", "config", "axis"}) {
    EXPECT_THAT(page, HasSubstr(absl::StrCat("id=\"", id, "\"")));
  }
  EXPECT_THAT(page, HasSubstr("<title>fashion-isp &middot; Muster report</title>"));
  EXPECT_THAT(page, HasSubstr("Released under the MIT License")) << "Chart.js keeps its licence";
  EXPECT_THAT(page, Not(HasSubstr("{{")));

  const Json run = PageData(page)["runs"][0];
  EXPECT_THAT(run["test"]["round"], SizeIs(100));
  EXPECT_EQ(run["test"]["round"][0], 2) << "rounds count from 1 on the page";
  EXPECT_EQ(run["test"]["bytes"][0], 2 * 10 * 318'040);
  EXPECT_THAT(run["cohort"]["asked"], SizeIs(200));
  EXPECT_THAT(run["searches"], SizeIs(8));
  EXPECT_EQ(run["searches"][0]["round"], 25);
  EXPECT_EQ(run["searches"][0]["candidates"][1][0], 10);
  EXPECT_EQ(run["failures"]["total"], 12);
  EXPECT_THAT(run["failures"]["kinds"], SizeIs(2));
  EXPECT_THAT(run["data"]["labels"], SizeIs(100));
  EXPECT_EQ(run["recall"]["classes"][9], "Ankle boot");
  EXPECT_EQ(run["client_accuracy"]["clients"], 100);
  EXPECT_THAT(std::string(run["config"]), HasSubstr("name: fashion-isp"));
  EXPECT_TRUE(PageData(page)["comparison"].is_null());
}

TEST(ReportTest, WhatTheMethodToldIsDrawnRoundByRound) {
  StoredRun run = SampleRun("also", 3, 1, 0.03, false);
  for (size_t r = 0; r < 3; ++r) {
    const auto round = static_cast<double>(r);
    run.rounds[r].numbers["step_size"] = {0.5 - 0.1 * round};
    if (r > 0) run.rounds[r].numbers["group_weights"] = std::vector<double>(10, round / 10);
    std::vector<double>& many = run.rounds[r].numbers["client_weights"];
    for (int i = 100; i >= 0; --i) many.push_back(i + round);  // unsorted
  }
  const Json told = PageData(Render({run}, "report_told"))["runs"][0]["told"];
  ASSERT_THAT(told, SizeIs(3));
  EXPECT_EQ(told[0]["name"], "client_weights");
  EXPECT_EQ(told[0]["labels"][2], "median");
  EXPECT_EQ(told[0]["curves"], Json({{0, 1, 2}, {10, 11, 12}, {50, 51, 52}, {90, 91, 92}, {100, 101, 102}}));
  EXPECT_EQ(told[1]["name"], "group_weights");
  EXPECT_EQ(told[1]["labels"], run.data->classes);
  EXPECT_EQ(told[1]["round"], Json({2, 3}));
  EXPECT_EQ(told[1]["curves"][9], Json({0.1, 0.2}));
  EXPECT_EQ(told[2]["labels"], Json({"step_size"}));
  EXPECT_EQ(told[2]["curves"][0], Json({0.5, 0.4, 0.3}));
}

TEST(ReportTest, NoRequestLeavesThePage) {
  const std::string page = Render({SampleRun("a", 20, 1, 0.03, false)}, "report_short");
  const std::regex resource(R"re((src|href|action|url\()\s*=?\s*["']?\s*(https?:)?//)re", std::regex::icase);
  EXPECT_FALSE(std::regex_search(page, resource));
  EXPECT_THAT(page, Not(HasSubstr("@import")));
  EXPECT_THAT(page, HasSubstr("default-src 'none'")) << "the browser would refuse it, too";
}

TEST(ReportTest, HostileTextStaysText) {
  StoredRun run = SampleRun("</title><script>alert(1)</script><b>", 40, 1, 0.03, true);
  run.config = "name: \"</script><b>{{CSS}}\xff\"\n<!-- <script>";
  run.data->classes[0] = "</script><b>class";
  run.rounds[5].failures.push_back(
      {.client = 1, .stage = "<i>", .code = "</script>", .message = "<!--<script>\xff"});
  const std::string page = Render({run, run}, "report_hostile");
  EXPECT_THAT(page, HasSubstr("<title>2 runs compared"));
  EXPECT_THAT(page, Not(HasSubstr("<b>")));
  EXPECT_THAT(page, Not(HasSubstr("<i>")));
  EXPECT_THAT(page, Not(HasSubstr("alert(1)</script>")));
  const Json json = PageData(page)["runs"][0];
  EXPECT_THAT(std::string(json["config"]), HasSubstr("</script><b>{{CSS}}"));
  EXPECT_THAT(std::string(json["recall"]["classes"][0]), HasSubstr("</script><b>class"));

  const std::string single = Render({run}, "report_hostile_one");
  EXPECT_THAT(single, HasSubstr("<h1>&lt;/title&gt;&lt;script&gt;alert(1)&lt;/script&gt;&lt;b&gt;</h1>"));
}

TEST(ReportTest, SeveralRunsAreCompared) {
  const std::string page =
      Render({SampleRun("isp", 200, 1, 0.03, true), SampleRun("fixed", 200, 2, 0.02, false),
              SampleRun("fixed", 150, 3, 0.025, false)},
             "report_several");
  EXPECT_THAT(page, HasSubstr("<h1>isp, fixed (runs/fixed-2), fixed (runs/fixed-3)</h1>"));
  const Json json = PageData(page);
  EXPECT_THAT(json["runs"], SizeIs(3));
  EXPECT_EQ(json["runs"][0]["label"], "isp");
  EXPECT_EQ(json["runs"][1]["label"], "fixed (runs/fixed-2)") << "equal names are told apart";
  EXPECT_EQ(json["runs"][2]["label"], "fixed (runs/fixed-3)");
  EXPECT_THAT(json["comparison"]["rows"], SizeIs(3));
  EXPECT_THAT(json["comparison"]["rows"][0], SizeIs(json["comparison"]["columns"].size()));
}

TEST(ReportTest, UnfinishedRunIsShownAsFarAsItIs) {
  StoredRun run = SampleRun("x", 30, 1, 0.03, false);
  run.summary.reset();
  run.data.reset();
  run.directory = "somewhere/half-done/";
  const Json json = PageData(Render({run}, "report_unfinished"))["runs"][0];
  EXPECT_EQ(json["label"], "half-done");
  EXPECT_EQ(json["finished"], false);
  EXPECT_TRUE(json["data"].is_null());
  EXPECT_EQ(json["recall"]["classes"][0], "class 0");

  StoredRun nothing;
  nothing.directory = "empty";
  EXPECT_THAT(PageData(Render({nothing}, "report_empty"))["runs"][0]["test"]["round"], IsEmpty());
  EXPECT_THAT(ComparisonTable(std::vector<StoredRun>{nothing}), HasSubstr("empty"));
}

TEST(ReportTest, RegressionAndLossesThatAreNoNumbers) {
  StoredRun run;
  run.directory = "regression";
  run.rounds.resize(3);
  for (int64_t round = 0; round < 3; ++round) {
    run.rounds[round].round = round;
    run.rounds[round].train_loss = round == 1 ? kNan : 2.0;
    run.rounds[round].test = Evaluation{
        .samples = 5, .loss = round == 2 ? kNan : 3.0 - static_cast<double>(round), .class_recall = {}};
  }
  const Json json = PageData(Render({run}, "report_regression"))["runs"][0];
  EXPECT_EQ(json["classes"], false);
  EXPECT_TRUE(json["recall"].is_null());
  EXPECT_EQ(json["test"]["loss"].dump(), "[3.0,2.0,null]");
  EXPECT_EQ(json["train"]["loss"].dump(), "[2.0,null,2.0]");
  EXPECT_EQ(ComparisonTable(std::vector<StoredRun>{run}),
            "run         final loss  best loss @round    rounds  uploads   up  time\n"
            "regression         nan         2.0000 @2  3 so far        0  0 B  0.0s\n");
}

TEST(ReportTest, LongRunsAreThinned) {
  const StoredRun run = SampleRun("long", 5000, 1, 0.001, true);
  const std::string page = Render({run}, "report_long");
  const Json json = PageData(page)["runs"][0];
  const Json& asked = json["cohort"]["round"];
  EXPECT_THAT(asked, SizeIs(1500));
  EXPECT_EQ(asked.front(), 1);
  EXPECT_EQ(asked.back(), 5000);
  EXPECT_LE(json["failures"]["rounds"].size(), 150u);
  EXPECT_LT(page.size(), 200'000u + 300'000u) << "Chart.js and a few hundred kilobytes";
}

TEST(ReportTest, WithoutRunsThereIsNothingToReport) {
  EXPECT_TRUE(absl::IsInvalidArgument(RenderReport({}).status()));
}

// ---- The comparison
// -----------------------------------------------------------------------------------------------

// Accuracies by round; every round uploads one MB.
StoredRun Simple(const std::string& name, const std::vector<double>& accuracies) {
  StoredRun run;
  run.directory = name;
  for (size_t i = 0; i < accuracies.size(); ++i) {
    RoundRecord& record = run.rounds.emplace_back();
    record.round = static_cast<int64_t>(i);
    record.test = Evaluation{10, 1, accuracies[i], 0, {accuracies[i]}};
    record.totals.uploads = 2 * static_cast<int64_t>(i + 1);
    record.totals.upload_bytes = 1'000'000 * static_cast<int64_t>(i + 1);
  }
  run.summary = Summarize(run.rounds);
  run.summary->wall_seconds = 65;
  return run;
}

TEST(ComparisonTest, TableForTheTerminal) {
  const std::vector<StoredRun> runs = {Simple("fast", {0.5, 0.78, 0.8, 0.79}),
                                       Simple("slo\u00fc\n", {0.1, 0.2})};
  // 95 % of 0.8 is 0.76: reached by the first in its second round, by the other never.
  EXPECT_EQ(ComparisonTable(runs),
            "run    final acc  best acc @round  rounds  uploads       up  up to 76.00% @round   time\n"
            "fast      79.00%        80.00% @3       4        8  4.00 MB           2.00 MB @2  1m05s\n"
            "slo\u00fc      20.00%        20.00% @2       2        4  2.00 MB                    -  1m05s\n");
}

// ---- The files of a run
// -------------------------------------------------------------------------------------------

TEST(RunFilesTest, SummaryOfRounds) {
  const RunSummary summary = Summarize(Simple("x", {0.5, 0.8, 0.8, 0.7}).rounds);
  EXPECT_EQ(summary.rounds, 4);
  EXPECT_EQ(summary.final->round, 3);
  EXPECT_EQ(summary.best->round, 1) << "the first of equals";
  EXPECT_EQ(summary.totals.uploads, 8);
  EXPECT_THAT(summary.participants, ElementsAre(0, 0, 0, 0));
  EXPECT_FALSE(Summarize({}).best.has_value());
}

TEST(RunFilesTest, RunIsReadBackAsItWasWritten) {
  const std::string folder = FreshFolder("round_trip");
  const StoredRun run = SampleRun("round \"trip\"", 30, 1, 0.03, true);
  Write(folder + "/config.yaml", run.config);
  ASSERT_TRUE(WriteRunSummary(folder, *run.summary).ok());
  ASSERT_TRUE(WriteDataSummary(folder, Data(100)).ok());
  std::string lines;
  for (const RoundRecord& record : run.rounds) absl::StrAppend(&lines, ToJson(record), "\n");
  Write(folder + "/rounds.jsonl", lines);

  const absl::StatusOr<StoredRun> back = ReadRun(folder);
  ASSERT_TRUE(back.ok()) << back.status();
  EXPECT_EQ(back->directory, folder);
  EXPECT_EQ(back->name(), "round \"trip\"");
  EXPECT_EQ(back->config, run.config);
  EXPECT_EQ(back->summary->seed, 1u);
  EXPECT_EQ(back->summary->finish_reason, "rounds");
  EXPECT_EQ(back->summary->best->round, run.summary->best->round);
  EXPECT_EQ(back->summary->best->accuracy, run.summary->best->accuracy);
  EXPECT_EQ(back->summary->final->loss, run.summary->final->loss);
  EXPECT_EQ(back->summary->final->macro_f1, run.summary->final->macro_f1);
  EXPECT_EQ(back->summary->participants, run.summary->participants);
  EXPECT_EQ(back->summary->totals.download_bytes, run.summary->totals.download_bytes);
  EXPECT_EQ(back->summary->totals.samples_trained, run.summary->totals.samples_trained);
  EXPECT_EQ(back->summary->wall_seconds, run.summary->wall_seconds);
  EXPECT_EQ(back->summary->training_seconds, run.summary->training_seconds);
  EXPECT_EQ(back->summary->model_sha256, run.summary->model_sha256);
  EXPECT_EQ(back->summary->parameters, 79'510);
  EXPECT_EQ(back->summary->libtorch_version, "1.13.1");
  EXPECT_EQ(back->data->classes, run.data->classes);
  EXPECT_EQ(back->data->clients, 100);
  EXPECT_EQ(back->data->client_samples, run.data->client_samples);
  EXPECT_EQ(back->data->label_counts, run.data->label_counts);
  EXPECT_EQ(back->data->samples_histogram.size(), run.data->samples_histogram.size());
  ASSERT_EQ(back->rounds.size(), 30u);
  EXPECT_EQ(ToJson(back->rounds[29]), ToJson(run.rounds[29]));
  EXPECT_EQ(*RenderReport(std::vector<StoredRun>{*back}), *RenderReport(std::vector<StoredRun>{run}));
}

TEST(RunFilesTest, SummaryKeepsLossesThatAreNoNumbersAndMissingMetrics) {
  const std::string folder = FreshFolder("nan");
  RunSummary summary;
  summary.seed = ~uint64_t{0};
  summary.final = RoundMetrics{.round = 3, .loss = kNan};
  ASSERT_TRUE(WriteRunSummary(folder, summary).ok());
  const absl::StatusOr<RunSummary> back = ReadRunSummary(folder);
  ASSERT_TRUE(back.ok()) << back.status();
  EXPECT_EQ(back->seed, ~uint64_t{0});
  EXPECT_TRUE(std::isnan(back->final->loss));
  EXPECT_FALSE(back->best.has_value());
}

TEST(RunFilesTest, ManyClientsAreThinned) {
  DataSummary data;
  data.classes = {"a"};
  for (int64_t client = 0; client < 2001; ++client) {
    data.client_samples.push_back(10 + client % 100);
    data.label_counts.push_back({10 + client % 100});
  }
  data.Thin();
  EXPECT_EQ(data.clients, 2001);
  EXPECT_THAT(data.client_samples, SizeIs(200));
  EXPECT_THAT(data.label_counts, SizeIs(200));
  // 10 .. 109 in bins of five, twenty or twenty-one clients a value.
  ASSERT_THAT(data.samples_histogram, SizeIs(20));
  EXPECT_EQ(data.samples_histogram[0].from, 10);
  EXPECT_EQ(data.samples_histogram[0].to, 14);
  EXPECT_EQ(data.samples_histogram[0].clients, 101);
  EXPECT_EQ(data.samples_histogram[19].to, 109);
  EXPECT_EQ(data.samples_histogram[19].clients, 100);

  DataSummary few;
  few.client_samples = {4, 4, 5};
  few.Thin();
  EXPECT_THAT(few.client_samples, SizeIs(3));
  EXPECT_THAT(few.samples_histogram, SizeIs(2));
}

TEST(RunFilesTest, UnfinishedRunMayHaveTornLastLine) {
  const std::string folder = FreshFolder("torn");
  StoredRun run = Simple("x", {0.5, 0.6});
  Write(folder + "/config.yaml", "name: x\n");
  EXPECT_THAT(ReadRun(folder)->rounds, IsEmpty()) << "a run that has just begun";
  const std::string torn = ToJson(run.rounds[0]) + "\n" + ToJson(run.rounds[1]).substr(0, 30);
  Write(folder + "/rounds.jsonl", torn);
  EXPECT_THAT(ReadRun(folder)->rounds, SizeIs(1));
  EXPECT_EQ(ReadRun(folder)->name(), "run_files_torn");
  ASSERT_TRUE(WriteRunSummary(folder, *run.summary).ok());
  EXPECT_THAT(Message(ReadRun(folder).status()), HasSubstr("rounds.jsonl:2: damaged record"))
      << "a finished run has no torn line";
}

TEST(RunFilesTest, DamageIsNamedInOneLine) {
  const std::string folder = FreshFolder("damage");
  const auto message = [&] { return Message(ReadRun(folder).status()); };
  EXPECT_TRUE(absl::IsNotFound(ReadRun(folder).status()));
  EXPECT_THAT(message(), HasSubstr("not a run directory"));

  const StoredRun run = Simple("x", {0.5, 0.6, 0.7});
  Write(folder + "/config.yaml", "name: x\n");
  const std::string first = ToJson(run.rounds[0]) + "\n";
  Write(folder + "/rounds.jsonl", first + "{\"round\": 1}\n" + first);
  EXPECT_THAT(message(), StartsWith(folder + "/rounds.jsonl:2: "));
  EXPECT_THAT(message(), Not(HasSubstr("\n")));
  Write(folder + "/rounds.jsonl", first + first);
  EXPECT_THAT(message(), HasSubstr("rounds.jsonl:2: round 0 where round 1 should be"));
  Write(folder + "/rounds.jsonl", first);
  EXPECT_TRUE(ReadRun(folder).ok());

  for (const auto& [text, expected] : std::vector<std::pair<std::string, std::string>>{
           {"", "summary.json: not a JSON object"},
           {"[1]", "summary.json: not a JSON object"},
           {"{\"name\": 1}", "summary.json: key 'name' has a value of the wrong type"},
           {"{\"name\": \"x\"}", "summary.json: key 'seed' is missing"},
           {R"({"name": "x", "seed": 1, "finish_reason": "", "rounds": 1.5})",
            "summary.json: key 'rounds' has a value of the wrong type"},
           {R"({"name": "x", "seed": 1, "finish_reason": "", "rounds": 1, "final": {"round": 1}})",
            "summary.json: key 'final.loss' is missing"}}) {
    Write(folder + "/summary.json", text);
    EXPECT_TRUE(absl::IsInvalidArgument(ReadRun(folder).status()));
    EXPECT_THAT(message(), HasSubstr(expected));
    EXPECT_THAT(message(), Not(HasSubstr("\n")));
  }
  std::filesystem::remove(folder + "/summary.json");

  DataSummary data = Data(3);
  data.label_counts[1].pop_back();
  ASSERT_TRUE(WriteDataSummary(folder, data).ok());
  EXPECT_THAT(message(), HasSubstr("data.json: 'label_counts' and 'classes' do not match"));
}

}  // namespace
}  // namespace muster
