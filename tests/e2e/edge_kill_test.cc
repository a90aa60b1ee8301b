// The coordinator killed in every state that its engine has: the federation ends in the undisturbed one's
// bits.
#include <grpcpp/create_channel.h>
#include <grpcpp/security/credentials.h>

#include "muster/v1/control.grpc.pb.h"
#include "tests/e2e/edge_fixture.h"

namespace muster {
namespace {

class KilledCoordinatorTest : public EdgeFederation, public ::testing::WithParamInterface<const char*> {
 protected:
  void SetUp() override {
    EdgeFederation::SetUp();
    // Every state takes long enough to be seen: a large model, and a policy that looks at updates before it
    // decides.
    Configure("hidden: [3200]", "hidden: [40000]");
    Configure("{name: fixed, clients: 3}",
              "{name: isp, initial_clients: 3, period: 2, subsets: 3, warmup_rounds: 1}");
    Configure("  clients: 3", "  trust: {samples: 100}\n  clients: 3");
    StartCoordinator();
    for (int k = 0; k < kClients; ++k) StartClient(k, port_);
  }

  std::shared_ptr<grpc::Channel> Connect() const {
    return grpc::CreateChannel(absl::StrCat("127.0.0.1:", port_), grpc::InsecureChannelCredentials());
  }
  // Asks without a pause until the coordinator says that it is in `phase` of a round from `round` on. False
  // if it ends before.
  bool WaitForPhase(const std::string& phase, int64_t round) {
    channel_ = Connect();
    const auto stub = v1::Control::NewStub(channel_);
    while (true) {
      grpc::ClientContext context;
      v1::Status status;
      if (!stub->GetStatus(&context, v1::GetStatusRequest(), &status).ok()) return false;
      if (status.phase() == phase && status.round() >= round) return true;
    }
  }
  void Kill() {
    coordinator_->Signal(SIGKILL);
    EXPECT_EQ(coordinator_->Wait(), -SIGKILL);
  }

  std::shared_ptr<grpc::Channel> channel_;
};

TEST_P(KilledCoordinatorTest, EndsInTheUndisturbedRunsBits) {
  const std::string phase = GetParam();
  // Twice, in different rounds.
  for (const int64_t round : {0, 2}) {
    ASSERT_TRUE(WaitForPhase(phase, round)) << "never in " << phase;
    Kill();
    StartCoordinator();
  }
  EXPECT_EQ(coordinator_->Wait(), 0) << ErrorOf("coordinator");
  for (int k = 0; k < kClients; ++k) EXPECT_EQ(clients_[k]->Wait(), 0) << ErrorOf(absl::StrCat("client-", k));
  EXPECT_EQ(ModelHash("run"), SimulatedHash());
  EXPECT_EQ(Summary("run")["client_trainings"], Summary("simulated")["client_trainings"]);
}

INSTANTIATE_TEST_SUITE_P(Phases, KilledCoordinatorTest,
                         ::testing::Values("select", "train", "apply", "evaluate", "commit"),
                         [](const auto& info) { return std::string(info.param); });

// Before the first round, between rounds, and when all rounds are done but not all clients know.
TEST_F(KilledCoordinatorTest, BetweenRoundsAndAtTheEnd) {
  Kill();
  StartCoordinator();
  ASSERT_TRUE(WaitForPhase("train", 0));
  {
    grpc::ClientContext context;
    v1::Status status;
    ASSERT_TRUE(v1::Control::NewStub(channel_)->Pause(&context, v1::PauseRequest(), &status).ok());
  }
  ASSERT_TRUE(WaitForPhase("paused", 0));
  Kill();
  StartCoordinator();
  ASSERT_TRUE(WaitForPhase("finished", 0));
  Kill();
  StartCoordinator();
  EXPECT_EQ(coordinator_->Wait(), 0) << ErrorOf("coordinator");
  for (int k = 0; k < kClients; ++k) EXPECT_EQ(clients_[k]->Wait(), 0) << ErrorOf(absl::StrCat("client-", k));
  EXPECT_EQ(ModelHash("run"), SimulatedHash());
}

}  // namespace
}  // namespace muster
