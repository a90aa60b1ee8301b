#include "server/monitoring/progress.h"

#include <gmock/gmock.h>

#include <algorithm>
#include <sstream>

#include "server/monitoring/units.h"

namespace muster {
namespace {

using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

RoundRecord Record(int64_t round, int64_t cohort) {
  RoundRecord record;
  record.round = round;
  record.reason = "fixed";
  for (int64_t client = 0; client < cohort; ++client) record.cohort.push_back(client);
  record.accepted = cohort;
  record.train_loss = 0.5;
  record.totals.upload_bytes = 1'500'000 * (round + 1);
  return record;
}

RoundRecord Evaluated(int64_t round, int64_t cohort, double accuracy) {
  RoundRecord record = Record(round, cohort);
  record.test = Evaluation{100, 0.75, accuracy, 0.5, {0.5, 1}};
  return record;
}

class ProgressTest : public ::testing::Test {
 protected:
  ProgressOptions Options(ProgressMode mode, bool terminal) {
    return {mode, &text_, &json_, terminal, [this] { return width_; }, [this] { return now_; }};
  }
  // The live line as it stands: what was written behind the last carriage return.
  std::string Live() const {
    const std::string all = text_.str();
    return all.substr(all.rfind('\r') + 1);
  }
  int64_t Draws() const {
    const std::string all = text_.str();
    return std::count(all.begin(), all.end(), '\r');
  }
  // A round in which every client takes `seconds`.
  void RunRound(Progress& progress, const RoundRecord& record, double seconds) {
    progress.On(RoundStarted{record.round, static_cast<int64_t>(record.cohort.size()), record.reason});
    for (const ClientId client : record.cohort) {
      now_ += seconds;
      progress.On(ClientFinished{record.round, client, true, {}});
    }
    progress.On(RoundCommitted{record});
  }

  std::ostringstream text_, json_;
  int width_ = 200;
  double now_ = 1000;
};

TEST_F(ProgressTest, LiveLineTellsTheWholeStory) {
  Progress progress(Options(ProgressMode::kAuto, /*terminal=*/true));
  progress.On(RunStarted{.name = "demo", .rounds = 10, .clients = 50, .parameters = 7, .totals = {}});
  EXPECT_EQ(Live(), "demo  round 0/10 [>         ]  up 0 B\x1b[K");
  RunRound(progress, Evaluated(0, 4, 0.7842), 0.25);
  now_ += 0.2;
  progress.On(RoundStarted{1, 4, "probe"});
  // 4 trainings in 1.2 s; nine rounds to go at 1.2 s each.
  EXPECT_EQ(
      Live(),
      "demo  round 2/10 [=>        ]  0/4 clients (probe)  train 0.5000  test 0.7500 acc 78.42%  up 1.50 MB"
      "  3.33/s  ETA 11s\x1b[K");
  now_ += 0.2;
  progress.On(ClientFinished{1, 3, false, {}});
  EXPECT_THAT(Live(), HasSubstr("1/4 clients (probe)"));
  EXPECT_THAT(Live(), HasSubstr("1 failed"));
}

TEST_F(ProgressTest, LastKnownTestResultStays) {
  Progress progress(Options(ProgressMode::kAuto, /*terminal=*/true));
  progress.On(RunStarted{.name = "demo", .rounds = 3, .totals = {}});
  RunRound(progress, Evaluated(0, 2, 0.5), 1);
  RunRound(progress, Record(1, 2), 1);
  progress.On(RunFinished{2, "stopped"});
  EXPECT_THAT(Live(), HasSubstr("round 2/3"));
  EXPECT_THAT(Live(), HasSubstr("acc 50.00%"));
  EXPECT_THAT(Live(), EndsWith("\n"));
}

TEST_F(ProgressTest, RegressionHasNoAccuracy) {
  Progress progress(Options(ProgressMode::kAuto, /*terminal=*/true));
  progress.On(RunStarted{.name = "demo", .rounds = 1, .totals = {}});
  RoundRecord record = Record(0, 1);
  record.test = Evaluation{.samples = 10, .loss = 2.5, .class_recall = {}};
  RunRound(progress, record, 1);
  progress.On(RunFinished{1, "rounds"});
  EXPECT_THAT(Live(), HasSubstr("test 2.5000"));
  EXPECT_THAT(Live(), Not(HasSubstr("acc")));
}

TEST_F(ProgressTest, RedrawsAtMostTenTimesASecond) {
  Progress progress(Options(ProgressMode::kAuto, /*terminal=*/true));
  progress.On(RunStarted{.name = "demo", .rounds = 1, .totals = {}});
  progress.On(RoundStarted{0, 2000, "fixed"});
  for (ClientId client = 0; client < 2000; ++client) {
    now_ += 0.001;
    progress.On(ClientFinished{0, client, true, {}});
  }
  EXPECT_GE(Draws(), 18);
  EXPECT_LE(Draws(), 21);
}

TEST_F(ProgressTest, LineFitsTheTerminalAndCannotSteerIt) {
  Progress progress(Options(ProgressMode::kAuto, /*terminal=*/true));
  width_ = 20;
  progress.On(RunStarted{.name = "\x1b[31m\u00e4\u00f6\u00fc\nname", .rounds = 10, .totals = {}});
  EXPECT_EQ(Live(), "[31m\u00e4\u00f6\u00fcname  round \x1b[K") << "19 columns, then clear to the end";
  width_ = 0;
  now_ += 1;
  progress.On(RoundStarted{0, 1, "fixed"});
  EXPECT_EQ(Live(), "[\x1b[K");
}

TEST_F(ProgressTest, PlainLinesForEvaluatedRounds) {
  Progress progress(Options(ProgressMode::kAuto, /*terminal=*/false));
  progress.On(RunStarted{.name = "demo", .rounds = 4, .clients = 1, .parameters = 79510, .totals = {}});
  RunRound(progress, Record(0, 2), 1);
  RunRound(progress, Evaluated(1, 2, 0.25), 1);
  RunRound(progress, Record(2, 2), 1);
  RunRound(progress, Record(3, 1), 1);
  progress.On(RunFinished{4, "rounds"});
  EXPECT_EQ(
      text_.str(),
      "demo: 1 client, 79,510 parameters, 4 rounds\n"
      "round 2/4: 2 clients  train loss 0.5000  test loss 0.7500  accuracy 25.00%  up 3.00 MB  1.00/s"
      "  ETA 4.0s\n"
      "round 4/4: 1 client  train loss 0.5000  test loss 0.7500  accuracy 25.00%  up 6.00 MB  1.00/s\n");
}

TEST_F(ProgressTest, PlainLinesAtMostOneASecondAndTheLast) {
  Progress progress(Options(ProgressMode::kAuto, /*terminal=*/false));
  progress.On(RunStarted{.name = "demo", .rounds = 100, .totals = {}});
  for (int64_t round = 0; round < 100; ++round) RunRound(progress, Evaluated(round, 1, 0.5), 0.0625);
  progress.On(RunFinished{100, "rounds"});
  const std::string text = text_.str();
  // 6.25 s: the heading, the first round, one in each following second, the last.
  EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 9) << text;
  EXPECT_THAT(text, HasSubstr("\nround 100/100: "));
  EXPECT_THAT(text, Not(HasSubstr("\r")));
}

TEST_F(ProgressTest, ResumedRunCountsOn) {
  Progress progress(Options(ProgressMode::kAuto, /*terminal=*/false));
  progress.On(RunStarted{.name = "demo", .first_round = 7, .rounds = 9, .clients = 3, .totals = {}});
  EXPECT_THAT(text_.str(), HasSubstr("resumed after round 7"));
  RunRound(progress, Evaluated(7, 2, 0.5), 1);
  EXPECT_THAT(text_.str(), HasSubstr("round 8/9: "));
  EXPECT_THAT(text_.str(), HasSubstr("1.00/s  ETA 2.0s")) << "speed is this process's";
}

TEST_F(ProgressTest, QuietSaysNothing) {
  Progress progress(Options(ProgressMode::kQuiet, /*terminal=*/true));
  progress.On(RunStarted{.name = "demo", .rounds = 1, .totals = {}});
  RunRound(progress, Evaluated(0, 2, 0.5), 1);
  progress.On(RunFinished{1, "rounds"});
  EXPECT_EQ(text_.str() + json_.str(), "");
}

TEST_F(ProgressTest, JsonIsOneRecordALine) {
  Progress progress(Options(ProgressMode::kJson, /*terminal=*/true));
  progress.On(RunStarted{.name = "demo", .rounds = 2, .totals = {}});
  RunRound(progress, Record(0, 2), 1);
  RunRound(progress, Evaluated(1, 2, 0.5), 1);
  progress.On(RunFinished{2, "rounds"});
  EXPECT_EQ(json_.str(), ToJson(Record(0, 2)) + "\n" + ToJson(Evaluated(1, 2, 0.5)) + "\n");
  EXPECT_EQ(text_.str(), "");
}

TEST(UnitsTest, ReadLikeAPersonWritesThem) {
  EXPECT_EQ(FormatBytes(0), "0 B");
  EXPECT_EQ(FormatBytes(999), "999 B");
  EXPECT_EQ(FormatBytes(1000), "1.00 kB");
  EXPECT_EQ(FormatBytes(12'345'678), "12.3 MB");
  EXPECT_EQ(FormatBytes(999'600), "1.00 MB");
  EXPECT_EQ(FormatBytes(7.2e15), "7.20 PB");
  EXPECT_EQ(FormatCount(0), "0");
  EXPECT_EQ(FormatCount(999), "999");
  EXPECT_EQ(FormatCount(1'234'567), "1,234,567");
  EXPECT_EQ(FormatCount(-1000), "-1,000");
  EXPECT_EQ(FormatCount(-100), "-100");
  EXPECT_EQ(FormatSeconds(0.04), "0.0s");
  EXPECT_EQ(FormatSeconds(59.4), "59s");
  EXPECT_EQ(FormatSeconds(59.6), "1m00s");
  EXPECT_EQ(FormatSeconds(3 * 3600 + 61), "3h01m");
  EXPECT_EQ(FormatSeconds(200'000), "2d07h");
  EXPECT_EQ(FormatSeconds(1.0 / 0.0), "?");
  EXPECT_EQ(FormatLoss(0.51234), "0.5123");
  EXPECT_EQ(FormatLoss(0.000012), "1.2e-05");
  EXPECT_EQ(FormatShare(0.78421), "78.42%");
  EXPECT_EQ(FormatRate(12345), "12k");
}

}  // namespace
}  // namespace muster
