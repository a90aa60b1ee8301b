// Whole runs of the muster command: it learns, its bits depend on nothing but the configuration, it survives
// being killed.
#include <gmock/gmock.h>

#include <algorithm>
#include <map>
#include <sstream>

#include "tests/e2e/fixture.h"

namespace muster {
namespace {

using ::testing::HasSubstr;

using SimulateTest = Federation;

TEST_F(SimulateTest, LearnsAndLeavesACompleteRunDirectory) {
  const Result run = Simulate("run");
  ASSERT_EQ(run.code, 0) << run.error;
  for (const char* file : {"config.yaml", "rounds.jsonl", "summary.json", "data.json", "model.safetensors",
                           "report.html", "journal"}) {
    EXPECT_TRUE(std::filesystem::exists(Path("run") + "/" + file)) << file;
  }
  const nlohmann::json summary = Summary("run");
  EXPECT_EQ(summary["rounds"], 12);
  EXPECT_GT(summary["final"]["accuracy"].get<double>(), 0.75) << summary.dump(2);
  EXPECT_EQ(summary["participants"].size(), 12U);
  const std::string rounds = ReadAll(Path("run/rounds.jsonl"));
  EXPECT_EQ(std::count(rounds.begin(), rounds.end(), '\n'), 12);
}

TEST_F(SimulateTest, SameBitsForAnyNumberOfWorkers) {
  for (const char* workers : {"1", "2", "4"}) {
    const Result run = Simulate(std::string("w") + workers, {"--workers", workers});
    ASSERT_EQ(run.code, 0) << run.error;
  }
  EXPECT_EQ(ModelHash("w1"), ModelHash("w2"));
  EXPECT_EQ(ModelHash("w1"), ModelHash("w4"));
  ASSERT_EQ(Simulate("other", {"--set", "seed=4"}).code, 0);
  EXPECT_NE(ModelHash("w1"), ModelHash("other"));
}

TEST_F(SimulateTest, WithoutTrainingRoundsRunAndTheModelStaysAsItWas) {
  const std::vector<std::string> none = {"--set", "training.optimizer=none", "--set", "record.pins=true"};
  for (const auto& [out, ways] : std::map<std::string, std::vector<std::string>>{
           {"threads", {"--workers", "2"}}, {"processes", {"--launch", "2"}}}) {
    std::vector<std::string> arguments = none;
    arguments.insert(arguments.end(), ways.begin(), ways.end());
    const Result run = Simulate(out, arguments);
    ASSERT_EQ(run.code, 0) << run.error;
    EXPECT_EQ(Summary(out)["rounds"], 12);
    EXPECT_GT(Summary(out)["upload_bytes"], 0);
    std::istringstream rounds(ReadAll(Path(out) + "/rounds.jsonl"));
    for (std::string line; std::getline(rounds, line);) {
      const nlohmann::json record = nlohmann::json::parse(line);
      EXPECT_FALSE(record.contains("train_loss")) << line;
      EXPECT_EQ(record["update_norm"], 0.0);
    }
  }
  EXPECT_EQ(ModelHash("threads"), ModelHash("processes"));
  // A run that begins where that one began and learns nothing, either, ends there.
  const Result pinned =
      Simulate("pinned", {"--set", "training.optimizer=none", "--set", "seed=99", "--set",
                          "pin.initial_model=" + Path("threads/initial_model.safetensors")});
  ASSERT_EQ(pinned.code, 0) << pinned.error;
  EXPECT_EQ(ModelHash("pinned"), ModelHash("threads"));
}

TEST_F(SimulateTest, TheEffectiveConfigurationGivesTheSameBits) {
  ASSERT_EQ(Simulate("first", {"--set", "training.epochs=2"}).code, 0);
  const Result again = Run({"simulate", Path("first/config.yaml"), "--quiet", "--out", Path("again")});
  ASSERT_EQ(again.code, 0) << again.error;
  EXPECT_EQ(ModelHash("first"), ModelHash("again"));
  EXPECT_EQ(ReadAll(Path("first/config.yaml")), ReadAll(Path("again/config.yaml")));
}

TEST_F(SimulateTest, KilledAtAnyRoundAndResumedGivesTheSameBits) {
  ASSERT_EQ(Simulate("whole").code, 0);
  for (const int rounds : {0, 1, 3, 7, 11}) {
    const std::string out = "killed" + std::to_string(rounds);
    {
      Process process({Muster(), "simulate", Path("config.yaml"), "--json", "--out", Path(out)}, folder_);
      // A line of output is a committed round; then the kill comes at some instant of the next one. For 0 it
      // comes as soon as there is something to resume.
      if (rounds == 0) {
        while (!std::filesystem::exists(Path(out) + "/config.yaml")) sched_yield();
      }
      for (int i = 0; i < rounds; ++i) ASSERT_THAT(process.ReadLine(), HasSubstr("\"round\""));
      process.Signal(SIGKILL);
      process.Wait();
    }
    const Result resumed = Run({"resume", Path(out), "--quiet", "--workers", "3"});
    ASSERT_EQ(resumed.code, 0) << rounds << ": " << resumed.error;
    EXPECT_EQ(ModelHash(out), ModelHash("whole")) << rounds;
    const std::string log = ReadAll(Path(out) + "/rounds.jsonl");
    EXPECT_EQ(std::count(log.begin(), log.end(), '\n'), 12);
    EXPECT_EQ(Summary(out)["participants"], Summary("whole")["participants"]);
  }
}

TEST_F(SimulateTest, AnInterruptEndsAfterACommittedRoundAndResumeGoesOn) {
  ASSERT_EQ(Simulate("whole").code, 0);
  Process process({Muster(), "simulate", Path("config.yaml"), "--json", "--out", Path("stopped")}, folder_);
  ASSERT_THAT(process.ReadLine(), HasSubstr("\"round\""));
  process.Signal(SIGINT);
  ASSERT_EQ(process.Wait(), 0) << process.error();
  const nlohmann::json summary = Summary("stopped");
  if (summary["rounds"] < 12) {
    EXPECT_EQ(summary["finish_reason"], "stopped");
  }
  ASSERT_EQ(Run({"resume", Path("stopped"), "--quiet"}).code, 0);
  EXPECT_EQ(ModelHash("stopped"), ModelHash("whole"));
  // A finished run resumes to itself.
  const Result again = Run({"resume", Path("stopped"), "--quiet"});
  ASSERT_EQ(again.code, 0) << again.error;
  EXPECT_EQ(ModelHash("stopped"), ModelHash("whole"));
  EXPECT_EQ(Summary("stopped")["finish_reason"], "rounds");
}

TEST_F(SimulateTest, RecordedPinsReproduceTheRun) {
  ASSERT_EQ(Simulate("first", {"--set", "record.pins=true", "--set", "record.weights_every=6"}).code, 0);
  EXPECT_TRUE(std::filesystem::exists(Path("first/weights/round-000005.safetensors")));
  EXPECT_EQ(ReadAll(Path("first/weights/round-000011.safetensors")).substr(8),
            ReadAll(Path("first/model.safetensors")).substr(8));
  const Result pinned = Simulate("pinned", {"--set", "pin.partition=" + Path("first/partition.json"), "--set",
                                            "pin.cohorts=" + Path("first/cohorts.json"), "--set",
                                            "pin.initial_model=" + Path("first/initial_model.safetensors")});
  ASSERT_EQ(pinned.code, 0) << pinned.error;
  EXPECT_EQ(ModelHash("pinned"), ModelHash("first"));
}

TEST_F(SimulateTest, StopsAtATargetAndAtAByteBudget) {
  ASSERT_EQ(Simulate("target", {"--set", "stop.accuracy=0.5"}).code, 0);
  EXPECT_EQ(Summary("target")["finish_reason"], "accuracy");
  EXPECT_LT(Summary("target")["rounds"], 12);
  ASSERT_EQ(Simulate("budget", {"--set", "stop.upload_bytes=100000"}).code, 0);
  EXPECT_EQ(Summary("budget")["finish_reason"], "upload_bytes");
  EXPECT_GE(Summary("budget")["upload_bytes"], 100000);
}

TEST_F(SimulateTest, AFederationWhoseClientsAllFailEndsWithCodeThree) {
  const Result run = Simulate("diverged", {"--set", "training.optimizer={name: sgd, learning_rate: 1e30}"});
  EXPECT_EQ(run.code, 3) << run.error;
  EXPECT_EQ(std::count(run.error.begin(), run.error.end(), '\n'), 1) << run.error;
}

TEST_F(SimulateTest, OtherCommandsWork) {
  ASSERT_EQ(Simulate("a").code, 0);
  ASSERT_EQ(Simulate("b", {"--set", "name=other"}).code, 0);
  const Result report = Run({"report", Path("a"), Path("b"), "--out", Path("both.html")});
  EXPECT_EQ(report.code, 0) << report.error;
  EXPECT_THAT(report.output, HasSubstr("other"));
  EXPECT_THAT(ReadAll(Path("both.html")), HasSubstr("<html"));
  const Result list = Run({"list", "optimizers", "sgd"});
  EXPECT_EQ(list.code, 0);
  EXPECT_THAT(list.output, HasSubstr("momentum"));
  const Result validate = Run({"validate", Path("config.yaml")});
  EXPECT_EQ(validate.code, 0) << validate.error;
  const Result data =
      Run({"data", Path("config.yaml"), "--svg", Path("split.svg"), "--partition", Path("p.json")});
  EXPECT_EQ(data.code, 0) << data.error;
  EXPECT_THAT(ReadAll(Path("split.svg")), HasSubstr("<svg"));
  EXPECT_EQ(nlohmann::json::parse(ReadAll(Path("p.json")))["clients"].size(), 24U);
}

TEST_F(SimulateTest, RefusesToOverwriteARun) {
  ASSERT_EQ(Simulate("run").code, 0);
  const std::string before = ReadAll(Path("run/summary.json"));
  const Result second = Simulate("run");
  EXPECT_EQ(second.code, 2);
  EXPECT_THAT(second.error, HasSubstr("resume"));
  EXPECT_EQ(ReadAll(Path("run/summary.json")), before);
}

}  // namespace
}  // namespace muster
