// Who gets in, under which number, and how sessions end.
#include <gmock/gmock.h>

#include "tests/service/fixture.h"

namespace muster::test {
namespace {

using ::testing::HasSubstr;

TEST_F(ServiceTest, WelcomesAClientAndGivesOutNumbers) {
  const auto first = Client("ada");
  first->Join();
  EXPECT_EQ(first->number(), 0);
  EXPECT_EQ(first->welcome().federation(), "run-1");
  EXPECT_EQ(first->welcome().name(), "test");
  EXPECT_EQ(first->welcome().max_chunk_bytes(), static_cast<int64_t>(kMaxChunkBytes));
  const auto third = Client("bob");
  third->Join(2);
  EXPECT_EQ(third->number(), 2);
  const auto second = Client("cyd");
  second->Join();
  EXPECT_EQ(second->number(), 1);
  const auto fourth = Client("dan");
  fourth->Join();
  EXPECT_EQ(fourth->number(), 3);
}

TEST_F(ServiceTest, KeepsNumbersOverARestart) {
  for (const char* identity : {"ada", "bob with a space", "cyd"}) {
    const auto client = Client(identity);
    client->Join();
  }
  Stop();
  Start();
  const auto cyd = Client("cyd");
  cyd->Join();
  EXPECT_EQ(cyd->number(), 2);
  const auto bob = Client("bob with a space");
  bob->Join();
  EXPECT_EQ(bob->number(), 1);
}

TEST_F(ServiceTest, CountsClientsOfAnEarlierProcessAsPresentUntilTheyHaveBeenAwayForTooLong) {
  {
    const auto client = Client("ada");
    client->Join();
  }
  Stop();
  Start();
  ASSERT_TRUE(pool_->WaitUntilReady([] { return false; }).ok());
  ASSERT_EQ(pool_->Available().size(), 1U);
  EXPECT_EQ(pool_->Available()[0].num_samples, 5);
  Pass(options_.grace_seconds);
  EXPECT_TRUE(absl::IsCancelled(pool_->WaitUntilReady([asked = 0]() mutable { return ++asked > 1; })));
}

// So that a coordinator that comes back chooses as the one before would have.
TEST_F(ServiceTest, KnowsTheLabelsItWasToldAfterARestart) {
  {
    const auto teller = Client("ada with a space");
    v1::Join join = teller->JoinMessage();
    for (const int64_t count : {2, 0, 3}) join.add_label_histogram(count);
    teller->SendJoin(join);
    ASSERT_TRUE(teller->Next().has_welcome());
    const auto silent = Client("bob");
    silent->Join();
  }
  Stop();
  Start();
  ASSERT_TRUE(pool_->WaitUntilReady([] { return false; }).ok());
  ASSERT_EQ(pool_->Available().size(), 2U);
  ASSERT_NE(pool_->Available()[0].labels, nullptr);
  EXPECT_THAT(*pool_->Available()[0].labels, ::testing::ElementsAre(2, 0, 3));
  EXPECT_EQ(pool_->Available()[1].labels, nullptr);
}

TEST_F(ServiceTest, RefusesJoinsThatDoNotFit) {
  const auto refusal = [this](const std::function<void(v1::Join&)>& spoil) {
    const auto client = Client("eve");
    v1::Join join = client->JoinMessage();
    spoil(join);
    client->SendJoin(join);
    return client->End();
  };
  const auto other = Joined(7);
  grpc::Status status = refusal([](v1::Join& join) { join.set_protocol(2); });
  EXPECT_EQ(status.error_code(), grpc::StatusCode::FAILED_PRECONDITION);
  EXPECT_THAT(status.error_message(), HasSubstr("protocol 1"));
  status = refusal([](v1::Join& join) { join.set_federation("run-0"); });
  EXPECT_EQ(status.error_code(), grpc::StatusCode::FAILED_PRECONDITION);
  status = refusal([](v1::Join& join) { join.set_layout_fingerprint(1); });
  EXPECT_EQ(status.error_code(), grpc::StatusCode::FAILED_PRECONDITION);
  EXPECT_THAT(status.error_message(), HasSubstr("layout"));
  status = refusal([](v1::Join& join) { join.set_num_samples(0); });
  EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  status = refusal([](v1::Join& join) { join.add_label_histogram(-1); });
  EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  status = refusal([](v1::Join& join) { join.set_identity(""); });
  EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_THAT(status.error_message(), HasSubstr("identity"));
  status = refusal([](v1::Join& join) { join.set_client(1000); });
  EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  status = refusal([](v1::Join& join) { join.set_client(7); });
  EXPECT_EQ(status.error_code(), grpc::StatusCode::PERMISSION_DENIED);
  EXPECT_THAT(status.error_message(), HasSubstr("client-7"));
  EXPECT_EQ(pool_->connected(), 1);
}

TEST_F(ServiceTest, RefusesAnIdentityThatWantsAnotherNumberThanItHas) {
  Client("ada")->Join(3);
  const auto again = Client("ada");
  AwaitConnected(0);
  again->SendJoin(again->JoinMessage(4));
  EXPECT_EQ(again->End().error_code(), grpc::StatusCode::FAILED_PRECONDITION);
}

TEST_F(ServiceTest, RefusesASessionThatDoesNotBeginWithJoin) {
  const auto client = Client("ada");
  client->Send({});
  EXPECT_EQ(client->End().error_code(), grpc::StatusCode::INVALID_ARGUMENT);
}

TEST_F(ServiceTest, RefusesASecondSessionOfALiveIdentity) {
  const auto first = Joined(1);
  const auto second = Client("client-1");
  second->SendJoin(second->JoinMessage(1));
  EXPECT_EQ(second->End().error_code(), grpc::StatusCode::ALREADY_EXISTS);
  EXPECT_EQ(pool_->connected(), 1);
}

TEST_F(ServiceTest, ReplacesASessionThatHasFallenSilent) {
  const auto first = Joined(1);
  now_ = now_ + 2 * options_.heartbeat_seconds;
  const auto second = Client("client-1");
  second->Join(1);
  const v1::ServerMessage word = first->Next();
  EXPECT_EQ(word.goodbye().reason(), "replaced by a newer session");
  EXPECT_FALSE(word.goodbye().come_back());
  EXPECT_TRUE(first->End().ok());
  AwaitConnected(1);
}

TEST_F(ServiceTest, GivesUpASessionThatIsSilentForThreeHeartbeats) {
  const auto silent = Joined(1);
  const auto lively = Joined(2);
  Pass(2 * options_.heartbeat_seconds);
  v1::ClientMessage heartbeat;
  heartbeat.mutable_heartbeat()->set_clock_ms(1);
  lively->Send(heartbeat);
  Await([&] {
    v1::Status status;
    pool_->Describe(true, status);
    return status.clients(1).heard_seconds_ago() == 0;
  });
  Pass(options_.heartbeat_seconds);
  EXPECT_FALSE(silent->End().ok());
  AwaitConnected(1);
  EXPECT_EQ(StateOf(2), "idle");
}

TEST_F(ServiceTest, GivesUpStrangersThatSayNothing) {
  const auto stranger = Client("nobody");
  v1::ClientMessage join;  // makes sure the stream is there, as a second client is welcomed after it
  const auto client = Joined(1);
  Pass(3 * options_.heartbeat_seconds);
  EXPECT_FALSE(stranger->End().ok());
}

TEST_F(ServiceTest, SaysGoodbyeToAllAndToThoseThatComeLater) {
  const auto client = Joined(1);
  pool_->SayGoodbye("finished", false);
  EXPECT_EQ(client->Next().goodbye().reason(), "finished");
  client->Vanish();  // as it is asked to
  pool_->WaitUntilEmpty(30);
  EXPECT_EQ(pool_->connected(), 0);
  const auto late = Client("client-1");
  late->Join(1);
  EXPECT_EQ(late->Next().goodbye().reason(), "finished");
  pool_->WaitUntilEmpty(0);  // it does not end its session
  EXPECT_TRUE(late->End().ok());
}

TEST_F(ServiceTest, ForgetsClientsThatLeave) {
  const auto client = Joined(1);
  v1::ClientMessage leave;
  leave.mutable_leave()->set_reason("tired");
  client->Send(leave);
  EXPECT_TRUE(client->End().ok());
  AwaitConnected(0);
  EXPECT_TRUE(absl::IsCancelled(pool_->WaitUntilReady([asked = 0]() mutable { return ++asked > 1; })));
}

TEST_F(ServiceTest, HoldsManySessionsAtOnce) {
  std::vector<std::unique_ptr<TestClient>> clients;
  std::vector<ClientId> cohort;
  for (int64_t k = 0; k < 100; ++k) {
    clients.push_back(Joined(k));
    cohort.push_back(k);
  }
  ASSERT_TRUE(pool_->WaitUntilReady([] { return false; }).ok());
  EXPECT_EQ(pool_->Available().size(), 100U);
  StartRound(MakeTask(), cohort);
  for (const auto& client : clients) {
    client->TakeOffer();
    client->HandIn(0, Bytes(1));
  }
  for (const auto& client : clients) EXPECT_TRUE(client->AwaitSettled().accepted());
  EXPECT_TRUE(FinishRound().ok());
}

}  // namespace
}  // namespace muster::test
