// SHA-256, for content names of files and `model_sha256`.
#ifndef MUSTER_CORE_HASH_H_
#define MUSTER_CORE_HASH_H_

#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <string_view>

namespace muster {

// 32 raw bytes.
std::string Sha256(std::string_view bytes);
std::string Sha256(std::span<const std::string_view> pieces);  // of the pieces, one behind the other
// Of bytes that come piece by piece. Not thread-safe.
class Sha256Stream {
 public:
  Sha256Stream();
  void Update(std::string_view bytes);
  // 32 raw bytes: of everything so far.
  std::string Digest() const;

 private:
  std::unique_ptr<void, void (*)(void*)> context_;
};
// 64 lower-case hexadecimal digits.
std::string Sha256Hex(std::string_view bytes);
std::string Sha256Hex(std::span<const std::string_view> pieces);
// The hash of a flat model: SHA-256 over its little-endian float32 bytes, in hexadecimal.
std::string ModelSha256(std::span<const float> model);

}  // namespace muster

#endif  // MUSTER_CORE_HASH_H_
