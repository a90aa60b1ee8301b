// Small models within the offer, small updates within the session.
#include <gmock/gmock.h>

#include <limits>

#include "tests/service/fixture.h"

namespace muster::test {
namespace {

using ::testing::HasSubstr;

// Clients 1 and 2 in a round; 1 submits, 2 knows only uploads.
class SubmitTest : public ServiceTest {
 protected:
  void SetUp() override {
    ServiceTest::SetUp();
    Begin();
  }
  void TearDown() override {
    client_ = nullptr;
    other_ = nullptr;
    ServiceTest::TearDown();
  }
  void Begin() {
    client_ = JoinedInline(1, kMaxInlineBytes);
    other_ = Joined(2);
    StartRound(MakeTask(), {1, 2});
    offer_ = client_->TakeOffer();
    other_->TakeOffer();
  }
  void Restart() {
    client_ = nullptr;
    other_ = nullptr;
    Stop();
    Start();
  }
  std::unique_ptr<TestClient> JoinedInline(int64_t number, int64_t max_inline_bytes) const {
    auto client = Client(absl::StrCat("client-", number));
    v1::Join join = client->JoinMessage(number);
    join.set_max_inline_bytes(max_inline_bytes);
    client->SendJoin(join);
    client->TakeWelcome();
    return client;
  }
  void Submit(
      const std::string& bytes, const std::function<void(v1::Submit&)>& spoil = [](v1::Submit&) {}) {
    v1::ClientMessage message;
    *message.mutable_submit()->mutable_header() = client_->Header(0, bytes);
    message.mutable_submit()->set_data(bytes);
    spoil(*message.mutable_submit());
    client_->Send(message);
  }
  void FinishWithTheOther() {
    other_->HandIn(0, Bytes(2));
    EXPECT_TRUE(other_->AwaitSettled().accepted());
    ASSERT_TRUE(FinishRound().ok());
    EXPECT_TRUE(Taken(2));
  }

  std::unique_ptr<TestClient> client_, other_;
  v1::Offer offer_;
};

TEST_F(SubmitTest, TakesAnUpdateThatComesWithoutAPermit) {
  EXPECT_EQ(client_->welcome().max_inline_bytes(), static_cast<int64_t>(kMaxInlineBytes));
  Submit(Bytes(1));
  EXPECT_TRUE(client_->AwaitSettled().accepted());
  FinishWithTheOther();
  EXPECT_EQ(Folded(1), Bytes(1));
  const auto& submitted = std::get<Update>(outcomes_.at(1));
  EXPECT_EQ(submitted.num_samples, 5);
  EXPECT_EQ(submitted.metrics.steps, 3);
  EXPECT_EQ(submitted.upload_bytes(), std::get<Update>(outcomes_.at(2)).upload_bytes());
}

TEST_F(SubmitTest, CountsBytesWithinAnOfferAsItCountsADownload) {
  const std::string model = other_->Download(offer_.model()).bytes;
  EXPECT_EQ(offer_.model().data(), model);
  EXPECT_EQ(Sha256(model), offer_.model().sha256());
  Submit(Bytes(1));
  FinishWithTheOther();
  EXPECT_EQ(std::get<Update>(outcomes_.at(1)).download_bytes, static_cast<int64_t>(model.size()));
  EXPECT_EQ(std::get<Update>(outcomes_.at(2)).download_bytes, static_cast<int64_t>(model.size()));
}

TEST_F(SubmitTest, OffersBytesOnlyToThoseWhoTakeThemAndOnlyOnce) {
  const int64_t size = offer_.model().size();
  client_ = nullptr;
  Await([&] { return StateOf(1) == "gone"; });
  client_ = JoinedInline(1, kMaxInlineBytes);
  EXPECT_TRUE(client_->TakeOffer().model().data().empty());  // its session may have broken under them

  Restart();
  client_ = JoinedInline(1, size - 1);
  other_ = JoinedInline(2, size);
  StartRound(MakeTask(), {1, 2});
  EXPECT_TRUE(client_->TakeOffer().model().data().empty());
  EXPECT_EQ(other_->TakeOffer().model().data().size(), static_cast<size_t>(size));
}

TEST_F(SubmitTest, LeavesTheModelToDownloadsWhereClientsMayHoldAnEarlierOne) {
  Restart();
  client_ = JoinedInline(1, kMaxInlineBytes);
  Task task = MakeTask();
  task.model_version = 1;
  task.deltas = {{1, std::make_shared<const Payload>(Payload{.bytes = Bytes(1)})}};
  StartRound(task, {1});
  const v1::Offer offer = client_->TakeOffer();
  EXPECT_TRUE(offer.model().data().empty());
  EXPECT_EQ(offer.deltas_size(), 1);
}

TEST_F(SubmitTest, CountsAnUpdateOnceHoweverOftenItComes) {
  Submit(Bytes(1));
  EXPECT_TRUE(client_->AwaitSettled().accepted());
  Submit(Bytes(1));
  EXPECT_TRUE(client_->AwaitSettled().accepted());
  Submit(Bytes(3));  // the first one counts
  EXPECT_TRUE(client_->AwaitSettled().accepted());
  client_->SayReady(0, Bytes(1));
  EXPECT_TRUE(client_->AwaitSettled().accepted());
  FinishWithTheOther();  // the fixture's sink fails on a second answer of client 1
  EXPECT_EQ(Folded(1), Bytes(1));
  Submit(Bytes(1));
  EXPECT_TRUE(client_->AwaitSettled().accepted());
}

TEST_F(SubmitTest, SurvivesALostCoordinator) {
  Submit(Bytes(1));
  EXPECT_TRUE(client_->AwaitSettled().accepted());
  Restart();
  other_ = Joined(2);
  StartRound(MakeTask(), {1, 2});
  other_->TakeOffer();
  FinishWithTheOther();
  EXPECT_EQ(Folded(1), Bytes(1));
}

TEST_F(SubmitTest, TakesTheWholeUpdateAfterHalfAnUpload) {
  const std::string bytes = Bytes(1);
  client_->SayReady(0, bytes);
  client_->AwaitPermit();
  EXPECT_EQ(client_->Upload(client_->Header(0, bytes), bytes.substr(0, 3000)).receipt.received(), 3000);
  Submit(bytes);
  EXPECT_TRUE(client_->AwaitSettled().accepted());
  EXPECT_EQ(Folded(1), bytes);
}

TEST_F(SubmitTest, GivesAPermitBack) {
  options_.upload_permits = 1;
  Restart();
  Begin();
  client_->SayReady(0, Bytes(1));
  client_->AwaitPermit();
  other_->SayReady(0, Bytes(2));
  Submit(Bytes(1));
  EXPECT_TRUE(client_->AwaitSettled().accepted());
  other_->AwaitPermit();
  EXPECT_TRUE(other_->Upload(other_->Header(0, Bytes(2)), Bytes(2)).receipt.complete());
  ASSERT_TRUE(FinishRound().ok());
}

TEST_F(SubmitTest, AClientThatAnnouncesAnotherUpdateWhileItWaitsGetsItsPermit) {
  options_.upload_permits = 1;
  Restart();
  Begin();
  client_->SayReady(0, Bytes(1));
  client_->AwaitPermit();
  other_->SayReady(0, Bytes(2));
  Await([&] { return StateOf(2) == "uploading"; });
  other_->SayReady(0, Bytes(3));
  Submit(Bytes(1));
  EXPECT_TRUE(client_->AwaitSettled().accepted());
  other_->AwaitPermit();
  EXPECT_TRUE(other_->Upload(other_->Header(0, Bytes(3)), Bytes(3)).receipt.complete());
  ASSERT_TRUE(FinishRound().ok());
  EXPECT_EQ(Folded(2), Bytes(3));
}

// Each is refused with its reason, and the round goes on.
struct BadSubmit {
  const char* name;
  std::function<void(v1::Submit&)> spoil;
  const char* stage;
  const char* code;
  const char* words;
};

class BadSubmitTest : public SubmitTest, public ::testing::WithParamInterface<BadSubmit> {};

TEST_P(BadSubmitTest, IsRefusedWithItsReason) {
  Submit(Bytes(1), GetParam().spoil);
  const v1::Settled settled = client_->AwaitSettled();
  EXPECT_FALSE(settled.accepted());
  EXPECT_EQ(settled.code(), GetParam().code);
  EXPECT_THAT(settled.message(), HasSubstr(GetParam().words));
  FinishWithTheOther();
  EXPECT_EQ(FailureOf(1).stage, GetParam().stage);
  EXPECT_FALSE(Taken(1));
}

INSTANTIATE_TEST_SUITE_P(
    Submits, BadSubmitTest,
    ::testing::Values(
        BadSubmit{"OtherHash", [](v1::Submit& s) { s.mutable_header()->set_content_sha256(Sha256("x")); },
                  "upload", "DATA_LOSS", "hash"},
        BadSubmit{"NoHash", [](v1::Submit& s) { s.mutable_header()->clear_content_sha256(); }, "upload",
                  "INVALID_ARGUMENT", "32 bytes"},
        BadSubmit{"CutOff", [](v1::Submit& s) { s.mutable_data()->pop_back(); }, "upload", "INVALID_ARGUMENT",
                  "bytes"},
        BadSubmit{"NoData", [](v1::Submit& s) { s.clear_data(); }, "upload", "INVALID_ARGUMENT", "0 bytes"},
        BadSubmit{"FromTheMiddle", [](v1::Submit& s) { s.mutable_header()->set_offset(1); }, "upload",
                  "INVALID_ARGUMENT", "bytes"},
        BadSubmit{"TooLarge",
                  [](v1::Submit& s) {
                    s.mutable_data()->resize(kMaxInlineBytes + 1);
                    s.mutable_header()->set_payload_size(kMaxInlineBytes + 1);
                  },
                  "upload", "INVALID_ARGUMENT", "uploaded"},
        BadSubmit{"SizesThatOverflow",
                  [](v1::Submit& s) {
                    s.mutable_header()->set_payload_size(std::numeric_limits<int64_t>::max());
                    s.mutable_header()->add_extras()->set_name("x");
                    s.mutable_header()->mutable_extras(0)->set_size(std::numeric_limits<int64_t>::max());
                  },
                  "upload", "RESOURCE_EXHAUSTED", "larger"},
        BadSubmit{"OfAnotherClient", [](v1::Submit& s) { s.mutable_header()->set_client(2); }, "upload",
                  "PERMISSION_DENIED", "another client"},
        BadSubmit{"OfAnotherFederation", [](v1::Submit& s) { s.mutable_header()->set_federation("run-0"); },
                  "upload", "PERMISSION_DENIED", "federation"},
        BadSubmit{"NotFinite",
                  [](v1::Submit& s) {
                    const float nan = std::numeric_limits<float>::quiet_NaN();
                    s.mutable_data()->replace(kPayloadHeaderBytes, sizeof nan,
                                              reinterpret_cast<const char*>(&nan), sizeof nan);
                    s.mutable_header()->set_content_sha256(Sha256(s.data()));
                  },
                  "", "INVALID_ARGUMENT", "finite"}),
    [](const auto& info) { return info.param.name; });

TEST_F(SubmitTest, IsToldTheFateOfARoundThatIsOver) {
  v1::ClientMessage message;
  *message.mutable_submit()->mutable_header() = client_->Header(9, Bytes(1));
  message.mutable_submit()->set_data(Bytes(1));
  client_->Send(message);
  EXPECT_EQ(client_->AwaitSettled().code(), "NOT_FOUND");
  Submit(Bytes(1));
  EXPECT_TRUE(client_->AwaitSettled().accepted());
}

}  // namespace
}  // namespace muster::test
