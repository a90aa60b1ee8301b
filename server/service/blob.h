// What clients download: immutable bytes, named by their content hash.
#ifndef MUSTER_SERVER_SERVICE_BLOB_H_
#define MUSTER_SERVER_SERVICE_BLOB_H_

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "compression/payload.h"
#include "core/parameters.h"
#include "core/transport/chunk.h"

namespace muster {

// Bytes in pieces that are shared with their makers, not copied: the model that the engine holds is the
// memory that is sent. Immutable, so thread-safe.
class Blob {
 public:
  // Hashes the pieces: a pass over the bytes.
  explicit Blob(std::vector<SharedBytes> pieces);

  const std::string& sha256() const { return sha256_; }  // 32 bytes
  int64_t size() const { return size_; }
  // At most `length` bytes from `offset` on, as views; fewer only at the end. 0 <= offset <= size().
  std::vector<SharedBytes> Range(int64_t offset, int64_t length) const;
  // All of them, copied.
  std::string Bytes() const;

 private:
  std::vector<SharedBytes> pieces_;
  std::string sha256_;
  int64_t size_ = 0;
};

// The model as a payload of codec identity: header and float32 values.
std::shared_ptr<const Blob> ModelBlob(const Layout& layout, std::shared_ptr<const std::vector<float>> model);
// A payload as it is.
std::shared_ptr<const Blob> PayloadBlob(std::shared_ptr<const Payload> payload);
// The values alone, little-endian float32.
std::shared_ptr<const Blob> VectorBlob(std::shared_ptr<const std::vector<float>> values);

using BlobsByHash = std::map<std::string, std::shared_ptr<const Blob>>;

}  // namespace muster

#endif  // MUSTER_SERVER_SERVICE_BLOB_H_
