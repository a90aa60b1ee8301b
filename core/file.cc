#include "core/file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>
#include <zlib.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <filesystem>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/str_cat.h"

namespace muster {
namespace {

absl::Status FileError(const std::string& path, const char* action) {
  const int error = errno;
  const std::string message = absl::StrCat(path, ": cannot ", action, ": ", std::strerror(error));
  return error == ENOENT ? absl::NotFoundError(message) : absl::InvalidArgumentError(message);
}

absl::Status SyncFolderOf(const std::string& path) {
  const std::string folder = std::filesystem::path(path).parent_path().string();
  const int fd = ::open(folder.empty() ? "." : folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return FileError(folder, "open");
  const absl::Cleanup close = [fd] { ::close(fd); };
  return ::fsync(fd) == 0 ? absl::OkStatus() : FileError(folder, "sync");
}

absl::StatusOr<std::string> Gunzip(const std::string& path, std::string_view packed, size_t max_bytes) {
  z_stream stream{};
  if (inflateInit2(&stream, 15 + 16) != Z_OK) return absl::InternalError("zlib does not start");
  const absl::Cleanup end = [&stream] { inflateEnd(&stream); };
  std::string out;
  size_t taken = 0;
  int code = Z_OK;
  std::string chunk(size_t{1} << 20, '\0');
  while (true) {
    if (stream.avail_in == 0 && taken < packed.size()) {
      const size_t give = std::min(packed.size() - taken, size_t{1} << 30);
      stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(packed.data() + taken));
      stream.avail_in = static_cast<uInt>(give);
      taken += give;
    }
    stream.next_out = reinterpret_cast<Bytef*>(chunk.data());
    stream.avail_out = static_cast<uInt>(chunk.size());
    code = inflate(&stream, Z_NO_FLUSH);
    out.append(chunk.data(), chunk.size() - stream.avail_out);
    if (out.size() > max_bytes) {
      return InvalidInput(absl::StrCat(path, ": unpacks to more than ", max_bytes, " bytes"));
    }
    if (code == Z_STREAM_END) {
      // Concatenated members are one file, as gzip(1) has it.
      if (stream.avail_in == 0 && taken == packed.size()) return out;
      if (inflateReset(&stream) != Z_OK) break;
      continue;
    }
    if (code != Z_OK || (stream.avail_in == 0 && taken == packed.size() && stream.avail_out != 0)) break;
  }
  return InvalidInput(absl::StrCat(path, ": damaged gzip data (",
                                   code == Z_DATA_ERROR ? "corrupt" : "cut off", " after ", out.size(),
                                   " unpacked bytes); get the file anew"));
}

}  // namespace

absl::StatusOr<std::string> ReadFile(const std::string& path) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return FileError(path, "open");
  const absl::Cleanup close = [fd] { ::close(fd); };
  struct stat info {};
  if (::fstat(fd, &info) != 0) return FileError(path, "examine");
  if (S_ISDIR(info.st_mode)) return InvalidInput(absl::StrCat(path, ": is a folder, a file is needed"));
  std::string bytes;
  bytes.reserve(static_cast<size_t>(info.st_size));
  std::string chunk(size_t{1} << 20, '\0');
  while (true) {
    const ssize_t got = ::read(fd, chunk.data(), chunk.size());
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return FileError(path, "read");
    if (got == 0) return bytes;
    bytes.append(chunk.data(), static_cast<size_t>(got));
  }
}

absl::StatusOr<std::string> ReadMaybeGzip(const std::string& path, size_t max_bytes) {
  MUSTER_ASSIGN_OR_RETURN(std::string bytes, ReadFile(path));
  if (bytes.size() < 2 || bytes[0] != '\x1f' || bytes[1] != '\x8b') return bytes;
  return Gunzip(path, bytes, max_bytes);
}

absl::Status WriteFileAtomic(const std::string& path, std::string_view bytes, bool sync) {
  return WriteFileAtomic(path, std::span<const std::string_view>(&bytes, 1), sync);
}

bool WriteAt(int file, std::span<const std::string_view> pieces, int64_t offset) {
  constexpr size_t kMost = 256;  // of Linux's 1024
  std::array<iovec, kMost> parts;
  size_t skip = 0;  // bytes of the first piece that are written
  while (!pieces.empty()) {
    const size_t count = std::min(pieces.size(), kMost);
    for (size_t i = 0; i < count; ++i) {
      const std::string_view left = i == 0 ? pieces[i].substr(skip) : pieces[i];
      parts[i] = {.iov_base = const_cast<char*>(left.data()), .iov_len = left.size()};
    }
    const ssize_t written = ::pwritev(file, parts.data(), static_cast<int>(count), offset);
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return false;
    offset += written;
    skip += static_cast<size_t>(written);
    while (!pieces.empty() && skip >= pieces.front().size()) {
      skip -= pieces.front().size();
      pieces = pieces.subspan(1);
    }
  }
  return true;
}

absl::Status WriteFileAtomic(const std::string& path, std::span<const std::string_view> pieces, bool sync) {
  // The process id keeps two processes that write the same file apart; the rename decides which one stays.
  const std::string aside = absl::StrCat(path, ".", ::getpid(), ".tmp");
  const int fd = ::open(aside.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  if (fd < 0) return FileError(path, "write");
  const bool good = WriteAt(fd, pieces, 0) && (!sync || ::fsync(fd) == 0);
  const absl::Status status = good ? absl::OkStatus() : FileError(path, "write");
  ::close(fd);
  if (!status.ok() || ::rename(aside.c_str(), path.c_str()) != 0) {
    absl::Status result = status.ok() ? FileError(path, "write") : status;
    ::unlink(aside.c_str());
    return result;
  }
  return sync ? SyncFolderOf(path) : absl::OkStatus();
}

absl::StatusOr<std::shared_ptr<const MappedFile>> MappedFile::Open(const std::string& path) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return FileError(path, "open");
  const absl::Cleanup close = [fd] { ::close(fd); };
  struct stat info {};
  if (::fstat(fd, &info) != 0) return FileError(path, "examine");
  if (S_ISDIR(info.st_mode)) return InvalidInput(absl::StrCat(path, ": is a folder, a file is needed"));
  const auto size = static_cast<size_t>(info.st_size);
  const char* data = "";
  if (size > 0) {  // there is no empty mapping
    void* mapped = ::mmap(nullptr, size, PROT_READ, MAP_SHARED, fd, 0);
    if (mapped == MAP_FAILED) return FileError(path, "map");
    data = static_cast<const char*>(mapped);
  }
  return std::shared_ptr<const MappedFile>(new MappedFile(data, size));
}

MappedFile::~MappedFile() {
  if (size_ > 0) ::munmap(const_cast<char*>(data_), size_);
}

void MappedFile::Release(size_t bytes) const {
  const auto page = static_cast<size_t>(::sysconf(_SC_PAGESIZE));
  if (const size_t whole = std::min(bytes, size_) / page * page; whole > 0) {
    ::madvise(const_cast<char*>(data_), whole, MADV_DONTNEED);
  }
}

}  // namespace muster
