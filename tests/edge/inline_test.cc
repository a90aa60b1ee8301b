// Small models within the offer, small updates within the session: the client's side.
#include <gmock/gmock.h>

#include "tests/edge/fixture.h"

namespace muster {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;

class InlineTest : public EdgeClientTest {
 protected:
  void SetUp() override {
    EdgeClientTest::SetUp();
    coordinator_->max_inline_bytes = kMaxInlineBytes;
  }
  // An offer with its model's bytes, which cannot be downloaded.
  v1::Offer WholeOffer(int64_t round) const {
    FakeCoordinator other;
    v1::Offer offer = other.MakeOffer(round, model_, trainer_.layout());
    std::string bytes = PayloadHeader(1, trainer_.layout());
    bytes.append(reinterpret_cast<const char*>(model_.data()), model_.size() * sizeof(float));
    offer.mutable_model()->set_data(bytes);
    return offer;
  }
  v1::Submit TakeSubmit() {
    Expect(v1::ClientMessage::kAccept);
    return Expect(v1::ClientMessage::kSubmit).submit();
  }
};

TEST_F(InlineTest, ARoundIsOfferAnswerAndVerdict) {
  Start(Options(coordinator_->address()));
  EXPECT_EQ(Expect(v1::ClientMessage::kJoin).join().max_inline_bytes(),
            static_cast<int64_t>(kMaxInlineBytes));
  v1::Offer offer = WholeOffer(4);
  const std::vector<float> control = {1, 2, 3};
  v1::Blob& blob = (*offer.mutable_vectors())["control"];
  blob.set_data(std::string(reinterpret_cast<const char*>(control.data()), control.size() * sizeof(float)));
  blob.set_size(static_cast<int64_t>(blob.data().size()));
  blob.set_sha256(Sha256(blob.data()));
  coordinator_->Offer(offer);
  const v1::Submit submit = TakeSubmit();
  EXPECT_EQ(*trainer_.jobs().at(0).vectors.at("control"), control);
  const v1::UploadHeader& header = submit.header();
  EXPECT_EQ(header.round(), 4);
  EXPECT_EQ(header.client(), 3);
  EXPECT_EQ(header.num_samples(), 5);
  EXPECT_EQ(header.content_sha256(), Sha256(submit.data()));
  EXPECT_EQ(header.payload_size() + header.extras(0).size(), static_cast<int64_t>(submit.data().size()));
  const auto delta = DecodePayload(
      {.bytes = submit.data().substr(0, static_cast<size_t>(header.payload_size()))}, trainer_.layout());
  ASSERT_TRUE(delta.ok()) << delta.status();
  EXPECT_EQ((*delta)[9], 0.5F * 10 - 0.5F);
  coordinator_->Settle(4, true);
  EXPECT_TRUE(WaitFor<RoundEnded>().accepted);
  EXPECT_THAT(coordinator_->download_offsets(), IsEmpty());
}

TEST_F(InlineTest, UploadsWhatIsTooLargeForTheCoordinator) {
  coordinator_->max_inline_bytes = 1000;
  Start(Options(coordinator_->address()));
  Expect(v1::ClientMessage::kJoin);
  coordinator_->Offer(WholeOffer(0));
  Expect(v1::ClientMessage::kAccept);
  Expect(v1::ClientMessage::kReady);
}

TEST_F(InlineTest, WhatALostSessionTookAlongIsUploaded) {
  Start(Options(coordinator_->address()));
  Expect(v1::ClientMessage::kJoin);
  coordinator_->Offer(WholeOffer(0));
  const v1::Submit submit = TakeSubmit();
  const int port = coordinator_->port();
  coordinator_->Kill();
  coordinator_ = std::make_unique<FakeCoordinator>(port);
  coordinator_->max_inline_bytes = kMaxInlineBytes;
  Expect(v1::ClientMessage::kJoin);
  const v1::Ready ready = Expect(v1::ClientMessage::kReady).ready();
  EXPECT_EQ(ready.content_sha256(), submit.header().content_sha256());
  coordinator_->Permit(0);
  EXPECT_EQ(coordinator_->Uploaded().second, submit.data());
  coordinator_->Settle(0, true);
  EXPECT_TRUE(WaitFor<RoundEnded>().accepted);
}

TEST_F(InlineTest, DeclinesBytesThatAreNotThoseThatAreNamed) {
  Start(Options(coordinator_->address()));
  Expect(v1::ClientMessage::kJoin);
  v1::Offer offer = WholeOffer(0);
  offer.mutable_model()->mutable_data()->back() ^= 1;
  coordinator_->Offer(offer);
  EXPECT_THAT(Expect(v1::ClientMessage::kDecline).decline().reason(), HasSubstr("not those"));
  offer = WholeOffer(1);
  offer.mutable_model()->mutable_data()->pop_back();
  coordinator_->Offer(offer);
  EXPECT_EQ(Expect(v1::ClientMessage::kDecline).decline().round(), 1);
  coordinator_->Offer(WholeOffer(2));
  EXPECT_EQ(TakeSubmit().header().round(), 2);
}

// What it says the second time is looked at as the first time.
TEST_F(InlineTest, DeclinesAnOfferThatChangesIntoNonsense) {
  trainer_.Hold();
  Start(Options(coordinator_->address()));
  Expect(v1::ClientMessage::kJoin);
  v1::Offer offer = WholeOffer(0);
  coordinator_->Offer(offer);
  Expect(v1::ClientMessage::kAccept);
  offer.mutable_model()->set_size(int64_t{1} << 50);
  coordinator_->Offer(offer);
  Expect(v1::ClientMessage::kDecline);
}

}  // namespace
}  // namespace muster
