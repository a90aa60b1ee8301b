// Links that break, crawl or carry rubbish, between real processes.
#include <fstream>
#include <limits>
#include <thread>

#include "compression/payload.h"
#include "tests/e2e/edge_fixture.h"
#include "tests/e2e/proxy.h"
#include "tests/service/test_client.h"

namespace muster {
namespace {

using EdgeLinkTest = EdgeFederation;

// Small updates go within the session: the same bits, the same bytes counted.
TEST_F(EdgeLinkTest, SmallUpdatesEndInTheSimulationsBitsWhoeverIsKilled) {
  Configure("hidden: [3200]", "hidden: [20]");
  StartCoordinator();
  FaultyProxy proxy(port_);
  for (int k = 0; k < kClients; ++k) StartClient(k, proxy.port());
  NextRound();
  clients_[1]->Signal(SIGKILL);
  EXPECT_EQ(clients_[1]->Wait(), -SIGKILL);
  coordinator_->Signal(SIGKILL);
  EXPECT_EQ(coordinator_->Wait(), -SIGKILL);
  StartCoordinator();
  StartClient(1, proxy.port());
  ExpectEverythingEndsAs(SimulatedHash());
  EXPECT_EQ(Summary("run")["upload_bytes"], Summary("simulated")["upload_bytes"]);
}

TEST_F(EdgeLinkTest, SmallUpdatesCountTheBytesThatASimulationCounts) {
  Configure("hidden: [3200]", "hidden: [20]");
  StartCoordinator();
  for (int k = 0; k < kClients; ++k) StartClient(k, port_);
  ExpectEverythingEndsAs(SimulatedHash());
  EXPECT_EQ(Summary("run")["upload_bytes"], Summary("simulated")["upload_bytes"]);
  EXPECT_EQ(Summary("run")["download_bytes"], Summary("simulated")["download_bytes"]);
}

TEST_F(EdgeLinkTest, AnUploadOf100MegabytesGoesOnWhereItWasCut) {
  Configure("hidden: [3200]", "hidden: [362400]");  // 69 parameters each
  Configure("{name: top_k, ratio: 0.4}", "identity");
  Configure("ef14", "none");
  Configure("rounds: 4", "rounds: 1");
  Configure("batch_size: 50", "batch_size: 300");
  Configure("participation: {name: fixed, clients: 3}", "participation: {name: fixed, clients: 1}");
  Configure("  clients: 3", "  clients: 1");
  StartCoordinator();
  FaultyProxy proxy(port_);
  proxy.CutUploads(1, 50'000'000);
  StartClient(0, proxy.port());
  EXPECT_EQ(coordinator_->Wait(), 0) << ErrorOf("coordinator");
  EXPECT_EQ(clients_[0]->Wait(), 0) << ErrorOf("client-0");
  EXPECT_EQ(proxy.cuts_left(), 0);
  const int64_t size = Summary("run")["upload_bytes"];
  EXPECT_GT(size, 100'000'000);
  EXPECT_GE(proxy.up(), size);
  EXPECT_LT(proxy.up(),
            size + size / 5);  // what was under way when the link broke; anew it were half as much again
  EXPECT_EQ(ModelHash("run"), SimulatedHash());
}

// A client whose update comes with one byte a second, while its session lives.
TEST_F(EdgeLinkTest, ASlowLorisIsAFailureOfItsOwnAndStallsNobody) {
  Configure("rounds: 4", "rounds: 2");
  StartCoordinator({"--insecure", "--set", "federation.deadline_seconds=15"});
  FaultyProxy proxy(port_);
  proxy.TrickleUploads(100'000);  // an update is longer, nothing else is
  StartClient(0, proxy.port());
  StartClient(1, port_);
  StartClient(2, port_);
  EXPECT_EQ(coordinator_->Wait(), 0) << ErrorOf("coordinator");
  for (int k = 1; k < kClients; ++k) EXPECT_EQ(clients_[k]->Wait(), 0) << ErrorOf(absl::StrCat("client-", k));
  clients_[0]->Signal(SIGKILL);
  std::istringstream rounds(ReadAll(Path("run/rounds.jsonl")));
  std::vector<nlohmann::json> failures;
  int64_t accepted = 0;
  for (std::string line; std::getline(rounds, line);) {
    const nlohmann::json round = nlohmann::json::parse(line);
    accepted += round["accepted"].get<int64_t>();
    for (const nlohmann::json& failure : round["failures"]) failures.push_back(failure);
  }
  EXPECT_EQ(accepted, 2 * 2);
  // Its permit is taken away; in the next round the same link does not even carry its wish for the model.
  ASSERT_EQ(failures.size(), 2U);
  EXPECT_EQ(failures[0]["stage"], "upload");
  EXPECT_EQ(failures[1]["stage"], "deadline");
  for (const nlohmann::json& failure : failures) EXPECT_EQ(failure["client"], 0);
}

// ------------------------------------------------------------------------------------------- rubbish

int64_t ResidentKb(pid_t process) {
  std::ifstream status(absl::StrCat("/proc/", process, "/status"));
  for (std::string line; std::getline(status, line);) {
    if (line.starts_with("VmRSS:")) return std::stoll(line.substr(6));
  }
  return 0;
}

// Round after round, nine clients submit rubbish of nine kinds and one an honest update of zeros.
TEST_F(EdgeLinkTest, TenThousandBadUpdatesLeaveTheCoordinatorsMemoryFlat) {
  constexpr int kMembers = 10, kManyRounds = 1112, kWarm = 112;
  Configure("hidden: [3200]", "hidden: [220]");
  Configure("rounds: 4", absl::StrCat("rounds: ", kManyRounds));
  Configure("clients: 3}", absl::StrCat("clients: ", kMembers, "}"));
  Configure("  clients: 3", absl::StrCat("  clients: ", kMembers));
  Configure("service: {", "evaluation: {every: 1000000}\nservice: {");
  StartCoordinator();
  int64_t warm_kb = 0, bad = 0;
  std::mutex mutex;
  const auto take_part = [&](int number) {
    test::TestClient client(absl::StrCat("127.0.0.1:", port_), absl::StrCat("client-", number));
    v1::Join join = client.JoinMessage(number);
    join.set_max_inline_bytes(1 << 16);
    client.SendJoin(join);
    client.TakeWelcome();
    while (true) {
      const v1::ServerMessage message = client.Next();
      if (!message.has_offer()) return;  // the coordinator's goodbye
      const v1::Offer& offer = message.offer();
      std::string bytes = offer.model().data();
      std::fill(bytes.begin() + kPayloadHeaderBytes, bytes.end(), '\0');
      const float nan = std::numeric_limits<float>::quiet_NaN();
      if (number == 1)
        bytes.replace(kPayloadHeaderBytes, sizeof nan, reinterpret_cast<const char*>(&nan), sizeof nan);
      if (number == 2) bytes[8] ^= 1;                    // another model's
      if (number == 3) bytes.assign(bytes.size(), 'x');  // no payload
      if (number == 4) bytes.resize(bytes.size() - 4);   // cut off
      if (number == 5) bytes.resize((1 << 16) + 1);      // too large for a message
      v1::ClientMessage answer;
      v1::Submit& submit = *answer.mutable_submit();
      *submit.mutable_header() = client.Header(offer.round(), bytes);
      submit.set_data(bytes);
      if (number == 6) submit.mutable_header()->set_num_samples(1'000'000);
      if (number == 7) submit.mutable_header()->set_client(0);
      if (number == 8) submit.mutable_header()->set_content_sha256(Sha256("another"));
      if (number == 9) {  // stale, then without its end
        submit.mutable_header()->set_round(offer.round() - 1);
        client.Send(answer);
        EXPECT_FALSE(client.AwaitSettled().accepted());
        submit.mutable_header()->set_round(offer.round());
        submit.mutable_data()->pop_back();
      }
      client.Send(answer);
      EXPECT_EQ(client.AwaitSettled().accepted(), number == 0);
      const std::lock_guard lock(mutex);
      bad += number == 0 ? 0 : 1;
      if (number == 0 && offer.round() == kWarm) warm_kb = ResidentKb(coordinator_->pid());
      if (number == 0 && offer.round() == kManyRounds - 2) {
        EXPECT_LT(ResidentKb(coordinator_->pid()), warm_kb + 32'000) << "of " << warm_kb << " kB";
      }
    }
  };
  std::vector<std::thread> members;
  for (int k = 0; k < kMembers; ++k) members.emplace_back(take_part, k);
  EXPECT_EQ(coordinator_->Wait(), 0) << ErrorOf("coordinator");
  for (std::thread& member : members) member.join();
  EXPECT_GT(bad, 10'000);
  EXPECT_GT(warm_kb, 0);
}

}  // namespace
}  // namespace muster
