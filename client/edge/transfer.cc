#include "client/edge/transfer.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/str_cat.h"
#include "core/file.h"
#include "core/hash.h"
#include "core/transport/chunk.h"

namespace muster::edge {
namespace {

grpc::Status DiskError(const std::string& path) {
  return {grpc::StatusCode::RESOURCE_EXHAUSTED, absl::StrCat(path, ": cannot write: ", std::strerror(errno))};
}

// Whether the file at `path` is what `sha256` names.
bool Holds(const std::string& path, std::string_view sha256) {
  const auto file = MappedFile::Open(path);
  return file.ok() && Sha256((*file)->bytes()) == sha256;
}

}  // namespace

// Lends its context to the transfer for one call, so that Cancel reaches it.
class Transfer::Call {
 public:
  explicit Call(Transfer& transfer) : transfer_(transfer) {
    const MutexLock lock(&transfer_.mutex_);
    transfer_.context_ = &context_;
    if (transfer_.cancelled_) context_.TryCancel();
  }
  ~Call() {
    const MutexLock lock(&transfer_.mutex_);
    transfer_.context_ = nullptr;
  }
  Call(const Call&) = delete;
  Call& operator=(const Call&) = delete;

  grpc::ClientContext* context() { return &context_; }

 private:
  Transfer& transfer_;
  grpc::ClientContext context_;
};

Transfer::Transfer(const std::shared_ptr<grpc::Channel>& channel) : stub_(v1::Federation::NewStub(channel)) {}

void Transfer::Cancel() {
  const MutexLock lock(&mutex_);
  cancelled_ = true;
  if (context_ != nullptr) context_->TryCancel();
}

grpc::Status Transfer::Download(v1::DownloadRequest request, int64_t size, const std::string& path) {
  if (Holds(path, request.sha256())) return grpc::Status::OK;
  const std::string part = path + ".part";
  const int fd = ::open(part.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
  if (fd < 0) return DiskError(part);
  const absl::Cleanup close = [fd] { ::close(fd); };
  struct stat info {};
  if (::fstat(fd, &info) != 0) return DiskError(part);
  int64_t have = info.st_size;
  if (have > size) {
    if (::ftruncate(fd, 0) != 0) return DiskError(part);
    have = 0;
  }
  if (have < size) {
    request.set_offset(have);
    Call call(*this);
    const auto reader = stub_->Download(call.context(), request);
    grpc::Status failure;
    v1::Chunk chunk;
    while (failure.ok() && reader->Read(&chunk)) {
      const std::string_view data = chunk.data();
      if (Crc32c(data) != chunk.crc32c()) {
        failure = {grpc::StatusCode::DATA_LOSS, "a chunk does not match its checksum"};
      } else if (static_cast<int64_t>(data.size()) > size - have) {
        failure = {grpc::StatusCode::DATA_LOSS, "more bytes came than were announced"};
      } else if (!WriteAt(fd, std::span(&data, 1), have)) {
        failure = DiskError(part);
      } else {
        have += static_cast<int64_t>(data.size());
        moved_ += static_cast<int64_t>(data.size());
      }
    }
    if (!failure.ok()) call.context()->TryCancel();
    grpc::Status status = reader->Finish();
    if (!failure.ok()) return failure;
    if (!status.ok()) return status;
    if (have < size) return {grpc::StatusCode::DATA_LOSS, "the stream ended before the last byte"};
  }
  if (!Holds(part, request.sha256())) {
    ::unlink(part.c_str());
    return {grpc::StatusCode::DATA_LOSS,
            "the bytes that came are not those that were announced (SHA-256 differs)"};
  }
  return ::rename(part.c_str(), path.c_str()) == 0 ? grpc::Status::OK : DiskError(path);
}

grpc::Status Transfer::Upload(v1::UploadHeader header, std::string_view bytes, int64_t chunk_bytes) {
  const auto size = static_cast<int64_t>(bytes.size());
  {
    v1::Offset offset;
    Call call(*this);
    grpc::Status status = stub_->UploadOffset(call.context(), header, &offset);
    if (!status.ok()) return status;
    header.set_offset(std::clamp<int64_t>(offset.offset(), 0, size));
  }
  v1::Receipt receipt;
  Call call(*this);
  const auto writer = stub_->Upload(call.context(), &receipt);
  v1::UploadMessage message;
  *message.mutable_header() = header;
  bool open = writer->Write(message);
  for (int64_t at = header.offset(); open && at < size;) {
    const std::string_view data = bytes.substr(at, std::min(size - at, chunk_bytes));
    v1::Chunk& chunk = *message.mutable_chunk();
    chunk.set_data(data.data(), data.size());
    chunk.set_crc32c(Crc32c(data));
    open = writer->Write(message);
    if (open) moved_ += static_cast<int64_t>(data.size());
    at += static_cast<int64_t>(data.size());
  }
  writer->WritesDone();
  grpc::Status status = writer->Finish();
  if (!status.ok() || receipt.complete()) return status;
  return {grpc::StatusCode::DATA_LOSS,
          absl::StrCat("the coordinator has ", receipt.received(), " of ", size, " bytes")};
}

}  // namespace muster::edge
