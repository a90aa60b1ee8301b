#include "server/monitoring/rounds_log.h"

#include <gmock/gmock.h>

#include <filesystem>

#include "core/file.h"

namespace muster {
namespace {

using ::testing::HasSubstr;

RoundRecord Record(int64_t round) {
  RoundRecord record;
  record.round = round;
  record.reason = "fixed";
  record.cohort = {1, 2};
  record.accepted = 2;
  record.totals.uploads = 2 * (round + 1);
  return record;
}
std::string Line(int64_t round) { return ToJson(Record(round)) + "\n"; }

class RoundsLogTest : public ::testing::Test {
 protected:
  RoundsLogTest() {
    std::filesystem::remove_all(dir_);
    std::filesystem::create_directories(dir_);
  }
  std::string Text() const { return ReadFile(dir_ + "/rounds.jsonl").value_or("no file"); }
  void Write(const std::string& text) { ASSERT_TRUE(WriteFileAtomic(dir_ + "/rounds.jsonl", text).ok()); }

  const std::string dir_ =
      ::testing::TempDir() + "rounds_log_" + ::testing::UnitTest::GetInstance()->current_test_info()->name();
};

TEST_F(RoundsLogTest, EveryCommittedRoundIsThereAtOnce) {
  RoundsLog log(dir_);
  log.On(RunStarted{});
  EXPECT_EQ(Text(), "");
  log.On(RoundCommitted{Record(0)});
  EXPECT_EQ(Text(), Line(0));
  log.On(RoundStarted{1, 2, "fixed"});
  log.On(ClientFinished{1, 1, true, {}});
  log.On(RoundCommitted{Record(1)});
  log.On(RunFinished{2, "rounds"});
  EXPECT_EQ(Text(), Line(0) + Line(1));
  EXPECT_TRUE(log.status().ok());
}

TEST_F(RoundsLogTest, NewRunReplacesAnOldFile) {
  Write(Line(0) + Line(1));
  RoundsLog log(dir_);
  log.On(RunStarted{});
  log.On(RoundCommitted{Record(0)});
  EXPECT_EQ(Text(), Line(0));
}

TEST_F(RoundsLogTest, ResumeCutsTornTailAndUncommittedRounds) {
  // "seconds" tells a kept line from one that was rewritten from the journal.
  RoundRecord timed = Record(0);
  timed.seconds["total"] = 1.5;
  Write(ToJson(timed) + "\n" + Line(1) + Line(2) + Line(3).substr(0, 20));
  RoundsLog log(dir_, {ToJson(Record(0)), ToJson(Record(1))});
  log.On(RunStarted{.name = "x", .first_round = 2, .rounds = 3, .totals = {}});
  EXPECT_EQ(Text(), ToJson(timed) + "\n" + Line(1));
  log.On(RoundCommitted{Record(2)});
  EXPECT_EQ(Text(), ToJson(timed) + "\n" + Line(1) + Line(2));
}

TEST_F(RoundsLogTest, ResumeRewritesWhatIsMissingOrDamaged) {
  const std::vector<std::string> journal = {ToJson(Record(0)), ToJson(Record(1)), ToJson(Record(2))};
  const std::string whole = Line(0) + Line(1) + Line(2);
  for (const std::string& damaged :
       {std::string(), Line(0), Line(0) + Line(1).substr(0, 10), Line(0) + "garbage\n" + Line(2),
        Line(0) + Line(2), Line(0) + Line(1) + ToJson(Record(2))}) {
    Write(damaged);
    RoundsLog log(dir_, journal);
    log.On(RunStarted{.name = "x", .first_round = 3, .rounds = 5, .totals = {}});
    EXPECT_TRUE(log.status().ok());
    EXPECT_EQ(Text(), whole) << "from: " << damaged;
  }
  std::filesystem::remove(dir_ + "/rounds.jsonl");
  RoundsLog log(dir_, journal);
  log.On(RunStarted{.name = "x", .first_round = 3, .rounds = 5, .totals = {}});
  EXPECT_EQ(Text(), whole);
}

TEST_F(RoundsLogTest, RecordThatIsNowhereIsAnError) {
  Write(Line(0));
  RoundsLog log(dir_, {ToJson(Record(0))});
  log.On(RunStarted{.name = "x", .first_round = 2, .rounds = 3, .totals = {}});
  EXPECT_THAT(Message(log.status()), HasSubstr("round 1 is neither here nor in the journal"));
  log.On(RoundCommitted{Record(2)});
  EXPECT_EQ(Text(), Line(0)) << "a log with a hole is worse than none";
}

TEST_F(RoundsLogTest, FolderThatIsMissingIsAnError) {
  RoundsLog log(dir_ + "/absent");
  log.On(RunStarted{});
  EXPECT_FALSE(log.status().ok());
  log.On(RoundCommitted{Record(0)});
  EXPECT_THAT(Message(log.status()), HasSubstr("absent/rounds.jsonl"));
}

}  // namespace
}  // namespace muster
