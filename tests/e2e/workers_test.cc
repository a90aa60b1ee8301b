// Simulations in many real processes: the bits of one process, whatever happens to the others.
#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <algorithm>
#include <memory>

#include "absl/strings/str_cat.h"
#include "tests/e2e/fixture.h"

namespace muster {
namespace {

using ::testing::HasSubstr;

class WorkersTest : public Federation {
 protected:
  // A port that is free at the moment.
  static int FreePort() {
    const int listener = socket(AF_INET, SOCK_STREAM, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    bind(listener, reinterpret_cast<sockaddr*>(&address), size);
    getsockname(listener, reinterpret_cast<sockaddr*>(&address), &size);
    close(listener);
    return ntohs(address.sin_port);
  }
  // What a launcher starts as one of `size` processes.
  std::vector<std::string> Ranked(int rank, int size, int port, std::vector<std::string> arguments) const {
    std::vector<std::string> command = {"env",
                                        absl::StrCat("RANK=", rank),
                                        absl::StrCat("WORLD_SIZE=", size),
                                        "MASTER_ADDR=127.0.0.1",
                                        absl::StrCat("MASTER_PORT=", port),
                                        Muster()};
    command.insert(command.end(), arguments.begin(), arguments.end());
    return command;
  }
  // Every process keeps its standard error in a folder of its own.
  std::unique_ptr<Process> Start(const std::string& name, std::vector<std::string> command) const {
    std::filesystem::create_directories(Path(name + "-stderr"));
    return std::make_unique<Process>(std::move(command), Path(name + "-stderr"));
  }
};

struct Setting {
  const char* name;
  std::vector<std::string> set;
};

class SettingsTest : public WorkersTest, public ::testing::WithParamInterface<Setting> {};

TEST_P(SettingsTest, WorkersGiveTheBitsOfOneProcess) {
  std::vector<std::string> set = {"--set", "federation.rounds=6"};
  for (const std::string& setting : GetParam().set) {
    set.push_back("--set");
    set.push_back(setting);
  }
  ASSERT_EQ(Simulate("here", set).code, 0);
  set.insert(set.end(), {"--launch", "3"});
  const Result run = Simulate("workers", set);
  ASSERT_EQ(run.code, 0) << run.error;
  EXPECT_EQ(ModelHash("workers"), ModelHash("here"));
  for (const char* what : {"upload_bytes", "download_bytes", "client_trainings", "participants"}) {
    EXPECT_EQ(Summary("workers")[what], Summary("here")[what]) << what;
  }
}

INSTANTIATE_TEST_SUITE_P(
    Every, SettingsTest,
    ::testing::Values(
        Setting{"Isp", {}},
        Setting{"ErrorFeedback",
                {"federation.participation={name: fixed, clients: 8}", "training.error_feedback=ef14",
                 "training.compressor={name: top_k, ratio: 0.1}", "federation.downlink=float16"}},
        Setting{"Scaffold",
                {"federation.participation={name: fixed, clients: 8}", "training.method=scaffold"}},
        Setting{"Median", {"federation.aggregator=median"}},
        Setting{"UniformWeights", {"federation.aggregator={name: fedavg, weights: uniform}"}},
        Setting{"NormBounding", {"federation.aggregator={name: norm_bounding, bound: 0.1}"}},
        Setting{"KeptOptimizer", {"training.optimizer_state=keep", "training.optimizer={name: adam}"}},
        Setting{"LiarsAndLosses",
                {"federation.participation={name: fixed, clients: 12}", "federation.over_select=0.4",
                 "simulation.lose_updates=0.2",
                 "simulation.adversaries=[{name: a_little_is_enough, fraction: 0.3}, {name: drop_out, "
                 "fraction: 0.1}]"}},
        Setting{"RefusedUpdates", {"simulation.adversaries=[{name: scale, factor: 1e30, fraction: 0.3}]"}}),
    [](const auto& info) { return info.param.name; });

TEST_F(WorkersTest, AnyNumberOfWorkersGivesTheSameBits) {
  ASSERT_EQ(Simulate("here").code, 0);
  for (const char* count : {"1", "2", "4"}) {
    const Result run = Simulate(absl::StrCat("launched", count), {"--launch", count});
    ASSERT_EQ(run.code, 0) << run.error;
    EXPECT_EQ(ModelHash(absl::StrCat("launched", count)), ModelHash("here"));
  }
}

TEST_F(WorkersTest, AWorkerKilledInARoundChangesNoBit) {
  ASSERT_EQ(Simulate("here").code, 0);
  Process process(
      {Muster(), "simulate", Path("config.yaml"), "--json", "--launch", "4", "--out", Path("killed")},
      folder_);
  for (int round = 0; round < 3; ++round) ASSERT_THAT(process.ReadLine(), HasSubstr("\"round\""));
  const std::vector<pid_t> workers = process.Children();
  ASSERT_EQ(workers.size(), 4U);
  kill(workers[1], SIGKILL);
  ASSERT_THAT(process.ReadLine(), HasSubstr("\"round\""));
  kill(workers[3], SIGKILL);
  ASSERT_EQ(process.Wait(), 0) << process.error();
  EXPECT_EQ(ModelHash("killed"), ModelHash("here"));
  EXPECT_THAT(process.error(), HasSubstr("worker 2 (on "));
}

TEST_F(WorkersTest, AWorkerThatFallsSilentLosesItsClientsToTheOthers) {
  ASSERT_EQ(Simulate("here").code, 0);
  Process process({Muster(), "simulate", Path("config.yaml"), "--json", "--launch", "2", "--patience", "6",
                   "--out", Path("stopped")},
                  folder_);
  ASSERT_THAT(process.ReadLine(), HasSubstr("\"round\""));
  const std::vector<pid_t> workers = process.Children();
  ASSERT_EQ(workers.size(), 2U);
  kill(workers[0], SIGSTOP);
  ASSERT_EQ(process.Wait(), 0) << process.error();
  EXPECT_EQ(ModelHash("stopped"), ModelHash("here"));
}

TEST_F(WorkersTest, ARunWhoseWorkersAreAllGoneCanBeResumed) {
  ASSERT_EQ(Simulate("here").code, 0);
  {
    Process process(
        {Muster(), "simulate", Path("config.yaml"), "--json", "--launch", "2", "--out", Path("run")},
        folder_);
    for (int round = 0; round < 2; ++round) ASSERT_THAT(process.ReadLine(), HasSubstr("\"round\""));
    for (const pid_t worker : process.Children()) kill(worker, SIGKILL);
    const int code = process.Wait();
    ASSERT_EQ(code, 3) << process.error();
    EXPECT_THAT(process.error(), HasSubstr("all workers are gone"));
  }
  const Result resumed = Run({"resume", Path("run"), "--quiet", "--launch", "3"});
  ASSERT_EQ(resumed.code, 0) << resumed.error;
  EXPECT_EQ(ModelHash("run"), ModelHash("here"));
}

TEST_F(WorkersTest, WorkersDieWithTheirCoordinatorAndTheRunGoesOnLater) {
  const std::vector<std::string> set = {"--set", "training.error_feedback=ef14", "--set",
                                        "training.compressor={name: top_k, ratio: 0.1}"};
  ASSERT_EQ(Simulate("here", set).code, 0);
  std::vector<std::string> command = {Muster(), "simulate", Path("config.yaml"), "--json", "--launch",
                                      "2",      "--out",    Path("run")};
  command.insert(command.end(), set.begin(), set.end());
  std::vector<pid_t> workers;
  {
    Process process(std::move(command), folder_);
    for (int round = 0; round < 4; ++round) ASSERT_THAT(process.ReadLine(), HasSubstr("\"round\""));
    workers = process.Children();
    process.Signal(SIGKILL);
    process.Wait();
  }
  ASSERT_EQ(workers.size(), 2U);
  for (const pid_t worker : workers) {  // their death is the kernel's to bring; a zombie is dead
    const std::string status = absl::StrCat("/proc/", worker, "/status");
    while (std::filesystem::exists(status) && ReadAll(status).find("State:\tZ") == std::string::npos)
      sched_yield();
  }
  const Result resumed = Run({"resume", Path("run"), "--quiet", "--launch", "2"});
  ASSERT_EQ(resumed.code, 0) << resumed.error;
  EXPECT_EQ(ModelHash("run"), ModelHash("here"));
}

TEST_F(WorkersTest, ATerminationEndsWithACommittedRound) {
  Process process(
      {Muster(), "simulate", Path("config.yaml"), "--json", "--launch", "2", "--out", Path("run")}, folder_);
  ASSERT_THAT(process.ReadLine(), HasSubstr("\"round\""));
  process.Signal(SIGTERM);
  ASSERT_EQ(process.Wait(), 0) << process.error();
  ASSERT_EQ(Run({"resume", Path("run"), "--quiet"}).code, 0);
  ASSERT_EQ(Simulate("here").code, 0);
  EXPECT_EQ(ModelHash("run"), ModelHash("here"));
}

TEST_F(WorkersTest, OneCommandLineForAllRanksAsLaunchersStartIt) {
  ASSERT_EQ(Simulate("here").code, 0);
  const int port = FreePort();
  std::vector<std::unique_ptr<Process>> ranks;
  for (const int rank : {2, 0, 1}) {
    ranks.push_back(Start(absl::StrCat("rank", rank), Ranked(rank, 3, port,
                                                             {"simulate", Path("config.yaml"), "--quiet",
                                                              "--workers", "1", "--out", Path("ranks")})));
  }
  for (const auto& rank : ranks) EXPECT_EQ(rank->Wait(), 0) << rank->error();
  EXPECT_EQ(ModelHash("ranks"), ModelHash("here"));
}

TEST_F(WorkersTest, AWorkerWithAnotherConfigurationIsRefused) {
  const int port = FreePort();
  const auto zero =
      Start("zero", Ranked(0, 2, port, {"simulate", Path("config.yaml"), "--out", Path("run")}));
  const auto one =
      Start("one", Ranked(1, 2, port, {"worker", Path("config.yaml"), "--set", "training.epochs=3"}));
  for (const auto* process : {&zero, &one}) {
    EXPECT_EQ((*process)->Wait(), 2);
    EXPECT_THAT((*process)->error(), HasSubstr("worker 1 (on "));
    EXPECT_THAT((*process)->error(), HasSubstr("has another configuration than rank 0"));
    EXPECT_EQ((*process)->rest(), "");
  }
  EXPECT_FALSE(std::filesystem::exists(Path("run")));
}

TEST_F(WorkersTest, ProcessesThatCountDifferentlyAreRefused) {
  const int port = FreePort();
  const auto zero =
      Start("zero", Ranked(0, 2, port, {"simulate", Path("config.yaml"), "--out", Path("run")}));
  const auto one = Start("one", Ranked(1, 3, port, {"worker", Path("config.yaml")}));
  for (const auto* process : {&zero, &one}) {
    EXPECT_EQ((*process)->Wait(), 2);
    EXPECT_THAT((*process)->error(), HasSubstr("give all the same WORLD_SIZE"));
  }
}

TEST_F(WorkersTest, WhoIsAloneGivesUpInOneLine) {
  const int port = FreePort();
  const auto zero = Start(
      "zero", Ranked(0, 3, port, {"simulate", Path("config.yaml"), "--patience", "2", "--out", Path("run")}));
  EXPECT_EQ(zero->Wait(), 3);
  EXPECT_THAT(zero->error(), HasSubstr("rank 1, 2 did not come within 2 s"));
  const auto one = Start("one", Ranked(1, 2, port, {"worker", Path("config.yaml"), "--patience", "2"}));
  EXPECT_EQ(one->Wait(), 3);
  EXPECT_THAT(one->error(), HasSubstr(absl::StrCat("no rank 0 at 127.0.0.1:", port)));
  for (const auto* process : {&zero, &one}) {
    const std::string error = (*process)->error();
    EXPECT_EQ(std::count(error.begin(), error.end(), '\n'), 1) << error;
  }
}

TEST_F(WorkersTest, WithoutAGpuNcclIsRefusedAtOnceInOneLine) {
  if (std::filesystem::exists("/dev/nvidia0")) GTEST_SKIP() << "this machine has a GPU";
  if (RunMuster({"list"}, folder_).output.find("nccl") == std::string::npos) {
    GTEST_SKIP() << "built without NCCL's headers";
  }
  const int port = FreePort();
  const auto launched = Start("launched", {Muster(), "simulate", Path("config.yaml"), "--launch", "2",
                                           "--collective", "nccl", "--out", Path("run")});
  const auto zero =
      Start("zero", Ranked(0, 2, port, {"simulate", Path("config.yaml"), "--out", Path("run")}));
  const auto one = Start("one", Ranked(1, 2, port, {"worker", Path("config.yaml"), "--collective", "nccl"}));
  for (const auto* process : {&launched, &zero, &one}) {
    EXPECT_EQ((*process)->Wait(), 2);
    const std::string error = (*process)->error();
    EXPECT_THAT(error, HasSubstr("--collective"));
    EXPECT_EQ(std::count(error.begin(), error.end(), '\n'), 1) << error;
  }
  EXPECT_THAT(zero->error(), HasSubstr("worker 1 (on "));
  EXPECT_FALSE(std::filesystem::exists(Path("run")));
}

TEST_F(WorkersTest, WrongPlacesAndTakenPortsAreNamed) {
  const auto refused = [this](std::vector<std::string> command) {
    Process process(std::move(command), folder_);
    EXPECT_EQ(process.Wait(), 2) << process.error();
    const std::string error = process.error();
    EXPECT_EQ(std::count(error.begin(), error.end(), '\n'), 1) << error;
    return error;
  };
  const std::string config = Path("config.yaml");
  EXPECT_THAT(refused({Muster(), "worker", config}), HasSubstr("MASTER_ADDR"));
  EXPECT_THAT(refused(Ranked(0, 2, 1234, {"worker", config})), HasSubstr("muster simulate"));
  EXPECT_THAT(refused(Ranked(3, 3, 1234, {"worker", config})), HasSubstr("RANK: '3'"));
  EXPECT_THAT(refused({"env", "LOCAL_RANK=4", "RANK=1", "WORLD_SIZE=2", Muster(), "worker", config}),
              HasSubstr("LOCAL_RANK: '4'"));
  EXPECT_THAT(refused({"env", "RANK=0", "WORLD_SIZE=two", Muster(), "simulate", config}),
              HasSubstr("WORLD_SIZE"));
  EXPECT_THAT(refused({"env", "RANK=1", "WORLD_SIZE=2", Muster(), "simulate", config}),
              HasSubstr("MASTER_ADDR"));
  EXPECT_THAT(refused(Ranked(0, 2, 1234, {"simulate", config, "--launch", "2"})), HasSubstr("--launch"));
  EXPECT_THAT(refused(Ranked(1, 2, 1234, {"worker", config, "--device", "cuda:127"})),
              HasSubstr("--device cuda:127: "));

  const int listener = socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_ANY);
  socklen_t size = sizeof address;
  ASSERT_EQ(bind(listener, reinterpret_cast<sockaddr*>(&address), size), 0);
  ASSERT_EQ(listen(listener, 1), 0);
  getsockname(listener, reinterpret_cast<sockaddr*>(&address), &size);
  EXPECT_THAT(refused(Ranked(0, 2, ntohs(address.sin_port), {"simulate", config, "--out", Path("run")})),
              HasSubstr("choose another port"));
  close(listener);
}

}  // namespace
}  // namespace muster
