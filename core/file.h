// Files, with errors that name them.
#ifndef MUSTER_CORE_FILE_H_
#define MUSTER_CORE_FILE_H_

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "core/status.h"

namespace muster {

// NOT_FOUND if there is no such file, INVALID_ARGUMENT if it cannot be read (a folder, permissions).
absl::StatusOr<std::string> ReadFile(const std::string& path);
// Reads a file; if it starts with gzip's magic, what it unpacks to. INVALID_ARGUMENT "PATH: damaged gzip data
// ..." for truncated or corrupt data, or if more than `max_bytes` would come out.
absl::StatusOr<std::string> ReadMaybeGzip(const std::string& path, size_t max_bytes = size_t{16} << 30);
// The file at `path` is either the old or the new one, never a part: written aside, then renamed. With `sync`
// it is also durable over a power cut (file and folder are fsynced).
absl::Status WriteFileAtomic(const std::string& path, std::string_view bytes, bool sync = false);
// The same with the content in pieces, one behind the other: large content need not be put together in
// memory.
absl::Status WriteFileAtomic(const std::string& path, std::span<const std::string_view> pieces,
                             bool sync = false);

// Writes all pieces, one behind the other, from byte `offset` of an open file on, in few calls. False, with
// errno, where the file takes no more: some of the bytes may be there then.
bool WriteAt(int file, std::span<const std::string_view> pieces, int64_t offset);

// A file as read-only memory: pages come in when they are read and cost nothing of their own.
class MappedFile {
 public:
  // NOT_FOUND if there is no such file, INVALID_ARGUMENT if it cannot be read. The file must not be cut short
  // while it is mapped; it may be unlinked.
  static absl::StatusOr<std::shared_ptr<const MappedFile>> Open(const std::string& path);
  ~MappedFile();
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  std::string_view bytes() const { return {data_, size_}; }
  // The first `bytes` bytes will not be read for now: their pages may leave memory (reading them brings them
  // back).
  void Release(size_t bytes) const;

 private:
  MappedFile(const char* data, size_t size) : data_(data), size_(size) {}

  const char* const data_;
  const size_t size_;
};

}  // namespace muster

#endif  // MUSTER_CORE_FILE_H_
