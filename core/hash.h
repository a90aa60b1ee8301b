// SHA-256, for content names of files and `model_sha256`.
#ifndef MUSTER_CORE_HASH_H_
#define MUSTER_CORE_HASH_H_

#include <cstddef>
#include <span>
#include <string>
#include <string_view>

namespace muster {

// 32 raw bytes.
std::string Sha256(std::string_view bytes);
std::string Sha256(std::span<const std::string_view> pieces);  // of the pieces, one behind the other
// 64 lower-case hexadecimal digits.
std::string Sha256Hex(std::string_view bytes);
std::string Sha256Hex(std::span<const std::string_view> pieces);
// The hash of a flat model: SHA-256 over its little-endian float32 bytes, in hexadecimal.
std::string ModelSha256(std::span<const float> model);

}  // namespace muster

#endif  // MUSTER_CORE_HASH_H_
