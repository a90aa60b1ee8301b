// A coordinator and its clients as real processes, over links that break, killed at every stage: the model is
// the one that the undisturbed simulation ends with, bit for bit, and no update counts twice.
#include "tests/e2e/edge_fixture.h"
#include "tests/e2e/proxy.h"

namespace muster {
namespace {

using nlohmann::json;

using EdgeFederationTest = EdgeFederation;

TEST_F(EdgeFederationTest, OverMutualTlsItEndsInTheSimulationsBits) {
  ASSERT_EQ(Run({"certs", Path("certs"), "--clients", "3"}).code, 0);
  StartCoordinator({"--certs", Path("certs")});
  for (int k = 0; k < kClients; ++k) StartClient(k, port_, {"--certs", Path("certs")});
  ExpectEverythingEndsAs(SimulatedHash());
}

TEST_F(EdgeFederationTest, AClientMayBeKilledBeforeDuringAndAfterItsUpload) {
  StartCoordinator();
  FaultyProxy proxy(port_);
  proxy.HoldUploads(100'000);  // an update is longer, nothing else is
  StartClient(0, proxy.port());
  StartClient(1, port_);
  StartClient(2, port_);
  // During its upload, after training.
  ASSERT_TRUE(proxy.WaitUntilHeld());
  clients_[0]->Signal(SIGKILL);
  EXPECT_EQ(clients_[0]->Wait(), -SIGKILL);
  EXPECT_TRUE(HasUpdate(0));
  // Before its upload: on its way to the second round, wherever it is.
  proxy.Release();
  StartClient(0, proxy.port());
  NextRound();
  clients_[0]->Signal(SIGKILL);
  EXPECT_EQ(clients_[0]->Wait(), -SIGKILL);
  // After its upload: the round is over, the client may not know yet.
  StartClient(0, port_);
  NextRound();
  clients_[0]->Signal(SIGKILL);
  EXPECT_EQ(clients_[0]->Wait(), -SIGKILL);
  StartClient(0, port_);
  ExpectEverythingEndsAs(SimulatedHash());
}

TEST_F(EdgeFederationTest, TheCoordinatorMayBeKilledInEveryRound) {
  StartCoordinator();
  for (int k = 0; k < kClients; ++k) StartClient(k, port_);
  // While clients train the first round, with one update finished at least; then right after commits.
  WaitFor([this] { return HasUpdate(0) || HasUpdate(1) || HasUpdate(2); }, "no client finishes");
  for (int life = 0; life < 3; ++life) {
    coordinator_->Signal(SIGKILL);
    EXPECT_EQ(coordinator_->Wait(), -SIGKILL);
    StartCoordinator();
    if (life < 2) NextRound();
  }
  ExpectEverythingEndsAs(SimulatedHash());
}

// Control variates live at both ends, and come back with both.
TEST_F(EdgeFederationTest, ScaffoldSurvivesKillsOfClientsAndCoordinator) {
  Configure("  batch_size", "  method: scaffold\n  batch_size");
  StartCoordinator();
  for (int k = 0; k < kClients; ++k) StartClient(k, port_);
  NextRound();
  clients_[1]->Signal(SIGKILL);
  EXPECT_EQ(clients_[1]->Wait(), -SIGKILL);
  coordinator_->Signal(SIGKILL);
  EXPECT_EQ(coordinator_->Wait(), -SIGKILL);
  StartCoordinator();
  StartClient(1, port_);
  ExpectEverythingEndsAs(SimulatedHash());
  EXPECT_EQ(Summary("run")["upload_bytes"], Summary("simulated")["upload_bytes"]);
}

TEST_F(EdgeFederationTest, UploadsGoOnWhereTheLinkBroke) {
  StartCoordinator();
  FaultyProxy proxy(port_);
  proxy.CutUploads(6, 300'000);
  for (int k = 0; k < kClients; ++k) StartClient(k, proxy.port());
  ExpectEverythingEndsAs(SimulatedHash());
  EXPECT_LE(proxy.cuts_left(), 0);
}

TEST_F(EdgeFederationTest, TheBytesItCountsAreThoseOnTheWire) {
  StartCoordinator();
  FaultyProxy proxy(port_);
  for (int k = 0; k < kClients; ++k) StartClient(k, proxy.port());
  ExpectEverythingEndsAs(SimulatedHash());
  const json totals = Summary("run");
  // Beside payloads there are frames (of some 16 kB, with 9 bytes of header), heartbeats and words.
  const auto expect_on_top = [](int64_t carried, int64_t counted) {
    EXPECT_GE(carried, counted);
    EXPECT_LE(static_cast<double>(carried), 1.005 * static_cast<double>(counted) + 100'000);
  };
  expect_on_top(proxy.up(), totals["upload_bytes"]);
  expect_on_top(proxy.down(), totals["download_bytes"]);
}

TEST_F(EdgeFederationTest, AClientLeavesOnSigtermAndComesBack) {
  StartCoordinator();
  for (int k = 0; k < kClients; ++k) StartClient(k, port_);
  NextRound();
  clients_[2]->Signal(SIGTERM);
  EXPECT_EQ(clients_[2]->Wait(), 0);
  StartClient(2, port_);
  EXPECT_EQ(coordinator_->Wait(), 0) << ErrorOf("coordinator");
  for (auto& client : clients_) EXPECT_EQ(client->Wait(), 0);
}

TEST_F(EdgeFederationTest, AClientInPythonIsAggregatedBesideOneInCpp) {
  const std::string example = absl::StrCat(getenv("MUSTER_EXAMPLES"), "/python-client");
  if (system("/usr/bin/python3 -c 'import grpc, google.protobuf, numpy' 2>/dev/null") != 0) {
    GTEST_SKIP() << "needs Debian's python3-grpcio, python3-protobuf and python3-numpy";
  }
  ASSERT_EQ(system(absl::StrCat("OUT=", folder_, " ", example, "/generate").c_str()), 0);
  StartCoordinator({"--insecure", "--set", "model=softmax", "--set", "data.clients=2", "--set",
                    "federation.participation.clients=2", "--set", "training.compressor=identity", "--set",
                    "training.error_feedback=none"});
  setenv("PYTHONPATH", folder_.c_str(), 1);
  Process python({"/usr/bin/python3", absl::StrCat(example, "/client.py"), "--insecure", "--coordinator",
                  absl::StrCat("127.0.0.1:", port_), "--client", "1", "--name", "python", "--images",
                  Path("train-images"), "--labels", Path("train-labels"), "--samples", "600:1200"},
                 folder_);
  StartClient(0, port_,
              {"--insecure", "--set", "model=softmax", "--set", "data.clients=2", "--set",
               "training.compressor=identity", "--set", "training.error_feedback=none"});
  EXPECT_EQ(coordinator_->Wait(), 0) << ErrorOf("coordinator");
  EXPECT_EQ(python.Wait(), 0) << python.error();
  EXPECT_EQ(clients_[0]->Wait(), 0) << ErrorOf("client-0");
  EXPECT_EQ(Summary("run")["client_trainings"], 2 * kRounds);
  EXPECT_GT(Summary("run")["final"]["accuracy"], 0.9);
}

TEST_F(EdgeFederationTest, TlsMistakesThatCannotHealEndAClientWithCodeTwoAndOneLine) {
  ASSERT_EQ(Run({"certs", Path("certs"), "--clients", "1"}).code, 0);
  ASSERT_EQ(Run({"certs", Path("others"), "--clients", "1"}).code, 0);
  const auto start = [&](const std::string& run, const std::vector<std::string>& security) {
    std::vector<std::string> arguments = {"coordinator", Path("edge.yaml"), "--listen",
                                          "0.0.0.0:0",   "--out",           Path(run)};
    arguments.insert(arguments.end(), security.begin(), security.end());
    auto process = Start(run, arguments);
    WaitFor([&] { return std::filesystem::exists(Path(run + "/address")); },
            "the coordinator does not listen");
    const std::string address = ReadAll(Path(run + "/address"));
    return std::pair(std::move(process),
                     absl::StrCat(":", std::stoi(address.substr(address.rfind(':') + 1))));
  };
  const auto [tls, tls_port] = start("tls", {"--certs", Path("certs")});
  const auto [plain, plain_port] = start("plain", {"--insecure"});
  const auto expect_mistake = [&](const std::string& address, std::vector<std::string> security,
                                  const std::string& words) {
    std::vector<std::string> arguments = {"client", Path("edge.yaml"), "--coordinator", address, "--client",
                                          "0",      "--state",         Path("s")};
    arguments.insert(arguments.end(), security.begin(), security.end());
    const Result result = Run(arguments);
    EXPECT_EQ(result.code, 2) << result.error;
    EXPECT_NE(result.error.find(words), std::string::npos) << result.error;
    const int warning = security[0] == "--insecure" ? 1 : 0;
    EXPECT_EQ(std::count(result.error.begin(), result.error.end(), '\n'), 1 + warning) << result.error;
  };
  expect_mistake("localhost" + tls_port, {"--certs", Path("others")}, "wrong CA");
  expect_mistake("127.0.0.2" + tls_port, {"--certs", Path("certs")}, "wrong name");
  expect_mistake("localhost" + tls_port, {"--insecure"}, "speaks TLS there, not plain text");
  expect_mistake("localhost" + plain_port, {"--certs", Path("certs")}, "speaks plain text there, not TLS");
  // A probe explains it in one line, too.
  const Result probe = Run({"health", "--coordinator", "localhost" + tls_port, "--certs", Path("others")});
  EXPECT_NE(probe.code, 0);
  EXPECT_EQ(std::count(probe.error.begin(), probe.error.end(), '\n'), 1) << probe.error;
}

TEST_F(EdgeFederationTest, MistakesAreOneLineAndCodeTwo) {
  StartCoordinator();
  const std::string address = absl::StrCat("localhost:", port_);
  const auto client = [&](std::vector<std::string> more) {
    std::vector<std::string> arguments = {"client",  Path("edge.yaml"), "--coordinator", address,
                                          "--state", Path("s"),         "--insecure"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return Run(arguments);
  };
  for (const std::vector<std::string>& mistake : {std::vector<std::string>{"--client", "7"},
                                                  {"--client", "0", "--set", "model.hidden=[5]"},
                                                  {"--client", "0", "--set", "training.batch_size=0"},
                                                  {"--client", "0", "--certs", "nowhere"}}) {
    const Result result = client(mistake);
    EXPECT_EQ(result.code, 2) << result.error;
    EXPECT_LE(std::count(result.error.begin(), result.error.end(), '\n'), 3) << result.error;
  }
}

}  // namespace
}  // namespace muster
