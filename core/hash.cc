#include "core/hash.h"

#include <openssl/evp.h>

#include <bit>
#include <memory>

#include "absl/strings/escaping.h"

namespace muster {

static_assert(std::endian::native == std::endian::little, "files and wire forms are little-endian");

std::string Sha256(std::string_view bytes) { return Sha256(std::span<const std::string_view>(&bytes, 1)); }

std::string Sha256(std::span<const std::string_view> pieces) {
  const std::unique_ptr<EVP_MD_CTX, decltype(&EVP_MD_CTX_free)> hash(EVP_MD_CTX_new(), EVP_MD_CTX_free);
  EVP_DigestInit_ex(hash.get(), EVP_sha256(), nullptr);
  for (const std::string_view piece : pieces) EVP_DigestUpdate(hash.get(), piece.data(), piece.size());
  std::string digest(32, '\0');
  EVP_DigestFinal_ex(hash.get(), reinterpret_cast<unsigned char*>(digest.data()), nullptr);
  return digest;
}

std::string Sha256Hex(std::string_view bytes) { return absl::BytesToHexString(Sha256(bytes)); }
std::string Sha256Hex(std::span<const std::string_view> pieces) {
  return absl::BytesToHexString(Sha256(pieces));
}

std::string ModelSha256(std::span<const float> model) {
  return Sha256Hex({reinterpret_cast<const char*>(model.data()), model.size_bytes()});
}

}  // namespace muster
