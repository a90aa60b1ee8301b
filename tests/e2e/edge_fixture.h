// A coordinator and its clients as real processes, over plain text where a test does not say otherwise.
#ifndef MUSTER_TESTS_E2E_EDGE_FIXTURE_H_
#define MUSTER_TESTS_E2E_EDGE_FIXTURE_H_

#include <poll.h>

#include <functional>
#include <memory>
#include <sstream>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "tests/e2e/fixture.h"

namespace muster {

class EdgeFederation : public Federation {
 protected:
  static constexpr int kClients = 3;
  static constexpr int kRounds = 4;

  void SetUp() override {
    Federation::SetUp();
    // Some 0.9 MB an update: several chunks.
    WriteAll(Path("edge.yaml"), R"(name: edge
seed: 5
data:
  dataset: {name: idx, train_inputs: train-images, train_labels: train-labels,
            test_inputs: test-images, test_labels: test-labels}
  train_limit: 300
  clients: 3
  partition: {name: dirichlet, alpha: 1.0}
model: {name: mlp, hidden: [3200]}
training:
  batch_size: 50
  optimizer: {name: sgd, learning_rate: 0.02, momentum: 0.5}
  compressor: {name: top_k, ratio: 0.4}
  error_feedback: ef14
federation:
  rounds: 4
  participation: {name: fixed, clients: 3}
service: {heartbeat_seconds: 0.5, grace_seconds: 300}
)");
  }

  // One more setting of edge.yaml, for every process.
  void Configure(const std::string& from, const std::string& to) const {
    std::string config = ReadAll(Path("edge.yaml"));
    const size_t at = config.find(from);
    ASSERT_NE(at, std::string::npos) << from;
    WriteAll(Path("edge.yaml"), config.replace(at, from.size(), to));
  }
  // What the federation is to end with.
  std::string SimulatedHash() const {
    const Result run = Run({"simulate", Path("edge.yaml"), "--quiet", "--out", Path("simulated")});
    EXPECT_EQ(run.code, 0) << run.error;
    return ModelHash("simulated");
  }

  std::unique_ptr<Process> Start(const std::string& name, std::vector<std::string> arguments) const {
    std::filesystem::create_directories(Path("processes/" + name));
    arguments.insert(arguments.begin(), Muster());
    return std::make_unique<Process>(std::move(arguments), Path("processes/" + name));
  }
  std::string ErrorOf(const std::string& name) const {
    return ReadAll(Path("processes/" + name + "/stderr.txt"));
  }

  // Starts the coordinator, or starts it again, and waits until it listens.
  void StartCoordinator(std::vector<std::string> more = {"--insecure"}) {
    std::filesystem::remove(Path("run/address"));
    const std::string listen = absl::StrCat("127.0.0.1:", port_);
    std::vector<std::string> arguments = {"coordinator", Path("edge.yaml"), "--listen", listen,
                                          "--json",      "--out",           Path("run")};
    arguments.insert(arguments.end(), more.begin(), more.end());
    coordinator_ = Start("coordinator", arguments);
    WaitFor([this] { return std::filesystem::exists(Path("run/address")); },
            "the coordinator does not listen");
    const std::string address = ReadAll(Path("run/address"));
    port_ = std::stoi(address.substr(address.rfind(':') + 1));
  }
  void StartClient(int k, int port, std::vector<std::string> security = {"--insecure"}) {
    std::vector<std::string> arguments = {"client",        Path("edge.yaml"),
                                          "--coordinator", absl::StrCat("localhost:", port),
                                          "--client",      std::to_string(k),
                                          "--state",       StateOf(k),
                                          "--patience",    "120"};
    arguments.insert(arguments.end(), security.begin(), security.end());
    clients_[k] = Start(absl::StrCat("client-", k), arguments);
  }
  std::string StateOf(int k) const { return Path(absl::StrCat("state-", k)); }

  // A client's finished update lies on disk.
  bool HasUpdate(int k) const {
    std::error_code error;
    for (const auto& entry : std::filesystem::recursive_directory_iterator(StateOf(k), error)) {
      if (entry.path().filename() == "update.header") return true;
    }
    return false;
  }
  void WaitFor(const std::function<bool()>& condition, const std::string& otherwise) {
    for (int i = 0; i < 24000; ++i) {
      if (condition()) return;
      poll(nullptr, 0, 5);
    }
    FAIL() << otherwise << "\n" << ErrorOf("coordinator") << ErrorOf("client-0");
  }
  // Waits for the next round to be committed.
  void NextRound() { EXPECT_NE(coordinator_->ReadLine(), "") << ErrorOf("coordinator"); }

  void ExpectEverythingEndsAs(const std::string& hash) {
    EXPECT_EQ(coordinator_->Wait(), 0) << ErrorOf("coordinator");
    for (int k = 0; k < kClients; ++k) {
      EXPECT_EQ(clients_[k]->Wait(), 0) << ErrorOf(absl::StrCat("client-", k));
    }
    EXPECT_EQ(ModelHash("run"), hash);
    EXPECT_EQ(Summary("run")["client_trainings"], kClients * kRounds)
        << "an update counted twice, or not at all";
    std::istringstream rounds(ReadAll(Path("run/rounds.jsonl")));
    for (std::string line; std::getline(rounds, line);)
      EXPECT_EQ(nlohmann::json::parse(line)["failures"].size(), 0U) << line;
  }

  int port_ = 0;
  std::unique_ptr<Process> coordinator_;
  std::unique_ptr<Process> clients_[kClients];
};

}  // namespace muster

#endif  // MUSTER_TESTS_E2E_EDGE_FIXTURE_H_
