// Updates that are whole, broken off, wrong or not allowed; and those an earlier process had received.
#include <gmock/gmock.h>

#include <limits>

#include "tests/service/fixture.h"

namespace muster::test {
namespace {

using ::testing::HasSubstr;

// Clients 1 and 2 in a round; 1 misbehaves, 2 is honest.
class UploadTest : public ServiceTest {
 protected:
  void SetUp() override {
    ServiceTest::SetUp();
    client_ = Joined(1);
    honest_ = Joined(2);
    StartRound(MakeTask(), {1, 2});
    client_->TakeOffer();
    honest_->TakeOffer();
  }
  void TearDown() override {
    client_ = nullptr;
    honest_ = nullptr;
    ServiceTest::TearDown();
  }

  // The round goes on with the honest client's update.
  void FinishWithTheHonestOne() {
    honest_->HandIn(0, Bytes(2));
    EXPECT_TRUE(honest_->AwaitSettled().accepted());
    ASSERT_TRUE(FinishRound().ok());
    EXPECT_TRUE(Taken(2));
  }
  // `bytes` are handed in and refused.
  v1::Settled Refusal(const std::string& bytes, const std::function<void(v1::UploadHeader&)>& spoil) {
    client_->SayReady(0, bytes);
    client_->AwaitPermit();
    v1::UploadHeader header = client_->Header(0, bytes);
    spoil(header);
    const auto uploaded = client_->Upload(header, bytes);
    EXPECT_TRUE(uploaded.receipt.complete()) << uploaded.status.error_message();
    const v1::Settled settled = client_->AwaitSettled();
    EXPECT_FALSE(settled.accepted());
    FinishWithTheHonestOne();
    EXPECT_FALSE(Taken(1));
    return settled;
  }

  std::unique_ptr<TestClient> client_, honest_;
};

TEST_F(UploadTest, GoesOnWhereItBrokeOff) {
  const std::string bytes = Bytes(1);
  client_->SayReady(0, bytes);
  client_->AwaitPermit();
  v1::UploadHeader header = client_->Header(0, bytes);
  const auto broken = client_->Upload(header, bytes.substr(0, 3000));
  EXPECT_TRUE(broken.status.ok());
  EXPECT_FALSE(broken.receipt.complete());
  EXPECT_EQ(broken.receipt.received(), 3000);

  const auto wrong = client_->Upload(header, bytes);  // from the start again
  EXPECT_EQ(wrong.status.error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_THAT(wrong.status.error_message(), HasSubstr("byte 3000"));

  int64_t offset = 0;
  ASSERT_TRUE(client_->UploadOffset(header, offset).ok());
  EXPECT_EQ(offset, 3000);
  header.set_offset(offset);
  EXPECT_TRUE(client_->Upload(header, bytes).receipt.complete());
  EXPECT_TRUE(client_->AwaitSettled().accepted());
  EXPECT_EQ(Folded(1), bytes);
}

TEST_F(UploadTest, SurvivesALostSessionAndALostCoordinator) {
  const std::string bytes = Bytes(1);
  client_->SayReady(0, bytes);
  client_->AwaitPermit();
  v1::UploadHeader header = client_->Header(0, bytes);
  EXPECT_EQ(client_->Upload(header, bytes.substr(0, 3000)).receipt.received(), 3000);
  client_ = nullptr;
  honest_ = nullptr;
  Stop();
  Start();
  client_ = Joined(1);
  StartRound(MakeTask(), {1, 2});
  client_->TakeOffer();
  client_->SayReady(0, bytes);
  client_->AwaitPermit();
  int64_t offset = 0;
  ASSERT_TRUE(client_->UploadOffset(header, offset).ok());
  EXPECT_EQ(offset, 3000);
  header.set_offset(offset);
  EXPECT_TRUE(client_->Upload(header, bytes).receipt.complete());
  EXPECT_TRUE(client_->AwaitSettled().accepted());
  EXPECT_EQ(Folded(1), bytes);
}

TEST_F(UploadTest, IsDeliveredAfterARestartWithoutAskingAgain) {
  client_->HandIn(0, Bytes(1));
  EXPECT_TRUE(client_->AwaitSettled().accepted());
  client_ = nullptr;
  honest_ = nullptr;
  Stop();
  Start();
  honest_ = Joined(2);
  StartRound(MakeTask(), {1, 2});
  honest_->TakeOffer();
  honest_->HandIn(0, Bytes(2));
  ASSERT_TRUE(FinishRound().ok());
  EXPECT_TRUE(Taken(1));
  EXPECT_EQ(Folded(1), Bytes(1));
  EXPECT_EQ(std::get<Update>(outcomes_.at(1)).num_samples, 5);
  pool_->Committed(0);
  EXPECT_TRUE(std::filesystem::is_empty(folder_ + "/journal/spool"));
}

TEST_F(UploadTest, IsNotDeliveredAfterARestartIfItWasDamaged) {
  client_->HandIn(0, Bytes(1));
  client_->AwaitSettled();
  client_ = nullptr;
  honest_ = nullptr;
  Stop();
  const std::string path = folder_ + "/journal/spool/round-000000/client-1.update";
  ASSERT_TRUE(std::filesystem::exists(path));
  std::filesystem::resize_file(path, std::filesystem::file_size(path) - 1);
  Start();
  client_ = Joined(1);
  StartRound(MakeTask(), {1});
  client_->TakeOffer();  // it is asked again
  client_->HandIn(0, Bytes(1));
  EXPECT_TRUE(FinishRound().ok());
}

TEST_F(UploadTest, GetsTheSameAnswerWhenItComesTwice) {
  client_->HandIn(0, Bytes(1));
  EXPECT_TRUE(client_->AwaitSettled().accepted());
  const auto again = client_->Upload(client_->Header(0, Bytes(1)), Bytes(1));
  EXPECT_TRUE(again.status.ok()) << again.status.error_message();
  EXPECT_TRUE(again.receipt.complete());
  int64_t offset = 0;
  ASSERT_TRUE(client_->UploadOffset(client_->Header(0, Bytes(1)), offset).ok());
  EXPECT_EQ(offset, static_cast<int64_t>(Bytes(1).size()));
  client_->SayReady(0, Bytes(1));
  EXPECT_TRUE(client_->AwaitSettled().accepted());
  FinishWithTheHonestOne();  // the fixture's sink fails on a second answer of client 1
  // The round is over; the word stands, also for a new process that knows the round's record.
  client_->SayReady(0, Bytes(1));
  EXPECT_TRUE(client_->AwaitSettled().accepted());
  client_ = nullptr;
  honest_ = nullptr;
  Stop();
  std::vector<RoundRecord> records(1);
  records[0].cohort = {1, 2};
  records[0].failures = {{.client = 2, .stage = "train", .code = "INTERNAL", .message = "oh"}};
  Start(records);
  client_ = Joined(1);
  client_->SayReady(0, Bytes(1));
  EXPECT_TRUE(client_->AwaitSettled().accepted());
  honest_ = Joined(2);
  honest_->SayReady(0, Bytes(1));
  const v1::Settled refused = honest_->AwaitSettled();
  EXPECT_FALSE(refused.accepted());
  EXPECT_EQ(refused.code(), "INTERNAL");
}

TEST_F(UploadTest, IsRefusedIfNotFinite) {
  const v1::Settled settled =
      Refusal(Bytes(std::numeric_limits<float>::quiet_NaN()), [](v1::UploadHeader&) {});
  EXPECT_EQ(settled.code(), "INVALID_ARGUMENT");
}

TEST_F(UploadTest, IsRefusedIfItIsNoPayload) {
  const v1::Settled settled = Refusal(std::string(5000, 'x'), [](v1::UploadHeader&) {});
  EXPECT_EQ(settled.code(), "INVALID_ARGUMENT");
  EXPECT_THAT(settled.message(), HasSubstr("magic"));
  EXPECT_EQ(FailureOf(1).stage, "verify");
}

TEST_F(UploadTest, IsRefusedIfItIsOfAnotherModel) {
  std::string bytes = Bytes(1);
  bytes[8] = static_cast<char>(bytes[8] ^ 1);
  EXPECT_THAT(Refusal(bytes, [](v1::UploadHeader&) {}).message(), HasSubstr("another model"));
}

TEST_F(UploadTest, IsRefusedWithoutSamples) {
  EXPECT_THAT(Refusal(Bytes(1), [](v1::UploadHeader& header) { header.set_num_samples(0); }).message(),
              HasSubstr("no samples"));
}

TEST_F(UploadTest, IsRefusedWithNumbersThatAreNotFinite) {
  const v1::Settled settled = Refusal(Bytes(1), [](v1::UploadHeader& header) {
    (*header.mutable_numbers())["loss"].add_values(std::numeric_limits<double>::infinity());
  });
  EXPECT_THAT(settled.message(), HasSubstr("not finite"));
}

// A vector beside the update: a payload under a layout of its own.
std::string ExtraBytes(const std::string& name, int64_t elements) {
  std::string bytes = PayloadHeader(/*codec=*/1, ExtraLayout(name, elements));
  bytes.resize(bytes.size() + static_cast<size_t>(elements) * sizeof(float));
  return bytes;
}
void AddExtra(const std::string& name, const std::string& bytes, v1::UploadHeader& header) {
  header.set_payload_size(header.payload_size() - static_cast<int64_t>(bytes.size()));
  v1::Part& part = *header.add_extras();
  part.set_name(name);
  part.set_size(static_cast<int64_t>(bytes.size()));
}

TEST_F(UploadTest, CarriesExtrasAndNumbers) {
  const std::string extra = ExtraBytes("control", 12), bytes = Bytes(1) + extra;
  client_->SayReady(0, bytes);
  client_->AwaitPermit();
  v1::UploadHeader header = client_->Header(0, bytes);
  AddExtra("control", extra, header);
  (*header.mutable_numbers())["losses"].add_values(0.5);
  EXPECT_TRUE(client_->Upload(header, bytes).receipt.complete());
  EXPECT_TRUE(client_->AwaitSettled().accepted());
  FinishWithTheHonestOne();
  const auto& update = std::get<Update>(outcomes_.at(1));
  EXPECT_EQ(update.extras.at("control").view(), extra);
  EXPECT_EQ(update.numbers.at("losses"), std::vector<double>{0.5});
}

TEST_F(UploadTest, IsRefusedWithAnExtraThatIsLargerThanTheModel) {
  const std::string extra = ExtraBytes("control", layout_.size + 1);
  const v1::Settled settled =
      Refusal(Bytes(1) + extra, [&](v1::UploadHeader& header) { AddExtra("control", extra, header); });
  EXPECT_THAT(settled.message(), HasSubstr("'control'"));
}

TEST_F(UploadTest, IsRefusedWithAnExtraUnderAnotherName) {
  const std::string extra = ExtraBytes("control", 12);
  const v1::Settled settled =
      Refusal(Bytes(1) + extra, [&](v1::UploadHeader& header) { AddExtra("other", extra, header); });
  EXPECT_THAT(settled.message(), HasSubstr("'other'"));
}

TEST_F(UploadTest, IsRefusedBeforeItComesIfItIsTooLarge) {
  v1::ClientMessage message;
  message.mutable_ready()->set_size(int64_t{1} << 40);
  message.mutable_ready()->set_content_sha256(Sha256("x"));
  client_->Send(message);
  EXPECT_EQ(client_->AwaitSettled().code(), "RESOURCE_EXHAUSTED");
  FinishWithTheHonestOne();
  EXPECT_EQ(FailureOf(1).stage, "upload");
  EXPECT_EQ(FailureOf(1).code, "RESOURCE_EXHAUSTED");
}

TEST_F(UploadTest, IsCutOffWhereItIsLongerThanAnnounced) {
  const std::string bytes = Bytes(1);
  client_->SayReady(0, bytes);
  client_->AwaitPermit();
  const auto longer = client_->Upload(client_->Header(0, bytes), bytes + "one more");
  EXPECT_EQ(longer.status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_THAT(longer.status.error_message(), HasSubstr("announced"));
}

TEST_F(UploadTest, FailsWhenItsBytesDoNotHaveItsHash) {
  const std::string bytes = Bytes(1);
  std::string other = bytes;
  other.back() ^= 1;
  client_->SayReady(0, bytes);
  client_->AwaitPermit();
  const v1::UploadHeader header = client_->Header(0, bytes);
  EXPECT_EQ(client_->Upload(header, other).status.error_code(), grpc::StatusCode::DATA_LOSS);
  int64_t offset = -1;
  ASSERT_TRUE(client_->UploadOffset(header, offset).ok());
  EXPECT_EQ(offset, 0);  // nothing of it is used again
  EXPECT_EQ(client_->Upload(header, other).status.error_code(), grpc::StatusCode::DATA_LOSS);
  EXPECT_EQ(client_->AwaitSettled().code(), "DATA_LOSS");
  FinishWithTheHonestOne();
  EXPECT_EQ(FailureOf(1).stage, "upload");
}

TEST_F(UploadTest, RefusesHeadersThatMakeNoSense) {
  const std::string bytes = Bytes(1);
  client_->SayReady(0, bytes);
  client_->AwaitPermit();
  const auto code = [&](const std::function<void(v1::UploadHeader&)>& spoil) {
    v1::UploadHeader header = client_->Header(0, bytes);
    spoil(header);
    return client_->Upload(header, bytes).status.error_code();
  };
  using grpc::StatusCode;
  EXPECT_EQ(code([](v1::UploadHeader& h) { h.set_federation("run-0"); }), StatusCode::FAILED_PRECONDITION);
  EXPECT_EQ(code([](v1::UploadHeader& h) { h.set_round(1); }), StatusCode::NOT_FOUND);
  EXPECT_EQ(code([](v1::UploadHeader& h) { h.set_client(9); }), StatusCode::PERMISSION_DENIED);
  EXPECT_EQ(code([](v1::UploadHeader& h) { h.set_payload_size(-1); }), StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(code([](v1::UploadHeader& h) { h.set_payload_size(std::numeric_limits<int64_t>::max()); }),
            StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_EQ(code([](v1::UploadHeader& h) {
              for (int i = 0; i < 3; ++i) {
                h.add_extras()->set_name("x");
                h.mutable_extras(i)->set_size(std::numeric_limits<int64_t>::max() / 2);
              }
            }),
            StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_EQ(code([](v1::UploadHeader& h) { h.set_content_sha256("short"); }), StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(code([](v1::UploadHeader& h) { h.set_content_sha256(Sha256("other")); }),
            StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(code([](v1::UploadHeader& h) { h.set_offset(7); }), StatusCode::UNAVAILABLE);
  EXPECT_EQ(code([](v1::UploadHeader&) {}), StatusCode::OK);  // and the honest one still works
  EXPECT_TRUE(client_->AwaitSettled().accepted());
}

TEST_F(UploadTest, RefusesStreamsThatMakeNoSense) {
  const auto code = [&](const std::vector<v1::UploadMessage>& messages) {
    grpc::ClientContext context;
    v1::Receipt receipt;
    const auto writer = client_->stub().Upload(&context, &receipt);
    for (const v1::UploadMessage& message : messages) writer->Write(message);
    writer->WritesDone();
    return writer->Finish().error_code();
  };
  const std::string bytes = Bytes(1);
  client_->SayReady(0, bytes);
  client_->AwaitPermit();
  v1::UploadMessage header;
  *header.mutable_header() = client_->Header(0, bytes);
  v1::UploadMessage damaged = TestClient::ChunkOf("some bytes");
  damaged.mutable_chunk()->set_crc32c(1);
  EXPECT_EQ(code({}), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(code({TestClient::ChunkOf("x")}), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(code({header, header}), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(code({header, v1::UploadMessage()}), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(code({header, damaged}), grpc::StatusCode::DATA_LOSS);
  EXPECT_TRUE(client_->Upload(client_->Header(0, bytes), bytes).receipt.complete());
}

TEST_F(UploadTest, LosesItsPermitWhenItStalls) {
  Stop();
  options_.upload_permits = 1;
  Start();
  client_ = Joined(1);
  honest_ = Joined(2);
  StartRound(MakeTask(), {1, 2});
  client_->TakeOffer();
  honest_->TakeOffer();
  const double patience = 3 * options_.heartbeat_seconds;
  const std::string bytes = Bytes(1);
  client_->SayReady(0, bytes);
  client_->AwaitPermit();

  // A slow loris: the header, a little data, and then silence on an open stream.
  grpc::ClientContext context;
  v1::Receipt receipt;
  const auto loris = client_->stub().Upload(&context, &receipt);
  v1::UploadMessage message;
  *message.mutable_header() = client_->Header(0, bytes);
  loris->Write(message);
  loris->Write(TestClient::ChunkOf(bytes.substr(0, 10)));
  int64_t offset = 0;
  Await([&] { return client_->UploadOffset(message.header(), offset).ok() && offset == 10; });
  // The honest one waits for its permit, and gets it when the other has stalled; a heartbeat keeps both
  // sessions.
  honest_->SayReady(0, Bytes(2));
  Await([&] { return StateOf(2) == "uploading"; });
  const auto pass = [&] {
    for (double gone = 0; gone < patience; gone += options_.heartbeat_seconds) {
      now_ = now_ + options_.heartbeat_seconds;
      for (TestClient* client : {client_.get(), honest_.get()}) {
        v1::ClientMessage heartbeat;
        heartbeat.mutable_heartbeat()->set_clock_ms(1);
        client->Send(heartbeat);
      }
      Await([&] {
        v1::Status status;
        pool_->Describe(true, status);
        return status.clients(0).heard_seconds_ago() == 0 && status.clients(1).heard_seconds_ago() == 0;
      });
    }
    pool_->Tick();
  };
  pass();
  honest_->AwaitPermit();
  EXPECT_FALSE(loris->Finish().ok());  // cut
  EXPECT_TRUE(honest_->Upload(honest_->Header(0, Bytes(2)), Bytes(2)).receipt.complete());
  for (int stall = 1; stall < kMaxStalls; ++stall) {
    client_->AwaitPermit();
    pass();
  }
  EXPECT_EQ(client_->AwaitSettled().code(), "DEADLINE_EXCEEDED");
  ASSERT_TRUE(FinishRound().ok());
  EXPECT_EQ(FailureOf(1).stage, "upload");
  EXPECT_THAT(FailureOf(1).message, HasSubstr("stalled"));
  EXPECT_TRUE(Taken(2));
}

}  // namespace
}  // namespace muster::test
