#include "core/hash.h"

#include <openssl/evp.h>

#include <bit>

#include "absl/strings/escaping.h"

namespace muster {

static_assert(std::endian::native == std::endian::little, "files and wire forms are little-endian");

std::string Sha256(std::string_view bytes) {
  std::string digest(32, '\0');
  unsigned int size = 0;
  EVP_Digest(bytes.data(), bytes.size(), reinterpret_cast<unsigned char*>(digest.data()), &size, EVP_sha256(),
             nullptr);
  return digest;
}

std::string Sha256Hex(std::string_view bytes) { return absl::BytesToHexString(Sha256(bytes)); }

std::string ModelSha256(std::span<const float> model) {
  return Sha256Hex({reinterpret_cast<const char*>(model.data()), model.size_bytes()});
}

}  // namespace muster
