#include "server/service/federation_service.h"

#include <deque>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/mutex.h"
#include "core/transport/chunk.h"
#include "core/transport/credentials.h"

namespace muster {
namespace {

// Small messages that a client has not read yet. One that lets more pile up is as good as dead.
constexpr size_t kMaxQueued = 256;

grpc::ByteBuffer Serialize(const google::protobuf::MessageLite& message) {
  const grpc::Slice slice(message.SerializeAsString());
  return {&slice, 1};
}

template <typename Message>
bool Parse(const grpc::ByteBuffer& buffer, Message& message) {
  grpc::Slice slice;
  return buffer.DumpToSingleSlice(&slice).ok() &&
         message.ParseFromArray(slice.begin(), static_cast<int>(slice.size()));
}

// One Session stream. Keeps itself alive until gRPC is done with it; the pool's references may outlive that.
class SessionStream final : public grpc::ServerBidiReactor<v1::ClientMessage, v1::ServerMessage>,
                            public ClientLink,
                            public std::enable_shared_from_this<SessionStream> {
 public:
  SessionStream(RemoteClientPool& pool, grpc::CallbackServerContext* context, Peer peer)
      : ClientLink(std::move(peer)), pool_(pool), context_(context) {}

  void Start() {
    self_ = shared_from_this();
    pool_.Opened(self_);
    StartRead(&incoming_);
  }

  void Send(v1::ServerMessage message) override {
    const MutexLock lock(&mutex_);
    if (end_ || finished_) return;
    if (queue_.size() >= kMaxQueued) {
      end_ = grpc::Status(grpc::StatusCode::UNAVAILABLE, "the client does not read its messages");
      context_->TryCancel();
      return;
    }
    queue_.push_back(std::move(message));
    GoOn();
  }

  void Close(const absl::Status& status, bool at_once) override {
    const MutexLock lock(&mutex_);
    if (end_ || finished_) return;
    end_ = ToGrpc(status);
    if (at_once && writing_) {
      context_->TryCancel();  // the write in flight fails, and the stream ends with it
    } else {
      if (at_once) {
        lost_ = lost_ || !queue_.empty();
        queue_.clear();
      }
      GoOn();
    }
  }

  void OnReadDone(bool ok) override {
    if (!ok) return Close(absl::OkStatus(), /*at_once=*/true);
    pool_.Received(self_, incoming_);
    const MutexLock lock(&mutex_);
    if (!finished_) StartRead(&incoming_);
  }
  void OnWriteDone(bool ok) override {
    const MutexLock lock(&mutex_);
    writing_ = false;
    if (ok) return GoOn();
    lost_ = true;
    queue_.clear();
    if (!end_) end_ = grpc::Status::CANCELLED;
    GoOn();
  }
  void OnCancel() override {
    const MutexLock lock(&mutex_);
    lost_ = lost_ || !queue_.empty();
    queue_.clear();
    if (!end_) end_ = grpc::Status::CANCELLED;
    GoOn();
  }
  void OnDone() override {
    bool heard_all = false;
    {
      const MutexLock lock(&mutex_);
      heard_all = !lost_;
    }
    pool_.Closed(self_, heard_all);
    const std::shared_ptr<SessionStream> last = std::move(self_);
  }

 private:
  // Writes what is next, or finishes when there is nothing left and the end was asked for.
  void GoOn() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    if (writing_ || finished_) return;
    if (!queue_.empty()) {
      outgoing_ = std::move(queue_.front());
      queue_.pop_front();
      writing_ = true;
      StartWrite(&outgoing_);
    } else if (end_) {
      finished_ = true;
      Finish(*end_);
    }
  }

  RemoteClientPool& pool_;
  grpc::CallbackServerContext* const context_;
  std::shared_ptr<SessionStream> self_;
  v1::ClientMessage incoming_;
  Mutex mutex_;
  v1::ServerMessage outgoing_ ABSL_GUARDED_BY(mutex_);
  std::deque<v1::ServerMessage> queue_ ABSL_GUARDED_BY(mutex_);
  std::optional<grpc::Status> end_ ABSL_GUARDED_BY(mutex_);
  bool lost_ ABSL_GUARDED_BY(mutex_) = false;  // something that was to be sent
  bool writing_ ABSL_GUARDED_BY(mutex_) = false;
  bool finished_ ABSL_GUARDED_BY(mutex_) = false;
};

class DownloadStream final : public grpc::ServerWriteReactor<grpc::ByteBuffer> {
 public:
  DownloadStream(RemoteClientPool& pool, ClientId client, std::shared_ptr<const Blob> blob, int64_t offset)
      : pool_(pool), client_(client), blob_(std::move(blob)), at_(offset) {
    Next();
  }

  void OnWriteDone(bool ok) override {
    if (!ok) return Finish(grpc::Status::CANCELLED);
    const absl::Status wanted = pool_.Downloaded(client_, *blob_, written_);
    if (!wanted.ok()) return Finish(ToGrpc(wanted));
    Next();
  }
  void OnDone() override { delete this; }

 private:
  void Next() {
    const std::vector<SharedBytes> pieces = blob_->Range(at_, kMaxChunkBytes);
    if (pieces.empty()) return Finish(grpc::Status::OK);
    written_ = 0;
    for (const SharedBytes& piece : pieces) written_ += static_cast<int64_t>(piece.bytes.size());
    at_ += written_;
    chunk_ = EncodeChunk(pieces);
    StartWrite(&chunk_);
  }

  RemoteClientPool& pool_;
  const ClientId client_;
  const std::shared_ptr<const Blob> blob_;
  int64_t at_;           // where the next chunk starts
  int64_t written_ = 0;  // bytes of the chunk in flight
  grpc::ByteBuffer chunk_;
};

// Keeps itself alive until gRPC is done with it; the pool may hold on to it for longer, to abort it.
class UploadStream final : public grpc::ServerReadReactor<grpc::ByteBuffer>,
                           public std::enable_shared_from_this<UploadStream> {
 public:
  UploadStream(RemoteClientPool& pool, Peer peer, grpc::CallbackServerContext* context,
               grpc::ByteBuffer* response)
      : pool_(pool), peer_(std::move(peer)), context_(context), response_(response) {}

  void Start() {
    self_ = shared_from_this();
    StartRead(&incoming_);
  }

  void OnReadDone(bool ok) override {
    if (!ok) return End(absl::OkStatus());  // the client has said all
    const absl::Status taken = Take();
    if (!taken.ok()) return End(taken);
    StartRead(&incoming_);
  }
  void OnDone() override {
    {
      const MutexLock lock(&mutex_);
      context_ = nullptr;
    }
    const std::shared_ptr<UploadStream> last = std::move(self_);
  }

 private:
  void Abort() {
    const MutexLock lock(&mutex_);
    if (context_ != nullptr) context_->TryCancel();
  }

  absl::Status Take() {
    MUSTER_ASSIGN_OR_RETURN(const ReceivedUploadMessage message, DecodeUploadMessage(incoming_));
    incoming_.Clear();
    if (const auto* chunk = std::get_if<ReceivedChunk>(&message); chunk != nullptr) {
      if (!begun_) return InvalidInput("an upload begins with its header");
      return update_ == nullptr ? absl::OkStatus() : update_->Append(writer_, chunk->pieces);
    }
    if (begun_) return InvalidInput("an upload has one header");
    begun_ = true;
    if (!header_.ParseFromString(std::get<std::string>(message)))
      return InvalidInput("the upload's header is malformed");
    MUSTER_ASSIGN_OR_RETURN(update_, pool_.Upload(peer_, header_));
    if (update_ == nullptr) return absl::OkStatus();  // all of it is here already
    writer_ = update_->Claim(header_, [weak = weak_from_this()] {
      if (const auto stream = weak.lock()) stream->Abort();
    });
    if (header_.offset() == update_->received()) return absl::OkStatus();
    return absl::UnavailableError(absl::StrCat("the upload goes on at byte ", update_->received(),
                                               ", not at byte ", header_.offset(), "; ask UploadOffset"));
  }

  void End(absl::Status status) {
    if (status.ok() && !begun_) status = InvalidInput("an upload without a header");
    v1::Receipt receipt;
    if (status.ok() && update_ != nullptr) {
      receipt.set_received(update_->received());
      receipt.set_complete(receipt.received() == update_->size());
      if (receipt.complete()) status = pool_.Uploaded(header_, update_);
    } else if (status.ok()) {
      receipt.set_received(UploadSize(header_));
      receipt.set_complete(true);
    }
    *response_ = Serialize(receipt);
    Finish(ToGrpc(status));
  }

  RemoteClientPool& pool_;
  const Peer peer_;
  Mutex mutex_;
  grpc::CallbackServerContext* context_ ABSL_GUARDED_BY(mutex_);
  grpc::ByteBuffer* const response_;
  std::shared_ptr<UploadStream> self_;
  grpc::ByteBuffer incoming_;
  v1::UploadHeader header_;
  bool begun_ = false;
  std::shared_ptr<IncomingUpdate> update_;
  int64_t writer_ = 0;
};

// A call that ends at once.
template <typename Reactor>
class Ended final : public Reactor {
 public:
  explicit Ended(const absl::Status& status) { this->Finish(ToGrpc(status)); }
  void OnDone() override { delete this; }
};

}  // namespace

absl::StatusOr<Peer> AuthenticateNobody(const grpc::ServerContextBase& context) {
  return Peer{.identity = {}, .address = context.peer()};
}

absl::StatusOr<Peer> AuthenticateByTls(const grpc::ServerContextBase& context) {
  Peer peer{.identity = {}, .address = context.peer()};
  MUSTER_ASSIGN_OR_RETURN(peer.identity, PeerIdentity(context));
  return peer;
}

grpc::Status ToGrpc(const absl::Status& status) {
  return {static_cast<grpc::StatusCode>(status.code()), Message(status)};
}

FederationService::FederationService(RemoteClientPool& pool, Authenticate authenticate)
    : pool_(pool), authenticate_(std::move(authenticate)) {}

grpc::ServerBidiReactor<v1::ClientMessage, v1::ServerMessage>* FederationService::Session(
    grpc::CallbackServerContext* context) {
  absl::StatusOr<Peer> peer = authenticate_(*context);
  if (!peer.ok())
    return new Ended<grpc::ServerBidiReactor<v1::ClientMessage, v1::ServerMessage>>(peer.status());
  const auto stream = std::make_shared<SessionStream>(pool_, context, *std::move(peer));
  stream->Start();
  return stream.get();
}

grpc::ServerWriteReactor<grpc::ByteBuffer>* FederationService::Download(grpc::CallbackServerContext* context,
                                                                        const grpc::ByteBuffer* request) {
  const auto open = [&]() -> absl::StatusOr<grpc::ServerWriteReactor<grpc::ByteBuffer>*> {
    MUSTER_ASSIGN_OR_RETURN(const Peer peer, authenticate_(*context));
    v1::DownloadRequest parsed;
    if (!Parse(*request, parsed)) return InvalidInput("the request is malformed");
    MUSTER_ASSIGN_OR_RETURN(std::shared_ptr<const Blob> blob, pool_.Download(peer, parsed));
    return new DownloadStream(pool_, parsed.client(), std::move(blob), parsed.offset());
  };
  absl::StatusOr<grpc::ServerWriteReactor<grpc::ByteBuffer>*> stream = open();
  return stream.ok() ? *stream : new Ended<grpc::ServerWriteReactor<grpc::ByteBuffer>>(stream.status());
}

grpc::ServerReadReactor<grpc::ByteBuffer>* FederationService::Upload(grpc::CallbackServerContext* context,
                                                                     grpc::ByteBuffer* response) {
  absl::StatusOr<Peer> peer = authenticate_(*context);
  if (!peer.ok()) return new Ended<grpc::ServerReadReactor<grpc::ByteBuffer>>(peer.status());
  const auto stream = std::make_shared<UploadStream>(pool_, *std::move(peer), context, response);
  stream->Start();
  return stream.get();
}

grpc::ServerUnaryReactor* FederationService::UploadOffset(grpc::CallbackServerContext* context,
                                                          const v1::UploadHeader* request,
                                                          v1::Offset* response) {
  const auto ask = [&]() -> absl::StatusOr<int64_t> {
    MUSTER_ASSIGN_OR_RETURN(const Peer peer, authenticate_(*context));
    return pool_.UploadOffset(peer, *request);
  };
  const absl::StatusOr<int64_t> offset = ask();
  if (offset.ok()) response->set_offset(*offset);
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  reactor->Finish(ToGrpc(offset.status()));
  return reactor;
}

}  // namespace muster
