// Files, with errors that name them.
#ifndef MUSTER_CORE_FILE_H_
#define MUSTER_CORE_FILE_H_

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

}  // namespace muster

#endif  // MUSTER_CORE_FILE_H_
