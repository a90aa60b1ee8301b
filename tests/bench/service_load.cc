#include "tests/bench/service_load.h"

#include <grpcpp/create_channel.h>
#include <grpcpp/support/channel_arguments.h>

#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <deque>
#include <map>
#include <memory>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "core/hash.h"
#include "core/mutex.h"
#include "core/transport/chunk.h"
#include "core/transport/credentials.h"

namespace muster::bench {
namespace {

// By certificate client-NUMBER of the folder; plain text without a folder.
std::shared_ptr<grpc::Channel> Connect(const std::string& address, const std::string& certs, int number) {
  grpc::ChannelArguments arguments;
  arguments.SetInt("bench.connection", number);  // connections of their own
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  if (certs.empty()) return grpc::CreateCustomChannel(address, grpc::InsecureChannelCredentials(), arguments);
  const auto tls = LoadTls(TlsFilesIn(certs, absl::StrCat("client-", number)), TlsRole::kClient);
  if (!tls.ok()) {
    std::fprintf(stderr, "%s\n", Message(tls.status()).c_str());
    std::exit(1);
  }
  return grpc::CreateCustomChannel(address, MakeChannelCredentials(*tls), arguments);
}

// The bytes that the server streams, appended to `bytes`.
grpc::Status Receive(v1::Federation::Stub& stub, const v1::DownloadRequest& request, std::string& bytes) {
  grpc::ClientContext context;
  v1::Chunk chunk;
  const auto reader = stub.Download(&context, request);
  while (reader->Read(&chunk)) bytes += chunk.data();
  return reader->Finish();
}

grpc::Status Transmit(v1::Federation::Stub& stub, const v1::UploadHeader& header, const std::string& bytes) {
  grpc::ClientContext context;
  v1::Receipt receipt;
  v1::UploadMessage message;
  *message.mutable_header() = header;
  const auto writer = stub.Upload(&context, &receipt);
  bool open = writer->Write(message);
  for (size_t at = 0; open && at < bytes.size(); at += kMaxChunkBytes) {
    const std::string_view data = std::string_view(bytes).substr(at, kMaxChunkBytes);
    message.mutable_chunk()->set_data(data.data(), data.size());
    message.mutable_chunk()->set_crc32c(Crc32c(data));
    open = writer->Write(message);
  }
  writer->WritesDone();
  return writer->Finish();
}

std::atomic<double> heartbeat_seconds{1};

class Client final : public grpc::ClientBidiReactor<v1::ClientMessage, v1::ServerMessage> {
 public:
  Client(const std::shared_ptr<grpc::Channel>& channel, int number, int64_t max_inline_bytes)
      : stub_(v1::Federation::NewStub(channel)), number_(number) {
    v1::ClientMessage join;
    join.mutable_join()->set_protocol(1);
    join.mutable_join()->set_num_samples(1);
    join.mutable_join()->set_client(number);
    join.mutable_join()->set_max_inline_bytes(max_inline_bytes);
    stub_->async()->Session(&context_, this);
    StartRead(&incoming_);
    Send(std::move(join));
    StartCall();
  }

  void Send(v1::ClientMessage message) {
    const MutexLock lock(&mutex_);
    queue_.push_back(std::move(message));
    if (queue_.size() == 1) StartWrite(&queue_.front());
  }
  void OnWriteDone(bool ok) override {
    const MutexLock lock(&mutex_);
    queue_.pop_front();
    if (ok && !queue_.empty()) StartWrite(&queue_.front());
  }
  void OnReadDone(bool ok) override {
    if (!ok) return;
    if (incoming_.has_welcome()) {
      federation_ = incoming_.welcome().federation();
      heartbeat_seconds = incoming_.welcome().heartbeat_seconds();
    }
    if (incoming_.has_offer()) {
      v1::ClientMessage accept;
      accept.mutable_accept()->set_round(incoming_.offer().round());
      Send(std::move(accept));
    }
    // Transfers block: they have threads of their own.
    if (incoming_.has_offer() && !incoming_.offer().model().data().empty()) {
      Submit(incoming_.offer());
    } else if (incoming_.has_offer())
      std::thread([this, offer = incoming_.offer()] { Take(offer); }).detach();
    if (incoming_.has_permit()) std::thread([this] { HandIn(); }).detach();
    StartRead(&incoming_);
  }
  void OnDone(const grpc::Status& status) override {
    std::fprintf(stderr, "client %d: the session ended: %s\n", number_, status.error_message().c_str());
  }

 private:
  void Take(const v1::Offer& offer) {
    v1::DownloadRequest request;
    request.set_federation(federation_);
    request.set_client(number_);
    request.set_sha256(offer.model().sha256());
    bytes_.clear();
    bytes_.reserve(static_cast<size_t>(offer.model().size()));
    const grpc::Status status = Receive(*stub_, request, bytes_);
    if (!status.ok())
      std::fprintf(stderr, "client %d: download: %s\n", number_, status.error_message().c_str());
    sha256_ = offer.model().sha256();
    v1::ClientMessage ready;
    ready.mutable_ready()->set_round(offer.round());
    ready.mutable_ready()->set_size(static_cast<int64_t>(bytes_.size()));
    ready.mutable_ready()->set_content_sha256(sha256_);
    round_ = offer.round();
    Send(std::move(ready));
  }
  void Submit(const v1::Offer& offer) {
    round_ = offer.round();
    bytes_ = offer.model().data();
    sha256_ = offer.model().sha256();
    v1::ClientMessage message;
    *message.mutable_submit()->mutable_header() = Header();
    message.mutable_submit()->set_data(bytes_);
    Send(std::move(message));
  }
  v1::UploadHeader Header() const {
    v1::UploadHeader header;
    header.set_federation(federation_);
    header.set_round(round_);
    header.set_client(number_);
    header.set_content_sha256(sha256_);
    header.set_payload_size(static_cast<int64_t>(bytes_.size()));
    header.set_num_samples(1);
    return header;
  }
  void HandIn() {
    const grpc::Status status = Transmit(*stub_, Header(), bytes_);
    if (!status.ok())
      std::fprintf(stderr, "client %d: upload: %s\n", number_, status.error_message().c_str());
  }

  const std::unique_ptr<v1::Federation::Stub> stub_;
  const int number_;
  grpc::ClientContext context_;
  v1::ServerMessage incoming_;
  std::string federation_;
  std::string bytes_, sha256_;
  int64_t round_ = 0;
  Mutex mutex_;
  std::deque<v1::ClientMessage> queue_ ABSL_GUARDED_BY(mutex_);
};

class BareDownload final : public grpc::ServerWriteReactor<grpc::ByteBuffer> {
 public:
  explicit BareDownload(int64_t bytes)
      : left_(bytes), data_(std::make_shared<const std::string>(kMaxChunkBytes, 'x')) {
    const std::vector<SharedBytes> piece = {{*data_, data_}};
    chunk_ = EncodeChunk(piece);
    Next();
  }
  void OnWriteDone(bool ok) override { ok ? Next() : Finish(grpc::Status::CANCELLED); }
  void OnDone() override { delete this; }

 private:
  void Next() {
    if (left_ <= 0) return Finish(grpc::Status::OK);
    left_ -= static_cast<int64_t>(kMaxChunkBytes);
    sent_ = chunk_;
    StartWrite(&sent_);
  }
  int64_t left_;
  const std::shared_ptr<const std::string> data_;
  grpc::ByteBuffer chunk_, sent_;
};

class BareUpload final : public grpc::ServerReadReactor<grpc::ByteBuffer> {
 public:
  explicit BareUpload(grpc::ByteBuffer* response) {
    const grpc::Slice empty;
    *response = grpc::ByteBuffer(&empty, 1);
    StartRead(&incoming_);
  }
  void OnReadDone(bool ok) override { ok ? StartRead(&incoming_) : Finish(grpc::Status::OK); }
  void OnDone() override { delete this; }

 private:
  grpc::ByteBuffer incoming_;
};

}  // namespace

int Load(const std::string& address, const std::string& certs, int clients, int channels,
         int64_t max_inline_bytes) {
  std::vector<std::shared_ptr<grpc::Channel>> connections;
  for (int k = 0; k < channels; ++k) connections.push_back(Connect(address, certs, k));
  std::vector<std::unique_ptr<Client>> all;
  for (int k = 0; k < clients; ++k) {
    all.push_back(
        std::make_unique<Client>(connections[static_cast<size_t>(k % channels)], k, max_inline_bytes));
  }
  while (true) {  // until the benchmark kills this process
    std::this_thread::sleep_for(std::chrono::duration<double>(heartbeat_seconds.load()));
    v1::ClientMessage heartbeat;
    heartbeat.mutable_heartbeat()->set_clock_ms(1);
    for (const auto& client : all) client->Send(heartbeat);
  }
}

grpc::ServerWriteReactor<grpc::ByteBuffer>* BareService::Download(grpc::CallbackServerContext* /*context*/,
                                                                  const grpc::ByteBuffer* request) {
  grpc::Slice bytes;
  v1::DownloadRequest parsed;
  if (request->DumpToSingleSlice(&bytes).ok())
    (void)parsed.ParseFromArray(bytes.begin(), static_cast<int>(bytes.size()));
  return new BareDownload(parsed.offset());
}

grpc::ServerReadReactor<grpc::ByteBuffer>* BareService::Upload(grpc::CallbackServerContext* /*context*/,
                                                               grpc::ByteBuffer* response) {
  return new BareUpload(response);
}

void MoveBare(const std::string& address, const std::string& certs, int client, int64_t bytes) {
  const auto stub = v1::Federation::NewStub(Connect(address, certs, client));
  v1::DownloadRequest request;
  request.set_offset(bytes);
  std::string received;
  received.reserve(static_cast<size_t>(bytes) + kMaxChunkBytes);
  grpc::Status status = Receive(*stub, request, received);
  if (status.ok()) status = Transmit(*stub, {}, received);
  if (!status.ok()) std::fprintf(stderr, "bare stream: %s\n", status.error_message().c_str());
}

}  // namespace muster::bench
