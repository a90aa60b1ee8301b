// A client that does exactly what a test tells it, right or wrong, over a real connection.
#ifndef MUSTER_TESTS_SERVICE_TEST_CLIENT_H_
#define MUSTER_TESTS_SERVICE_TEST_CLIENT_H_

#include <grpcpp/create_channel.h>
#include <grpcpp/security/credentials.h>

#include <algorithm>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "core/hash.h"
#include "core/transport/chunk.h"
#include "gtest/gtest.h"
#include "muster/v1/federation.grpc.pb.h"

namespace muster::test {

class TestClient {
 public:
  explicit TestClient(const std::string& address, std::string identity = "")
      : identity_(std::move(identity)),
        stub_(v1::Federation::NewStub(grpc::CreateChannel(address, grpc::InsecureChannelCredentials()))) {
    stream_ = stub_->Session(&context_);
  }
  ~TestClient() { Vanish(); }
  TestClient(const TestClient&) = delete;
  TestClient& operator=(const TestClient&) = delete;

  // ------------------------------------------------------------------------------------------------ the
  // session
  v1::Join JoinMessage(std::optional<int64_t> number = std::nullopt) const {
    v1::Join join;
    join.set_protocol(1);
    join.set_client_version("test");
    join.set_identity(identity_);
    join.set_num_samples(5);
    if (number) join.set_client(*number);
    return join;
  }
  void Send(const v1::ClientMessage& message) { stream_->Write(message); }
  void SendJoin(const v1::Join& join) {
    v1::ClientMessage message;
    *message.mutable_join() = join;
    Send(message);
  }
  // The next message that is no heartbeat; nothing set at the stream's end.
  v1::ServerMessage Next() {
    v1::ServerMessage message;
    while (stream_->Read(&message)) {
      if (!message.has_heartbeat()) return message;
    }
    ended_ = true;
    return {};
  }
  // Joins and is welcomed.
  void Join(std::optional<int64_t> number = std::nullopt) {
    SendJoin(JoinMessage(number));
    TakeWelcome();
  }
  void TakeWelcome() {
    const v1::ServerMessage message = Next();
    ASSERT_TRUE(message.has_welcome()) << message.ShortDebugString() << End().error_message();
    welcome_ = message.welcome();
  }
  v1::Offer TakeOffer() {
    const v1::ServerMessage message = Next();
    EXPECT_TRUE(message.has_offer()) << message.ShortDebugString();
    v1::ClientMessage accept;
    accept.mutable_accept()->set_round(message.offer().round());
    Send(accept);
    return message.offer();
  }
  void SayReady(int64_t round, const std::string& bytes) {
    v1::ClientMessage message;
    message.mutable_ready()->set_round(round);
    message.mutable_ready()->set_size(static_cast<int64_t>(bytes.size()));
    message.mutable_ready()->set_content_sha256(Sha256(bytes));
    Send(message);
  }
  void AwaitPermit() {
    const v1::ServerMessage message = Next();
    EXPECT_TRUE(message.has_permit()) << message.ShortDebugString();
  }
  v1::Settled AwaitSettled() {
    const v1::ServerMessage message = Next();
    EXPECT_TRUE(message.has_settled()) << message.ShortDebugString();
    return message.settled();
  }
  // As if the process was killed.
  void Vanish() {
    if (!ended_ && stream_) {
      context_.TryCancel();
      Drain();
    }
    stream_ = nullptr;
  }
  // How the stream ended; waits for it.
  grpc::Status End() {
    Drain();
    return stream_->Finish();
  }
  const v1::Welcome& welcome() const { return welcome_; }
  int64_t number() const { return welcome_.client(); }

  // ---------------------------------------------------------------------------------------------------
  // transfers
  struct Downloaded {
    std::string bytes;
    grpc::Status status;
  };
  Downloaded Download(const v1::Blob& blob, int64_t offset = 0) {
    v1::DownloadRequest request;
    request.set_federation(welcome_.federation());
    request.set_client(number());
    request.set_sha256(blob.sha256());
    request.set_offset(offset);
    grpc::ClientContext context;
    Downloaded result;
    v1::Chunk chunk;
    const auto reader = stub_->Download(&context, request);
    while (reader->Read(&chunk)) {
      EXPECT_EQ(chunk.crc32c(), Crc32c(chunk.data()));
      result.bytes += chunk.data();
    }
    result.status = reader->Finish();
    return result;
  }

  v1::UploadHeader Header(int64_t round, const std::string& bytes) const {
    v1::UploadHeader header;
    header.set_federation(welcome_.federation());
    header.set_round(round);
    header.set_client(number());
    header.set_content_sha256(Sha256(bytes));
    header.set_payload_size(static_cast<int64_t>(bytes.size()));
    header.set_num_samples(5);
    header.set_train_loss(0.5);
    header.set_steps(3);
    return header;
  }
  struct Uploaded {
    v1::Receipt receipt;
    grpc::Status status;
  };
  // Sends the header and `bytes` from header.offset() on, in chunks of `chunk_bytes`.
  Uploaded Upload(const v1::UploadHeader& header, const std::string& bytes, size_t chunk_bytes = 1000) {
    grpc::ClientContext context;
    Uploaded result;
    const auto writer = stub_->Upload(&context, &result.receipt);
    v1::UploadMessage message;
    *message.mutable_header() = header;
    bool open = writer->Write(message);
    for (auto at = static_cast<size_t>(header.offset()); open && at < bytes.size(); at += chunk_bytes) {
      open = writer->Write(ChunkOf(bytes.substr(at, chunk_bytes)));
    }
    writer->WritesDone();
    result.status = writer->Finish();
    return result;
  }
  static v1::UploadMessage ChunkOf(const std::string& data) {
    v1::UploadMessage message;
    message.mutable_chunk()->set_data(data);
    message.mutable_chunk()->set_crc32c(Crc32c(data));
    return message;
  }
  grpc::Status UploadOffset(const v1::UploadHeader& header, int64_t& offset) {
    grpc::ClientContext context;
    v1::Offset reply;
    const grpc::Status status = stub_->UploadOffset(&context, header, &reply);
    offset = reply.offset();
    return status;
  }
  // From the announcement to the receipt.
  void HandIn(int64_t round, const std::string& bytes) {
    SayReady(round, bytes);
    AwaitPermit();
    const Uploaded uploaded = Upload(Header(round, bytes), bytes);
    EXPECT_TRUE(uploaded.status.ok()) << uploaded.status.error_message();
    EXPECT_TRUE(uploaded.receipt.complete());
  }
  v1::Federation::Stub& stub() { return *stub_; }

 private:
  void Drain() {
    v1::ServerMessage ignored;
    while (!ended_ && stream_->Read(&ignored)) {
    }
    ended_ = true;
  }

  const std::string identity_;
  const std::unique_ptr<v1::Federation::Stub> stub_;
  grpc::ClientContext context_;
  std::unique_ptr<grpc::ClientReaderWriter<v1::ClientMessage, v1::ServerMessage>> stream_;
  v1::Welcome welcome_;
  bool ended_ = false;
};

}  // namespace muster::test

#endif  // MUSTER_TESTS_SERVICE_TEST_CLIENT_H_
