// What becomes of a round when clients answer, decline, fail, vanish, come back or are late.
#include <gmock/gmock.h>

#include "tests/service/fixture.h"

namespace muster::test {
namespace {

using ::testing::HasSubstr;

v1::ClientMessage Failed(int64_t round, const std::string& stage, const std::string& code,
                         const std::string& words) {
  v1::ClientMessage message;
  message.mutable_failed()->set_round(round);
  message.mutable_failed()->set_stage(stage);
  message.mutable_failed()->set_code(code);
  message.mutable_failed()->set_message(words);
  return message;
}

TEST_F(ServiceTest, GivesTheTaskAndTakesTheUpdate) {
  const auto client = Joined(4);
  Task task = MakeTask(/*round=*/3);
  task.epochs = 2;
  task.steps = 9;
  task.learning_rate_factor = 0.5;
  task.vectors["control"] = std::make_shared<const std::vector<float>>(7, 1.5F);
  StartRound(task, {4});
  const v1::Offer offer = client->TakeOffer();
  EXPECT_EQ(offer.round(), 3);
  EXPECT_EQ(offer.seed(), 7U);
  EXPECT_EQ(offer.epochs(), 2);
  EXPECT_EQ(offer.steps(), 9);
  EXPECT_EQ(offer.learning_rate_factor(), 0.5);
  EXPECT_EQ(offer.deadline_seconds(), 0);
  EXPECT_EQ(offer.layout_fingerprint(), layout_.fingerprint);
  EXPECT_EQ(offer.parameters(), layout_.size);

  const auto model = client->Download(offer.model());
  ASSERT_TRUE(model.status.ok()) << model.status.error_message();
  EXPECT_EQ(model.bytes, Bytes(0.25F));  // the model as an identity payload
  EXPECT_EQ(Sha256(model.bytes), offer.model().sha256());
  EXPECT_EQ(client->Download(offer.model(), 1000).bytes, model.bytes.substr(1000));
  const auto control = client->Download(offer.vectors().at("control"));
  const std::vector<float> sent(7, 1.5F);
  EXPECT_EQ(control.bytes,
            std::string(reinterpret_cast<const char*>(sent.data()), sent.size() * sizeof(float)));

  client->HandIn(3, Bytes(1));
  const v1::Settled settled = client->AwaitSettled();
  EXPECT_TRUE(settled.accepted());
  EXPECT_EQ(settled.round(), 3);
  ASSERT_TRUE(FinishRound().ok());
  const auto& update = std::get<Update>(outcomes_.at(4));
  EXPECT_EQ(Folded(4), Bytes(1));
  EXPECT_EQ(update.num_samples, 5);
  EXPECT_EQ(update.metrics.train_loss, 0.5);
  EXPECT_EQ(update.metrics.steps, 3);
  EXPECT_EQ(update.download_bytes,
            static_cast<int64_t>(2 * model.bytes.size() - 1000 + control.bytes.size()));
}

TEST_F(ServiceTest, DownloadsOnlyWhatTheRoundHas) {
  const auto client = Joined(4);
  const auto outsider = Joined(5);
  StartRound(MakeTask(), {4});
  const v1::Offer offer = client->TakeOffer();
  v1::Blob other = offer.model();
  other.set_sha256(Sha256("something else"));
  EXPECT_EQ(client->Download(other).status.error_code(), grpc::StatusCode::NOT_FOUND);
  EXPECT_EQ(outsider->Download(offer.model()).status.error_code(), grpc::StatusCode::NOT_FOUND);
  EXPECT_EQ(client->Download(offer.model(), -1).status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(client->Download(offer.model(), offer.model().size() + 1).status.error_code(),
            grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_TRUE(client->Download(offer.model(), offer.model().size()).status.ok());
}

TEST_F(ServiceTest, RecordsClientsThatDeclineOrFail) {
  const auto declines = Joined(1), fails = Joined(2), leaves = Joined(3);
  StartRound(MakeTask(), {1, 2, 3});
  declines->TakeOffer();
  v1::ClientMessage decline;
  decline.mutable_decline()->set_reason("on battery");
  declines->Send(decline);
  fails->TakeOffer();
  fails->Send(Failed(0, "train", "INTERNAL", "loss is NaN\nafter 3 steps"));
  leaves->TakeOffer();
  v1::ClientMessage leave;
  leave.mutable_leave()->set_reason("shutdown");
  leaves->Send(leave);
  ASSERT_TRUE(FinishRound().ok());
  EXPECT_EQ(FailureOf(1).stage, "offer");
  EXPECT_THAT(FailureOf(1).message, HasSubstr("on battery"));
  EXPECT_EQ(FailureOf(2).stage, "train");
  EXPECT_EQ(FailureOf(2).code, "INTERNAL");
  EXPECT_EQ(FailureOf(2).message, "loss is NaN after 3 steps");
  EXPECT_EQ(FailureOf(3).stage, "gone");
  EXPECT_THAT(FailureOf(3).message, HasSubstr("shutdown"));
}

TEST_F(ServiceTest, OffersTheTaskAgainToAClientThatComesBack) {
  auto client = Joined(1);
  StartRound(MakeTask(), {1});
  const v1::Offer offer = client->TakeOffer();
  client = nullptr;
  AwaitConnected(0);
  Pass(options_.grace_seconds - 1);
  client = Joined(1);
  EXPECT_EQ(client->TakeOffer().SerializeAsString(), offer.SerializeAsString());
  client->HandIn(0, Bytes(1));
  EXPECT_TRUE(client->AwaitSettled().accepted());
  EXPECT_TRUE(FinishRound().ok());
}

TEST_F(ServiceTest, GivesUpAClientThatStaysAway) {
  auto client = Joined(1);
  const auto other = Joined(2);
  StartRound(MakeTask(), {1, 2, 3});  // 3 has never been here
  client->TakeOffer();
  client = nullptr;
  other->TakeOffer();
  other->HandIn(0, Bytes(1));
  AwaitConnected(1);
  Pass(options_.grace_seconds);
  ASSERT_TRUE(FinishRound().ok());
  EXPECT_EQ(FailureOf(1).stage, "gone");
  EXPECT_EQ(FailureOf(1).code, "UNAVAILABLE");
  EXPECT_EQ(FailureOf(3).stage, "gone");
  EXPECT_TRUE(Taken(2));
}

TEST_F(ServiceTest, EndsTheRoundAtTheDeadline) {
  const auto quick = Joined(1), slow = Joined(2);
  Task task = MakeTask();
  task.deadline_seconds = 10;
  StartRound(task, {1, 2});
  EXPECT_EQ(quick->TakeOffer().deadline_seconds(), 10);
  slow->TakeOffer();
  quick->HandIn(0, Bytes(1));
  EXPECT_TRUE(quick->AwaitSettled().accepted());
  Pass(10);
  ASSERT_TRUE(FinishRound().ok());
  EXPECT_EQ(FailureOf(2).stage, "deadline");
  EXPECT_EQ(FailureOf(2).code, "DEADLINE_EXCEEDED");
  const v1::ServerMessage cancel = slow->Next();
  EXPECT_EQ(cancel.cancel().round(), 0) << cancel.ShortDebugString();
  // It comes with its update after all.
  slow->SayReady(0, Bytes(2));
  const v1::Settled settled = slow->AwaitSettled();
  EXPECT_FALSE(settled.accepted());
  EXPECT_EQ(settled.code(), "DEADLINE_EXCEEDED");
  EXPECT_EQ(slow->Upload(slow->Header(0, Bytes(2)), Bytes(2)).status.error_code(),
            grpc::StatusCode::NOT_FOUND);
}

TEST_F(ServiceTest, TellsALatecomerHowMuchTimeIsLeft) {
  Task task = MakeTask();
  task.deadline_seconds = 10;
  StartRound(task, {1});
  Await([&] { return InRound(); });
  Pass(4);
  const auto client = Joined(1);
  EXPECT_NEAR(client->TakeOffer().deadline_seconds(), 6, 1e-9);
}

TEST_F(ServiceTest, EndsTheRoundWhenEnoughUpdatesAreIn) {
  const auto first = Joined(1), second = Joined(2), third = Joined(3);
  Task task = MakeTask();
  task.enough = 2;
  StartRound(task, {1, 2, 3});
  for (TestClient* client : {first.get(), second.get(), third.get()}) client->TakeOffer();
  for (TestClient* client : {first.get(), second.get()}) {
    client->HandIn(0, Bytes(1));
    EXPECT_TRUE(client->AwaitSettled().accepted());
  }
  ASSERT_TRUE(FinishRound().ok());
  EXPECT_EQ(FailureOf(3).stage, "enough");
  EXPECT_TRUE(third->Next().has_cancel());
}

TEST_F(ServiceTest, AnswersAStaleAcceptWithCancel) {
  const auto client = Joined(1);
  v1::ClientMessage accept;
  accept.mutable_accept()->set_round(5);
  client->Send(accept);
  EXPECT_EQ(client->Next().cancel().round(), 5);
}

TEST_F(ServiceTest, BoundsUploadsInFlight) {
  Stop();
  options_.upload_permits = 1;
  Start();
  const auto first = Joined(1), second = Joined(2);
  StartRound(MakeTask(), {1, 2});
  first->TakeOffer();
  second->TakeOffer();
  first->SayReady(0, Bytes(1));
  first->AwaitPermit();
  second->SayReady(0, Bytes(2));
  Await([&] { return StateOf(2) == "uploading"; });
  // No permit yet: an upload is turned away.
  EXPECT_EQ(second->Upload(second->Header(0, Bytes(2)), Bytes(2)).status.error_code(),
            grpc::StatusCode::UNAVAILABLE);
  EXPECT_TRUE(first->Upload(first->Header(0, Bytes(1)), Bytes(1)).receipt.complete());
  second->AwaitPermit();
  EXPECT_TRUE(second->Upload(second->Header(0, Bytes(2)), Bytes(2)).receipt.complete());
  EXPECT_TRUE(FinishRound().ok());
}

TEST_F(ServiceTest, AbandonsARoundOnRequest) {
  const auto client = Joined(1);
  StartRound(MakeTask(), {1});
  client->TakeOffer();
  pool_->Abandon();
  EXPECT_TRUE(absl::IsCancelled(FinishRound()));
}

}  // namespace
}  // namespace muster::test
