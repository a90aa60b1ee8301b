// The client's side of the contract, against a coordinator that misbehaves on request.
#include <gmock/gmock.h>

#include <filesystem>

#include "tests/edge/fixture.h"

namespace muster {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

TEST_F(EdgeClientTest, TakesPartFromJoinToGoodbye) {
  Start(Options(coordinator_->address()));
  const v1::Join join = Expect(v1::ClientMessage::kJoin).join();
  EXPECT_EQ(join.protocol(), 1U);
  EXPECT_EQ(join.client(), 3);
  EXPECT_EQ(join.num_samples(), 5);
  EXPECT_THAT(join.label_histogram(), ElementsAre(2, 3));
  EXPECT_EQ(join.layout_fingerprint(), trainer_.layout().fingerprint);
  EXPECT_EQ(join.identity(), "tester");
  EXPECT_EQ(WaitFor<Joined>().federation, "fed-1");

  v1::Offer offer = coordinator_->MakeOffer(4, model_, trainer_.layout());
  const std::vector<float> control = {1, 2, 3};
  (*offer.mutable_vectors())["control"] = coordinator_->AddBlob(
      std::string(reinterpret_cast<const char*>(control.data()), control.size() * sizeof(float)));
  coordinator_->Offer(offer);
  EXPECT_EQ(Expect(v1::ClientMessage::kAccept).accept().round(), 4);
  const v1::Ready ready = Expect(v1::ClientMessage::kReady).ready();
  coordinator_->Permit(4);
  const auto [header, bytes] = coordinator_->Uploaded();

  const TrainingJob job = trainer_.jobs().at(0);
  EXPECT_EQ(job.seed, 7U);
  EXPECT_EQ(job.client, 3);
  EXPECT_EQ(job.epochs, 2);
  EXPECT_EQ(*job.vectors.at("control"), control);
  EXPECT_EQ(ready.content_sha256(), Sha256(bytes));
  EXPECT_EQ(ready.size(), static_cast<int64_t>(bytes.size()));
  EXPECT_EQ(header.round(), 4);
  EXPECT_EQ(header.client(), 3);
  EXPECT_EQ(header.num_samples(), 5);
  EXPECT_EQ(header.train_loss(), 0.25);
  EXPECT_THAT(header.numbers().at("groups").values(), ElementsAre(1, 2));
  ASSERT_THAT(header.extras(), SizeIs(1));
  EXPECT_EQ(header.extras(0).name(), "control");
  EXPECT_EQ(header.payload_size() + header.extras(0).size(), static_cast<int64_t>(bytes.size()));
  const auto delta = DecodePayload({.bytes = bytes.substr(0, header.payload_size())}, trainer_.layout());
  ASSERT_TRUE(delta.ok()) << delta.status();
  EXPECT_EQ((*delta)[9], 0.5F * 10 - 0.5F);

  coordinator_->Settle(4, true);
  const auto ended = WaitFor<RoundEnded>();
  EXPECT_TRUE(ended.accepted);
  EXPECT_EQ(ended.round, 4);
  EXPECT_EQ(ended.upload_bytes, static_cast<int64_t>(bytes.size()));
  coordinator_->Goodbye("finished", false);
  EXPECT_TRUE(Join().ok()) << result_;
}

TEST_F(EdgeClientTest, RemembersOnlyWhatWasAccepted) {
  Start(Options(coordinator_->address()));
  Expect(v1::ClientMessage::kJoin);
  for (const auto& [round, accepted] : {std::pair{0, false}, {1, true}, {2, true}, {3, false}, {4, true}}) {
    TrainRound(round);
    coordinator_->Permit(round);
    coordinator_->Uploaded();
    coordinator_->Settle(round, accepted);
    EXPECT_EQ(WaitFor<RoundEnded>().accepted, accepted);
  }
  EXPECT_TRUE(Stop().ok());
  EXPECT_THAT(trainer_.remembered(), ElementsAre(0, 0, 1, 2, 2));
}

TEST_F(EdgeClientTest, RemembersAcrossARestart) {
  for (int round = 0; round < 2; ++round) {
    Start(Options(coordinator_->address()));
    Expect(v1::ClientMessage::kJoin);
    TrainRound(round);
    coordinator_->Permit(round);
    coordinator_->Uploaded();
    coordinator_->Settle(round, true);
    WaitFor<RoundEnded>();
    EXPECT_TRUE(Stop().ok());
    Expect(v1::ClientMessage::kLeave);
  }
  EXPECT_THAT(trainer_.remembered(), ElementsAre(0, 1));
}

TEST_F(EdgeClientTest, GoesOnWithABrokenDownload) {
  coordinator_->cut_download_at = 7000;
  Start(Options(coordinator_->address()));
  Expect(v1::ClientMessage::kJoin);
  TrainRound(0);
  EXPECT_THAT(coordinator_->download_offsets(), ElementsAre(0, 7000));
}

TEST_F(EdgeClientTest, ADamagedChunkIsFetchedAgain) {
  coordinator_->flip_a_bit = true;  // under a right checksum: only the hash of the whole can tell
  Start(Options(coordinator_->address()));
  Expect(v1::ClientMessage::kJoin);
  TrainRound(0);
  EXPECT_THAT(coordinator_->download_offsets(), ElementsAre(0, 0));
  EXPECT_THAT(trainer_.jobs(), SizeIs(1));
}

TEST_F(EdgeClientTest, GoesOnWithABrokenUpload) {
  Start(Options(coordinator_->address()));
  Expect(v1::ClientMessage::kJoin);
  const v1::Ready ready = TrainRound(0);
  coordinator_->cut_upload_at = 1;  // after the first chunk
  coordinator_->Permit(0);
  const v1::Ready again = Expect(v1::ClientMessage::kReady).ready();
  EXPECT_EQ(again.content_sha256(), ready.content_sha256());
  coordinator_->Permit(0);
  const auto [header, bytes] = coordinator_->Uploaded();
  EXPECT_EQ(Sha256(bytes), ready.content_sha256());
  ASSERT_THAT(coordinator_->upload_offsets(), SizeIs(2));
  EXPECT_GT(coordinator_->upload_offsets()[1], 0);
  EXPECT_THAT(trainer_.jobs(), SizeIs(1));
}

TEST_F(EdgeClientTest, AFinishedUpdateSurvivesARestartAndIsNotTrainedAgain) {
  Start(Options(coordinator_->address()));
  Expect(v1::ClientMessage::kJoin);
  const v1::Ready before = TrainRound(2);
  EXPECT_TRUE(Stop().ok());
  Expect(v1::ClientMessage::kLeave);

  Start(Options(coordinator_->address()));
  Expect(v1::ClientMessage::kJoin);
  const v1::Ready after = Expect(v1::ClientMessage::kReady).ready();
  EXPECT_EQ(after.round(), 2);
  EXPECT_EQ(after.content_sha256(), before.content_sha256());
  coordinator_->Permit(2);
  EXPECT_EQ(coordinator_->Uploaded().first.round(), 2);
  coordinator_->Settle(2, true);
  WaitFor<RoundEnded>();
  EXPECT_THAT(trainer_.jobs(), SizeIs(1));
  TrainRound(3);
  EXPECT_THAT(trainer_.remembered(), ElementsAre(0, 1));
}

TEST_F(EdgeClientTest, AnotherFederationsUpdateIsNotOffered) {
  Start(Options(coordinator_->address()));
  Expect(v1::ClientMessage::kJoin);
  TrainRound(2);
  EXPECT_TRUE(Stop().ok());
  coordinator_ = std::make_unique<FakeCoordinator>(0, "fed-2");
  Start(Options(coordinator_->address()));
  Expect(v1::ClientMessage::kJoin);
  TrainRound(2);
  EXPECT_THAT(trainer_.jobs(), SizeIs(2));
}

TEST_F(EdgeClientTest, TrainsOnWhileTheCoordinatorRestarts) {
  Start(Options(coordinator_->address()));
  Expect(v1::ClientMessage::kJoin);
  trainer_.Hold();
  const v1::Offer offer = coordinator_->MakeOffer(0, model_, trainer_.layout());
  coordinator_->Offer(offer);
  Expect(v1::ClientMessage::kAccept);
  trainer_.WaitForJobs(1);
  const int port = coordinator_->port();
  coordinator_->Kill();
  WaitFor<Disconnected>();
  coordinator_ = std::make_unique<FakeCoordinator>(port);
  Expect(v1::ClientMessage::kJoin);
  coordinator_->Offer(offer);
  Expect(v1::ClientMessage::kAccept);
  trainer_.Release();
  Expect(v1::ClientMessage::kReady);
  coordinator_->Permit(0);
  coordinator_->Uploaded();
  EXPECT_THAT(trainer_.jobs(), SizeIs(1));
}

TEST_F(EdgeClientTest, AsksForTheFateOfAnUploadedUpdateAfterARestartOfTheCoordinator) {
  Start(Options(coordinator_->address()));
  Expect(v1::ClientMessage::kJoin);
  TrainRound(0);
  coordinator_->Permit(0);
  coordinator_->Uploaded();
  const int port = coordinator_->port();
  coordinator_->Kill();
  coordinator_ = std::make_unique<FakeCoordinator>(port);
  Expect(v1::ClientMessage::kJoin);
  EXPECT_EQ(Expect(v1::ClientMessage::kReady).ready().round(), 0);
  coordinator_->Settle(0, true);
  EXPECT_TRUE(WaitFor<RoundEnded>().accepted);
  EXPECT_THAT(coordinator_->upload_offsets(), IsEmpty());
}

// A coordinator that has just restarted has not come to its round yet.
TEST_F(EdgeClientTest, KeepsAnUpdateWhoseTaskIsNotKnownUntilAnotherRoundBegins) {
  Start(Options(coordinator_->address()));
  Expect(v1::ClientMessage::kJoin);
  const v1::Offer offer = coordinator_->MakeOffer(0, model_, trainer_.layout());
  coordinator_->Offer(offer);
  Expect(v1::ClientMessage::kAccept);
  const v1::Ready ready = Expect(v1::ClientMessage::kReady).ready();
  v1::ServerMessage unknown;
  unknown.mutable_settled()->set_code("NOT_FOUND");
  coordinator_->Say(unknown);
  coordinator_->Offer(offer);
  Expect(v1::ClientMessage::kAccept);
  EXPECT_EQ(Expect(v1::ClientMessage::kReady).ready().content_sha256(), ready.content_sha256());
  EXPECT_THAT(trainer_.jobs(), SizeIs(1));
  coordinator_->Say(unknown);
  TrainRound(1);
  EXPECT_FALSE(WaitFor<RoundEnded>().accepted);
  EXPECT_THAT(trainer_.jobs(), SizeIs(2));
}

TEST_F(EdgeClientTest, ObeysCancel) {
  Start(Options(coordinator_->address()));
  Expect(v1::ClientMessage::kJoin);
  trainer_.Hold();
  coordinator_->Offer(coordinator_->MakeOffer(0, model_, trainer_.layout()));
  Expect(v1::ClientMessage::kAccept);
  trainer_.WaitForJobs(1);
  coordinator_->Cancel(0);
  EXPECT_FALSE(WaitFor<RoundEnded>().accepted);
  // The trainer ends only because it is told to; nothing is said of the cancelled round, and the next one
  // works.
  coordinator_->Offer(coordinator_->MakeOffer(1, model_, trainer_.layout()));
  trainer_.WaitForJobs(2);
  trainer_.Release();
  EXPECT_EQ(Expect(v1::ClientMessage::kAccept).accept().round(), 1);
  EXPECT_EQ(Expect(v1::ClientMessage::kReady).ready().round(), 1);
}

TEST_F(EdgeClientTest, StopsInTheMiddleOfATask) {
  Start(Options(coordinator_->address()));
  Expect(v1::ClientMessage::kJoin);
  trainer_.Hold();
  coordinator_->Offer(coordinator_->MakeOffer(0, model_, trainer_.layout()));
  Expect(v1::ClientMessage::kAccept);
  trainer_.WaitForJobs(1);
  EXPECT_TRUE(Stop().ok());
  Expect(v1::ClientMessage::kLeave);
}

TEST_F(EdgeClientTest, AnotherRoundReplacesTheOneInTraining) {
  Start(Options(coordinator_->address()));
  Expect(v1::ClientMessage::kJoin);
  trainer_.Hold();
  coordinator_->Offer(coordinator_->MakeOffer(0, model_, trainer_.layout()));
  Expect(v1::ClientMessage::kAccept);
  trainer_.WaitForJobs(1);
  coordinator_->Offer(coordinator_->MakeOffer(1, model_, trainer_.layout()));
  EXPECT_EQ(WaitFor<RoundEnded>().round, 0);
  EXPECT_EQ(Expect(v1::ClientMessage::kAccept).accept().round(), 1);
  trainer_.Release();
  EXPECT_EQ(Expect(v1::ClientMessage::kReady).ready().round(), 1);
}

TEST_F(EdgeClientTest, TheFateOfAFinishedUpdateComesBeforeTheNextTask) {
  Start(Options(coordinator_->address()));
  Expect(v1::ClientMessage::kJoin);
  TrainRound(0);
  coordinator_->Permit(0);
  coordinator_->Uploaded();
  coordinator_->Offer(coordinator_->MakeOffer(1, model_, trainer_.layout()));
  coordinator_->Settle(0, true);
  EXPECT_TRUE(WaitFor<RoundEnded>().accepted);
  EXPECT_EQ(Expect(v1::ClientMessage::kAccept).accept().round(), 1);
  Expect(v1::ClientMessage::kReady);
  EXPECT_THAT(trainer_.remembered(), ElementsAre(0, 1));
}

TEST_F(EdgeClientTest, AnUpdateWhoseFateIsNeverToldGivesWay) {
  coordinator_->heartbeat_seconds = 0.05;
  Start(Options(coordinator_->address()));
  Expect(v1::ClientMessage::kJoin);
  TrainRound(0);
  coordinator_->Offer(coordinator_->MakeOffer(1, model_, trainer_.layout()));
  EXPECT_FALSE(WaitFor<RoundEnded>().accepted);
  EXPECT_EQ(Expect(v1::ClientMessage::kAccept).accept().round(), 1);
}

TEST_F(EdgeClientTest, AFailedTaskIsToldAndNotTriedTwice) {
  Start(Options(coordinator_->address()));
  Expect(v1::ClientMessage::kJoin);
  trainer_.FailWith(InvalidInput("the data\nare gone"));
  for (int time = 0; time < 2; ++time) {
    coordinator_->Offer(coordinator_->MakeOffer(0, model_, trainer_.layout()));
    Expect(v1::ClientMessage::kAccept);
    const v1::Failed failed = Expect(v1::ClientMessage::kFailed).failed();
    EXPECT_EQ(failed.round(), 0);
    EXPECT_EQ(failed.stage(), "train");
    EXPECT_EQ(failed.code(), "INVALID_ARGUMENT");
    EXPECT_THAT(failed.message(), HasSubstr("the data?are gone"));
  }
  EXPECT_THAT(trainer_.jobs(), SizeIs(1));
  trainer_.FailWith(absl::OkStatus());
  TrainRound(1);
}

TEST_F(EdgeClientTest, DeclinesWhatItCannotTrain) {
  Start(Options(coordinator_->address()));
  Expect(v1::ClientMessage::kJoin);
  v1::Offer offer = coordinator_->MakeOffer(0, model_, trainer_.layout());
  offer.set_layout_fingerprint(1);
  coordinator_->Offer(offer);
  EXPECT_THAT(Expect(v1::ClientMessage::kDecline).decline().reason(), HasSubstr("another model"));
  offer = coordinator_->MakeOffer(1, model_, trainer_.layout());
  offer.mutable_model()->set_size(int64_t{1} << 40);
  coordinator_->Offer(offer);
  EXPECT_THAT(Expect(v1::ClientMessage::kDecline).decline().reason(), HasSubstr("bytes"));
  EXPECT_THAT(trainer_.jobs(), IsEmpty());
}

TEST_F(EdgeClientTest, AModelThatIsGoneFailsTheTask) {
  Start(Options(coordinator_->address()));
  Expect(v1::ClientMessage::kJoin);
  v1::Offer offer = coordinator_->MakeOffer(0, model_, trainer_.layout());
  offer.mutable_model()->set_sha256(std::string(32, 'x'));
  coordinator_->Offer(offer);
  Expect(v1::ClientMessage::kAccept);
  const v1::Failed failed = Expect(v1::ClientMessage::kFailed).failed();
  EXPECT_EQ(failed.stage(), "download");
  EXPECT_EQ(failed.code(), "NOT_FOUND");
}

TEST_F(EdgeClientTest, ComesBackWhenTheCoordinatorAsksForIt) {
  Start(Options(coordinator_->address()));
  Expect(v1::ClientMessage::kJoin);
  WaitFor<Joined>();
  coordinator_->Goodbye("restarting", true);
  EXPECT_THAT(WaitFor<Disconnected>().why, HasSubstr("restarting"));
  WaitFor<Joined>();
}

TEST_F(EdgeClientTest, EndsWhenItIsReplaced) {
  Start(Options(coordinator_->address()));
  Expect(v1::ClientMessage::kJoin);
  WaitFor<Joined>();
  coordinator_->Goodbye("replaced by a newer session", false);
  EXPECT_EQ(ExitCode(Join()), 2);
  EXPECT_THAT(Message(result_), HasSubstr("replaced"));
}

TEST_F(EdgeClientTest, GivesASilentCoordinatorUpAndComesBack) {
  coordinator_->heartbeat_seconds = 0.05;
  coordinator_->mute = true;
  Start(Options(coordinator_->address()));
  WaitFor<Joined>();
  EXPECT_THAT(WaitFor<Disconnected>().why, HasSubstr("silent"));
  WaitFor<Joined>();
}

TEST_F(EdgeClientTest, GivesUpWhenItsPatienceRunsOut) {
  const std::string address = coordinator_->address();
  coordinator_->Kill();
  EdgeOptions options = Options(address);
  options.patience_seconds = 0.1;
  Start(options);
  EXPECT_EQ(ExitCode(Join()), 3);
  EXPECT_THAT(Message(result_), HasSubstr(address));
}

TEST_F(EdgeClientTest, RefusesAStateFolderInUse) {
  Start(Options(coordinator_->address()));
  WaitFor<Joined>();
  const auto second = EdgeClient::Create(trainer_, *feedback_, Options(coordinator_->address()));
  ASSERT_FALSE(second.ok());
  EXPECT_THAT(Message(second.status()), HasSubstr("another client uses it"));
}

TEST_F(EdgeClientTest, RefusesAMalformedAddress) {
  for (const char* address : {"", "host", "host:", ":7443", "host:0", "host:70000", "a:b:c", "::1:80"}) {
    const auto client = EdgeClient::Create(trainer_, *feedback_, Options(address));
    EXPECT_EQ(ExitCode(client.status()), 2) << address;
  }
  EXPECT_TRUE(EdgeClient::Create(trainer_, *feedback_, Options("[::1]:80")).ok());
}

class RefusedTest : public EdgeClientTest, public ::testing::WithParamInterface<grpc::StatusCode> {};

TEST_P(RefusedTest, EndsOnWhatWillNotMendItselfAndTriesTheRestAgain) {
  coordinator_->refuse_sessions = {GetParam(), "words of the coordinator"};
  coordinator_->refusals = 1;
  Start(Options(coordinator_->address()));
  switch (GetParam()) {
    case grpc::StatusCode::UNAUTHENTICATED:
    case grpc::StatusCode::PERMISSION_DENIED:
    case grpc::StatusCode::FAILED_PRECONDITION:
    case grpc::StatusCode::INVALID_ARGUMENT:
    case grpc::StatusCode::UNIMPLEMENTED:
      EXPECT_EQ(ExitCode(Join()), 2);
      EXPECT_THAT(Message(result_), HasSubstr("words of the coordinator"));
      EXPECT_THAT(Message(result_), HasSubstr(coordinator_->address()));
      break;
    default:
      EXPECT_THAT(WaitFor<Disconnected>().why, HasSubstr(coordinator_->address()));
      WaitFor<Joined>();
  }
}

INSTANTIATE_TEST_SUITE_P(Codes, RefusedTest,
                         ::testing::Values(grpc::StatusCode::UNAUTHENTICATED,
                                           grpc::StatusCode::PERMISSION_DENIED,
                                           grpc::StatusCode::FAILED_PRECONDITION,
                                           grpc::StatusCode::INVALID_ARGUMENT,
                                           grpc::StatusCode::UNIMPLEMENTED, grpc::StatusCode::ALREADY_EXISTS,
                                           grpc::StatusCode::RESOURCE_EXHAUSTED,
                                           grpc::StatusCode::UNAVAILABLE, grpc::StatusCode::INTERNAL,
                                           grpc::StatusCode::DEADLINE_EXCEEDED, grpc::StatusCode::ABORTED));

}  // namespace
}  // namespace muster
