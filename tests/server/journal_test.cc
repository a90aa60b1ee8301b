#include "server/journal/journal.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <fstream>

#include "core/file.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/journal/sqlite.h"
#include "tests/server/fakes.h"

namespace muster {
namespace {

namespace fs = std::filesystem;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

EngineState StateAfter(int64_t rounds) {
  const auto value = static_cast<float>(rounds);
  return {.rounds = rounds,
          .model = {value, 1, 2, 3, -0.0F, 5, 1e-40F, value / 3},
          .parts = {{"server_optimizer",
                     {.vectors = {{"momentum", std::vector<float>(8, value / 7)}, {"short", {value}}},
                      .numbers = {{"steps", 1.0 / (3 + rounds)}}}},
                    {"feedback", {.vectors = {{"memory", {value, -value}}}, .numbers = {}}}},
          .policy = absl::StrCat("policy ", rounds, std::string("\0\xff", 2)),
          .selector = ""};
}

std::string RecordOf(int64_t round) { return absl::StrCat("{\"round\":", round, "}"); }

absl::Status CommitRound(Journal& journal, int64_t round) {
  return journal.Commit(RecordOf(round), StateAfter(round + 1), test::SmallLayout());
}

void ExpectSameBits(const std::vector<float>& a, const std::vector<float>& b) {
  ASSERT_EQ(a.size(), b.size());
  EXPECT_EQ(std::memcmp(a.data(), b.data(), a.size() * sizeof(float)), 0);
}

void ExpectState(Journal& journal, int64_t rounds) {
  const auto loaded = journal.Load(test::SmallLayout());
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  ASSERT_TRUE(loaded->has_value());
  const EngineState& state = **loaded;
  const EngineState expected = StateAfter(rounds);
  EXPECT_EQ(state.rounds, rounds);
  ExpectSameBits(state.model, expected.model);
  EXPECT_EQ(state.parts, expected.parts);
  EXPECT_EQ(state.policy, expected.policy);
  EXPECT_EQ(state.selector, expected.selector);
}

std::vector<std::string> StateFiles(const std::string& dir) {
  std::vector<std::string> files;
  for (const auto& entry : fs::directory_iterator(dir + "/journal")) {
    const std::string name = entry.path().filename().string();
    if (name.ends_with(".state") || name.ends_with(".tmp")) files.push_back(entry.path().string());
  }
  std::sort(files.begin(), files.end());
  return files;
}

class JournalTest : public ::testing::TestWithParam<Durability> {
 protected:
  std::unique_ptr<Journal> Create() {
    auto journal = Journal::Create(folder_.path(), GetParam());
    EXPECT_TRUE(journal.ok()) << journal.status();
    return *std::move(journal);
  }
  std::unique_ptr<Journal> Open() {
    auto journal = Journal::Open(folder_.path(), GetParam());
    EXPECT_TRUE(journal.ok()) << journal.status();
    return *std::move(journal);
  }
  std::string OpenError() {
    const absl::Status status = Journal::Open(folder_.path(), GetParam()).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << status;
    EXPECT_EQ(Message(status).find('\n'), std::string::npos);
    return Message(status);
  }
  // Runs SQL behind the journal's back.
  void Tamper(const char* sql) {
    const auto database = Database::Open(folder_.path() + "/journal/journal.db", /*create=*/false);
    ASSERT_TRUE(database.ok()) << database.status();
    EXPECT_EQ((*database)->Run(sql), absl::OkStatus());
  }
  const test::TemporaryFolder folder_;
};
INSTANTIATE_TEST_SUITE_P(Durabilities, JournalTest,
                         ::testing::Values(Durability::kProcess, Durability::kPower), [](const auto& info) {
                           return info.param == Durability::kPower ? "Power" : "Process";
                         });

TEST_P(JournalTest, EmptyJournalHasNoState) {
  auto journal = Create();
  for (int i = 0; i < 2; ++i) {
    const auto state = journal->Load(test::SmallLayout());
    ASSERT_TRUE(state.ok()) << state.status();
    EXPECT_FALSE(state->has_value());
    EXPECT_THAT(*journal->Records(), IsEmpty());
    EXPECT_EQ(*journal->Get("finished"), std::nullopt);
    journal.reset();
    journal = Open();
  }
}

TEST_P(JournalTest, CommittedRoundsSurviveAnotherOpening) {
  auto journal = Create();
  for (int64_t round = 0; round < 4; ++round) {
    ASSERT_TRUE(CommitRound(*journal, round).ok());
    ExpectState(*journal, round + 1);
    if (round % 2 == 0) {
      journal.reset();
      journal = Open();
      ExpectState(*journal, round + 1);
    }
  }
  EXPECT_THAT(*journal->Records(), ElementsAre(RecordOf(0), RecordOf(1), RecordOf(2), RecordOf(3)));
  EXPECT_EQ(StateFiles(folder_.path()).size(), 2U);  // of the newest rounds only
}

TEST_P(JournalTest, RoundsThatLeaveTheStateAloneShareItsFile) {
  auto journal = Create();
  for (int64_t round = 0; round < 4; ++round) {
    EngineState state = StateAfter(1);
    state.rounds = round + 1;
    ASSERT_TRUE(journal->Commit(RecordOf(round), state, test::SmallLayout()).ok());
    EXPECT_EQ(StateFiles(folder_.path()).size(), 1U);
  }
  ASSERT_TRUE(CommitRound(*journal, 4).ok());
  ASSERT_TRUE(CommitRound(*journal, 5).ok());
  EXPECT_EQ(StateFiles(folder_.path()).size(), 2U);
  journal.reset();
  ExpectState(*Open(), 6);
}

TEST_P(JournalTest, RoundsAreCommittedInOrder) {
  auto journal = Create();
  EXPECT_EQ(CommitRound(*journal, 1).code(), absl::StatusCode::kInternal);
  ASSERT_TRUE(CommitRound(*journal, 0).ok());
  EXPECT_FALSE(CommitRound(*journal, 0).ok());
  EXPECT_FALSE(CommitRound(*journal, 2).ok());
  ExpectState(*journal, 1);
}

TEST_P(JournalTest, FactsArePutAndReplaced) {
  auto journal = Create();
  const std::string bytes("configuration: \xc3\xa4\0\n", 19);
  ASSERT_TRUE(journal->Put("config", bytes).ok());
  ASSERT_TRUE(journal->Put("finished", "stopped").ok());
  ASSERT_TRUE(journal->Put("finished", "rounds").ok());
  ASSERT_TRUE(journal->Put("empty", "").ok());
  journal.reset();
  journal = Open();
  EXPECT_EQ(*journal->Get("config"), bytes);
  EXPECT_EQ(*journal->Get("finished"), "rounds");
  EXPECT_EQ(*journal->Get("empty"), "");
  EXPECT_EQ(*journal->Get("other"), std::nullopt);
}

TEST_P(JournalTest, FolderWithoutJournalIsNotFound) {
  const auto journal = Journal::Open(folder_.path(), GetParam());
  EXPECT_EQ(journal.status(),
            absl::NotFoundError(folder_.path() + ": no journal here; is it a run directory?"));
}

TEST_P(JournalTest, CreateRefusesAFolderWithARun) {
  Create().reset();
  const auto again = Journal::Create(folder_.path(), GetParam());
  EXPECT_EQ(again.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(Message(again.status()), HasSubstr("muster resume " + folder_.path()));
}

TEST_P(JournalTest, CreateMakesFoldersOnTheWay) {
  EXPECT_TRUE(Journal::Create(folder_.path() + "/a/b", GetParam()).ok());
  std::ofstream(folder_.path() + "/file") << "x";
  EXPECT_EQ(Journal::Create(folder_.path() + "/file/run", GetParam()).status().code(),
            absl::StatusCode::kInvalidArgument);
}

TEST_P(JournalTest, OnlyOneMayHaveItOpen) {
  auto journal = Create();
  EXPECT_EQ(OpenError(),
            "run directory " + folder_.path() + " is in use by another process; wait for it or end it");
  ASSERT_TRUE(CommitRound(*journal, 0).ok());
  journal.reset();
  ExpectState(*Open(), 1);
}

TEST_P(JournalTest, FileOfACommitThatNeverHappenedIsTidiedAway) {
  auto journal = Create();
  ASSERT_TRUE(CommitRound(*journal, 0).ok());
  journal.reset();
  // Crashed between the state file and its transaction, and in the middle of writing one.
  const std::string orphan = folder_.path() + "/journal/" + std::string(64, 'a') + ".state";
  std::ofstream(orphan) << "whatever";
  std::ofstream(orphan + ".123.tmp") << "half";
  journal = Open();
  EXPECT_EQ(StateFiles(folder_.path()).size(), 1U);
  ExpectState(*journal, 1);
  ASSERT_TRUE(CommitRound(*journal, 1).ok());
  ExpectState(*journal, 2);
}

TEST_P(JournalTest, CutOffAlteredOrMissingStateIsDetected) {
  auto journal = Create();
  ASSERT_TRUE(CommitRound(*journal, 0).ok());
  const std::string file = StateFiles(folder_.path()).at(0);
  const std::string bytes = *ReadFile(file);
  std::string altered = bytes;
  altered.back() = static_cast<char>(altered.back() ^ 1);
  for (const std::string& bad : {bytes.substr(0, bytes.size() - 1), altered, std::string()}) {
    ASSERT_TRUE(WriteFileAtomic(file, bad).ok());
    const auto state = journal->Load(test::SmallLayout());
    EXPECT_EQ(state.status().code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(Message(state.status()), HasSubstr(file + ": damaged: its content does not match the hash"));
  }
  journal.reset();
  fs::remove(file);
  EXPECT_THAT(OpenError(), HasSubstr("the file with the state of round 0 is missing"));
}

TEST_P(JournalTest, StateOfAnotherModelIsRefused) {
  auto journal = Create();
  ASSERT_TRUE(CommitRound(*journal, 0).ok());
  Layout reshaped, smaller;
  reshaped.Add("weight", {3, 2}, true);
  reshaped.Add("bias", {2}, true);
  smaller.Add("weight", {2, 3}, true);
  for (const Layout& layout : {reshaped, smaller}) {
    const auto state = journal->Load(layout);
    EXPECT_EQ(state.status().code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(Message(state.status()), HasSubstr("its model is not the configured one"));
  }
  EXPECT_FALSE(journal->Commit(RecordOf(1), StateAfter(2), smaller).ok());
}

TEST_P(JournalTest, UnfinishedJournalIsRefused) {
  fs::create_directory(folder_.path() + "/journal");
  EXPECT_THAT(OpenError(), HasSubstr("journal.db is missing"));
  std::ofstream(folder_.path() + "/journal/journal.db");  // an empty database is a valid one
  EXPECT_THAT(OpenError(), HasSubstr("never finished being made"));
}

TEST_P(JournalTest, DamagedDatabaseIsRefused) {
  Create().reset();
  const std::string database = folder_.path() + "/journal/journal.db";
  std::ofstream(database) << std::string(5000, 'x');
  EXPECT_THAT(OpenError(), HasSubstr(database + ": damaged"));
}

TEST_P(JournalTest, JournalOfAnotherSchemaIsRefused) {
  Create().reset();
  Tamper("PRAGMA user_version = 7");
  EXPECT_THAT(OpenError(), HasSubstr("schema version 7, this program reads 2"));
}

TEST_P(JournalTest, MissingRowsAreDetected) {
  auto journal = Create();
  for (int64_t round = 0; round < 3; ++round) ASSERT_TRUE(CommitRound(*journal, round).ok());
  journal.reset();
  Tamper("DELETE FROM states WHERE round = 2");
  EXPECT_THAT(OpenError(), HasSubstr("the state of round 2 is missing"));
  Tamper("DELETE FROM rounds WHERE round = 1");
  EXPECT_THAT(OpenError(), HasSubstr("records of some rounds are missing"));
}

// A child commits round after round until SIGKILL hits it wherever it is; what it was told is committed is
// there.
TEST_P(JournalTest, KilledProcessLeavesAJournalThatGoesOn) {
  Create().reset();
  int64_t committed = 0;
  for (int kill = 0; kill < 5; ++kill) {
    SCOPED_TRACE(kill);
    int pipe[2];
    ASSERT_EQ(::pipe(pipe), 0);
    const pid_t child = ::fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
      ::close(pipe[0]);
      auto journal = Journal::Open(folder_.path(), GetParam());
      if (!journal.ok()) ::_exit(1);
      for (int64_t round = committed;; ++round) {
        if (!CommitRound(**journal, round).ok()) ::_exit(2);
        if (::write(pipe[1], "c", 1) != 1) ::_exit(3);
      }
    }
    ::close(pipe[1]);
    char byte = 0;
    int64_t told = 0;
    while (told < 3 + kill && ::read(pipe[0], &byte, 1) == 1) ++told;
    ::kill(child, SIGKILL);
    int status = 0;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    EXPECT_TRUE(WIFSIGNALED(status)) << "the child ended by itself with code " << WEXITSTATUS(status);
    while (::read(pipe[0], &byte, 1) == 1) ++told;
    ::close(pipe[0]);

    auto journal = Open();
    const auto records = journal->Records();
    ASSERT_TRUE(records.ok()) << records.status();
    const auto count = static_cast<int64_t>(records->size());
    EXPECT_GE(count, committed + told);
    EXPECT_LE(count, committed + told + 1);  // killed between the commit and the word of it
    for (int64_t round = 0; round < count; ++round) EXPECT_EQ((*records)[round], RecordOf(round));
    ExpectState(*journal, count);
    EXPECT_LE(StateFiles(folder_.path()).size(), 2U);
    committed = count;
  }
}

}  // namespace
}  // namespace muster
