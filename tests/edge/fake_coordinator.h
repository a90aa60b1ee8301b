// A coordinator for tests of the client: says what the test tells it to say, keeps what it hears, and can
// misbehave.
#ifndef MUSTER_TESTS_EDGE_FAKE_COORDINATOR_H_
#define MUSTER_TESTS_EDGE_FAKE_COORDINATOR_H_

#include <grpcpp/server_builder.h>
#include <gtest/gtest.h>

#include <chrono>
#include <condition_variable>
#include <cstring>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "compression/payload.h"
#include "core/hash.h"
#include "core/transport/chunk.h"
#include "muster/v1/federation.grpc.pb.h"

namespace muster {

// Far more than anything here takes; a test that gets there has failed.
inline constexpr std::chrono::seconds kHang{60};

class FakeCoordinator final : public v1::Federation::Service {
 public:
  // On `port`, or on a free one. `federation` is the id it says.
  explicit FakeCoordinator(int port = 0, std::string federation = "fed-1")
      : federation_(std::move(federation)) {
    grpc::ServerBuilder builder;
    builder.AddListeningPort(absl::StrCat("127.0.0.1:", port), grpc::InsecureServerCredentials(), &port_);
    builder.RegisterService(this);
    server_ = builder.BuildAndStart();
  }
  ~FakeCoordinator() override { Kill(); }

  // As kill -9 looks from outside: every connection breaks.
  void Kill() {
    if (!server_) return;
    {
      const std::lock_guard lock(mutex_);
      killed_ = true;
    }
    changed_.notify_all();
    server_->Shutdown(std::chrono::system_clock::now());
    server_.reset();
  }

  int port() const { return port_; }
  std::string address() const { return absl::StrCat("127.0.0.1:", port_); }

  // --- What it does wrong; set before a client meets it ---
  grpc::Status refuse_sessions;  // answers Join with this status, `refusals` times
  int refusals = 0;
  bool mute = false;                       // welcomes, then never says anything by itself
  std::optional<int64_t> cut_download_at;  // breaks one download after so many bytes
  std::optional<int64_t> cut_upload_at;    // breaks one upload
  bool flip_a_bit = false;                 // of one downloaded chunk, under an intact checksum
  double heartbeat_seconds = 1;
  int64_t max_inline_bytes = 0;  // of updates that it takes within the session

  // --- Talking ---

  // The next message that is no heartbeat and no progress, of any session, in order.
  v1::ClientMessage Next() {
    std::unique_lock lock(mutex_);
    if (!changed_.wait_for(lock, kHang, [this] { return !heard_.empty(); })) {
      ADD_FAILURE() << "the client says nothing";
      return {};
    }
    v1::ClientMessage message = std::move(heard_.front());
    heard_.pop_front();
    return message;
  }
  void Say(const v1::ServerMessage& message) {
    const std::lock_guard lock(mutex_);
    if (stream_ != nullptr) stream_->Write(message);
  }
  void Offer(const v1::Offer& offer) {
    v1::ServerMessage message;
    *message.mutable_offer() = offer;
    Say(message);
  }
  void Permit(int64_t round) {
    v1::ServerMessage message;
    message.mutable_permit()->set_round(round);
    Say(message);
  }
  void Cancel(int64_t round) {
    v1::ServerMessage message;
    message.mutable_cancel()->set_round(round);
    message.mutable_cancel()->set_reason("test");
    Say(message);
  }
  void Settle(int64_t round, bool accepted) {
    v1::ServerMessage message;
    message.mutable_settled()->set_round(round);
    message.mutable_settled()->set_accepted(accepted);
    if (!accepted) message.mutable_settled()->set_code("INVALID_ARGUMENT");
    Say(message);
  }
  void Goodbye(const std::string& reason, bool come_back) {
    v1::ServerMessage message;
    message.mutable_goodbye()->set_reason(reason);
    message.mutable_goodbye()->set_come_back(come_back);
    Say(message);
  }

  // An offer of `model`, which can be downloaded from now on.
  v1::Offer MakeOffer(int64_t round, const std::vector<float>& model, const Layout& layout) {
    std::string bytes = PayloadHeader(1, layout);
    bytes.append(reinterpret_cast<const char*>(model.data()), model.size() * sizeof(float));
    v1::Offer offer;
    offer.set_round(round);
    *offer.mutable_model() = AddBlob(bytes);
    offer.set_seed(7);
    offer.set_epochs(2);
    offer.set_learning_rate_factor(0.5);
    offer.set_layout_fingerprint(layout.fingerprint);
    offer.set_parameters(layout.size);
    return offer;
  }
  v1::Blob AddBlob(const std::string& bytes) {
    v1::Blob blob;
    blob.set_sha256(Sha256(bytes));
    blob.set_size(static_cast<int64_t>(bytes.size()));
    const std::lock_guard lock(mutex_);
    blobs_[blob.sha256()] = bytes;
    return blob;
  }

  // Waits for an upload to be complete, and gives its header and bytes.
  std::pair<v1::UploadHeader, std::string> Uploaded() {
    std::unique_lock lock(mutex_);
    if (!changed_.wait_for(lock, kHang, [this] { return complete_; })) ADD_FAILURE() << "no complete upload";
    complete_ = false;
    return {header_, received_[header_.content_sha256()]};
  }
  std::vector<int64_t> download_offsets() {
    const std::lock_guard lock(mutex_);
    return download_offsets_;
  }
  std::vector<int64_t> upload_offsets() {
    const std::lock_guard lock(mutex_);
    return upload_offsets_;
  }

  // --- The service ---

  grpc::Status Session(grpc::ServerContext* /*context*/,
                       grpc::ServerReaderWriter<v1::ServerMessage, v1::ClientMessage>* stream) override {
    v1::ClientMessage message;
    if (!stream->Read(&message)) return grpc::Status::OK;
    {
      const std::lock_guard lock(mutex_);
      if (refusals-- > 0) return refuse_sessions;
      v1::ServerMessage welcome;
      welcome.mutable_welcome()->set_federation(federation_);
      welcome.mutable_welcome()->set_name("test");
      welcome.mutable_welcome()->set_client(message.join().client());
      welcome.mutable_welcome()->set_heartbeat_seconds(heartbeat_seconds);
      welcome.mutable_welcome()->set_max_chunk_bytes(256 << 10);
      welcome.mutable_welcome()->set_max_inline_bytes(max_inline_bytes);
      stream->Write(welcome);
      stream_ = stream;
    }
    Heard(message);
    while (stream->Read(&message)) {
      if (message.has_heartbeat() && !mute) {
        v1::ServerMessage answer;
        answer.mutable_heartbeat();
        Say(answer);
      }
      Heard(message);
    }
    const std::lock_guard lock(mutex_);
    if (stream_ == stream) stream_ = nullptr;
    return grpc::Status::OK;
  }

  grpc::Status Download(grpc::ServerContext* /*context*/, const v1::DownloadRequest* request,
                        grpc::ServerWriter<v1::Chunk>* writer) override {
    constexpr int64_t kChunk = 1000;
    std::unique_lock lock(mutex_);
    download_offsets_.push_back(request->offset());
    const auto found = blobs_.find(request->sha256());
    if (found == blobs_.end()) return {grpc::StatusCode::NOT_FOUND, "no such blob"};
    const std::string bytes = found->second;
    const auto cut = std::exchange(cut_download_at, std::nullopt);
    bool flip = std::exchange(flip_a_bit, false);
    lock.unlock();
    for (int64_t at = request->offset(); at < static_cast<int64_t>(bytes.size()); at += kChunk) {
      if (cut && at >= *cut) return {grpc::StatusCode::UNAVAILABLE, "cut"};
      v1::Chunk chunk;
      chunk.set_data(bytes.substr(at, kChunk));
      if (std::exchange(flip, false)) chunk.mutable_data()->back() ^= 1;
      chunk.set_crc32c(Crc32c(chunk.data()));
      writer->Write(chunk);
    }
    return grpc::Status::OK;
  }

  grpc::Status Upload(grpc::ServerContext* /*context*/, grpc::ServerReader<v1::UploadMessage>* reader,
                      v1::Receipt* receipt) override {
    v1::UploadMessage message;
    if (!reader->Read(&message) || !message.has_header())
      return {grpc::StatusCode::INVALID_ARGUMENT, "no header"};
    const v1::UploadHeader header = message.header();
    std::optional<int64_t> cut;
    {
      const std::lock_guard lock(mutex_);
      upload_offsets_.push_back(header.offset());
      cut = std::exchange(cut_upload_at, std::nullopt);
    }
    while (reader->Read(&message)) {
      const std::lock_guard lock(mutex_);
      std::string& bytes = received_[header.content_sha256()];
      if (Crc32c(message.chunk().data()) != message.chunk().crc32c())
        return {grpc::StatusCode::DATA_LOSS, "crc"};
      bytes += message.chunk().data();
      if (cut && static_cast<int64_t>(bytes.size()) >= *cut) return {grpc::StatusCode::UNAVAILABLE, "cut"};
    }
    const std::lock_guard lock(mutex_);
    const std::string& bytes = received_[header.content_sha256()];
    receipt->set_received(static_cast<int64_t>(bytes.size()));
    receipt->set_complete(Sha256(bytes) == header.content_sha256());
    if (receipt->complete()) {
      header_ = header;
      complete_ = true;
      changed_.notify_all();
    }
    return grpc::Status::OK;
  }

  grpc::Status UploadOffset(grpc::ServerContext* /*context*/, const v1::UploadHeader* header,
                            v1::Offset* offset) override {
    const std::lock_guard lock(mutex_);
    offset->set_offset(static_cast<int64_t>(received_[header->content_sha256()].size()));
    return grpc::Status::OK;
  }

 private:
  void Heard(const v1::ClientMessage& message) {
    if (message.has_heartbeat() || message.has_progress()) return;
    {
      const std::lock_guard lock(mutex_);
      heard_.push_back(message);
    }
    changed_.notify_all();
  }

  const std::string federation_;
  int port_ = 0;
  std::unique_ptr<grpc::Server> server_;
  std::mutex mutex_;
  std::condition_variable changed_;
  bool killed_ = false;
  grpc::ServerReaderWriter<v1::ServerMessage, v1::ClientMessage>* stream_ = nullptr;  // of the newest session
  std::deque<v1::ClientMessage> heard_;
  std::map<std::string, std::string> blobs_, received_;  // by hash
  std::vector<int64_t> download_offsets_, upload_offsets_;
  v1::UploadHeader header_;
  bool complete_ = false;
};

}  // namespace muster

#endif  // MUSTER_TESTS_EDGE_FAKE_COORDINATOR_H_
