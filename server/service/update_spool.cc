#include "server/service/update_spool.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <optional>
#include <utility>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "core/transport/chunk.h"

namespace muster {
namespace {

namespace fs = std::filesystem;

constexpr char kComplete[] = ".update";
constexpr size_t kTrailerNumbers = 2 * sizeof(uint32_t);

absl::Status FileError(const std::string& path, const char* what) {
  const std::string message = absl::StrCat(path, ": cannot be ", what, ": ", std::strerror(errno));
  return errno == ENOSPC || errno == EDQUOT ? absl::ResourceExhaustedError(message)
                                            : absl::InternalError(message);
}

absl::Status SyncFolder(const std::string& path) {
  const int folder = open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (folder < 0) return FileError(path, "opened");
  const absl::Cleanup close_folder = [folder] { close(folder); };
  return fsync(folder) == 0 ? absl::OkStatus() : FileError(path, "synced");
}

std::string Trailer(const v1::UploadHeader& header) {
  std::string trailer = header.SerializeAsString();
  const uint32_t numbers[2] = {Crc32c(trailer), static_cast<uint32_t>(trailer.size())};
  trailer.append(reinterpret_cast<const char*>(numbers), sizeof numbers);
  return trailer;
}

// The complete update in the file; nullopt if it is not one (torn by a power cut, not ours).
std::optional<SpooledUpdate> ReadComplete(const std::string& path) {
  absl::StatusOr<std::shared_ptr<const MappedFile>> file = MappedFile::Open(path);
  if (!file.ok()) return std::nullopt;
  const std::string_view all = (*file)->bytes();
  if (all.size() < kTrailerNumbers) return std::nullopt;
  uint32_t numbers[2];
  std::memcpy(numbers, all.data() + all.size() - sizeof numbers, sizeof numbers);
  const size_t content_and_header = all.size() - kTrailerNumbers;
  if (numbers[1] > content_and_header) return std::nullopt;
  const std::string_view header = all.substr(content_and_header - numbers[1], numbers[1]);
  SpooledUpdate update;
  if (Crc32c(header) != numbers[0] ||
      !update.header.ParseFromArray(header.data(), static_cast<int>(header.size()))) {
    return std::nullopt;
  }
  const std::string_view content = all.substr(0, content_and_header - header.size());
  if (UploadSize(update.header) != static_cast<int64_t>(content.size()) ||
      Sha256(content) != update.header.content_sha256()) {
    return std::nullopt;
  }
  (*file)->Release(all.size());
  update.file = *std::move(file);
  return update;
}

}  // namespace

int64_t UploadSize(const v1::UploadHeader& header) {
  int64_t size = header.payload_size();
  for (const v1::Part& part : header.extras()) size += part.size();
  return size;
}

IncomingUpdate::IncomingUpdate(v1::UploadHeader header, std::string part, std::string path,
                               Durability durability)
    : size_(UploadSize(header)),
      part_(std::move(part)),
      path_(std::move(path)),
      durability_(durability),
      header_(std::move(header)) {}

IncomingUpdate::~IncomingUpdate() {
  const MutexLock lock(&mutex_);
  if (file_ >= 0) close(file_);
}

int64_t IncomingUpdate::received() const {
  const MutexLock lock(&mutex_);
  return received_;
}

bool IncomingUpdate::complete() const {
  const MutexLock lock(&mutex_);
  return complete_;
}

int64_t IncomingUpdate::Claim(const v1::UploadHeader& header, std::function<void()> abort) {
  const MutexLock lock(&mutex_);
  if (abort_) abort_();
  abort_ = std::move(abort);
  header_ = header;
  return ++writer_;
}

void IncomingUpdate::Revoke() {
  const MutexLock lock(&mutex_);
  if (abort_) abort_();
  abort_ = nullptr;
  ++writer_;
}

absl::Status IncomingUpdate::OpenFile() {
  if (file_ >= 0) return absl::OkStatus();
  file_ = open(part_.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  return file_ >= 0 ? absl::OkStatus() : FileError(part_, "written");
}

absl::Status IncomingUpdate::Restart() {
  received_ = 0;
  hash_ = Sha256Stream();
  if (ftruncate(file_, 0) != 0) return FileError(part_, "cut");
  return absl::OkStatus();
}

absl::Status IncomingUpdate::Append(int64_t writer, std::span<const std::string_view> pieces) {
  const MutexLock lock(&mutex_);
  if (writer != writer_) return absl::AbortedError("another upload of the same update has taken over");
  size_t size = 0;
  for (const std::string_view piece : pieces) size += piece.size();
  if (complete_ || static_cast<int64_t>(size) > size_ - received_) {
    return InvalidInput(absl::StrCat("more than the ", size_, " bytes that were announced"));
  }
  MUSTER_RETURN_IF_ERROR(OpenFile());
  return Write(pieces);
}

absl::Status IncomingUpdate::Write(std::span<const std::string_view> pieces) {
  if (!WriteAt(file_, pieces, received_)) return FileError(part_, "written");
  for (const std::string_view piece : pieces) {
    hash_.Update(piece);
    received_ += static_cast<int64_t>(piece.size());
  }
  return absl::OkStatus();
}

absl::Status IncomingUpdate::Put(const v1::UploadHeader& header, std::string_view data) {
  Claim(header, nullptr);
  const MutexLock lock(&mutex_);
  if (complete_) return absl::OkStatus();
  if (static_cast<int64_t>(data.size()) != size_) return InvalidInput("not as many bytes as were announced");
  MUSTER_RETURN_IF_ERROR(OpenFile());
  if (received_ > 0) MUSTER_RETURN_IF_ERROR(Restart());
  MUSTER_RETURN_IF_ERROR(Write(std::span(&data, 1)));
  return Complete();
}

absl::Status IncomingUpdate::Finish() {
  const MutexLock lock(&mutex_);
  abort_ = nullptr;  // the writer has said all: it is owed an answer
  return Complete();
}

absl::Status IncomingUpdate::Complete() {
  if (complete_) return absl::OkStatus();
  if (received_ != size_) return InternalError("an upload is finished before its end");
  MUSTER_RETURN_IF_ERROR(OpenFile());
  if (hash_.Digest() != header_.content_sha256()) {
    MUSTER_RETURN_IF_ERROR(Restart());
    return absl::DataLossError("the update's bytes do not have the hash that was announced");
  }
  const std::string trailer = Trailer(header_);
  const std::string_view end = trailer;
  if (!WriteAt(file_, std::span(&end, 1), size_)) return FileError(part_, "written");
  const bool sync = durability_ == Durability::kPower;
  if (sync && fsync(file_) != 0) return FileError(part_, "synced");
  if (rename(part_.c_str(), path_.c_str()) != 0) return FileError(path_, "named");
  if (sync) MUSTER_RETURN_IF_ERROR(SyncFolder(fs::path(path_).parent_path().string()));
  close(file_);
  file_ = -1;
  complete_ = true;
  return absl::OkStatus();
}

absl::StatusOr<SpooledUpdate> IncomingUpdate::Take() const {
  const MutexLock lock(&mutex_);
  if (!complete_) return InternalError("an upload is taken before it is complete");
  SpooledUpdate update{header_, nullptr};
  MUSTER_ASSIGN_OR_RETURN(update.file, MappedFile::Open(path_));
  return update;
}

absl::StatusOr<std::unique_ptr<UpdateSpool>> UpdateSpool::Open(const std::string& folder,
                                                               Durability durability) {
  std::error_code error;
  fs::create_directories(folder, error);
  if (error) return InvalidInput(absl::StrCat(folder, ": cannot be made: ", error.message()));
  return std::unique_ptr<UpdateSpool>(new UpdateSpool(folder, durability));
}

std::string UpdateSpool::RoundFolder(int64_t round) const {
  return absl::StrFormat("%s/round-%06d", folder_, round);
}

absl::StatusOr<std::shared_ptr<IncomingUpdate>> UpdateSpool::Begin(const v1::UploadHeader& header) const {
  const std::string folder = RoundFolder(header.round());
  std::error_code error;
  fs::create_directories(folder, error);
  if (error) return InternalError(absl::StrCat(folder, ": cannot be made: ", error.message()));
  const std::string name = absl::StrCat(folder, "/client-", header.client());
  // The name of unfinished content carries its hash: bytes of another content are no beginning of this one.
  const std::string part =
      absl::StrCat(name, "-", absl::BytesToHexString(header.content_sha256().substr(0, 8)), ".part");
  std::shared_ptr<IncomingUpdate> update(
      new IncomingUpdate(header, part, absl::StrCat(name, kComplete), durability_));
  if (!fs::exists(part, error)) return update;
  const MutexLock lock(&update->mutex_);
  MUSTER_RETURN_IF_ERROR(update->OpenFile());
  const absl::StatusOr<std::shared_ptr<const MappedFile>> mapped = MappedFile::Open(part);
  if (!mapped.ok() || static_cast<int64_t>((*mapped)->bytes().size()) > update->size_) {
    MUSTER_RETURN_IF_ERROR(update->Restart());
    return update;
  }
  update->hash_.Update((*mapped)->bytes());
  update->received_ = static_cast<int64_t>((*mapped)->bytes().size());
  return update;
}

absl::StatusOr<std::vector<SpooledUpdate>> UpdateSpool::Recover(int64_t round) const {
  std::error_code error;
  const std::string wanted = RoundFolder(round);
  for (const fs::directory_entry& entry : fs::directory_iterator(folder_, error)) {
    if (entry.path().string() != wanted) fs::remove_all(entry.path(), error);
  }
  std::vector<SpooledUpdate> updates;
  if (!fs::exists(wanted, error)) return updates;
  for (const fs::directory_entry& entry : fs::directory_iterator(wanted, error)) {
    if (entry.path().extension() != kComplete) continue;
    std::optional<SpooledUpdate> update = ReadComplete(entry.path().string());
    if (update && update->header.round() == round) {
      updates.push_back(*std::move(update));
    } else {
      fs::remove(entry.path(), error);
    }
  }
  if (error) return InternalError(absl::StrCat(wanted, ": cannot be read: ", error.message()));
  return updates;
}

void UpdateSpool::Remove(int64_t round) const {
  std::error_code ignored;
  fs::remove_all(RoundFolder(round), ignored);
}

}  // namespace muster
