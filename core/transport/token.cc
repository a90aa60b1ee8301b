#include "core/transport/token.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "core/file.h"
#include "core/hash.h"

namespace muster {
namespace {

constexpr std::string_view kPrefix = "muster1.";

std::string Mac(std::string_view key, std::string_view text) {
  unsigned char mac[EVP_MAX_MD_SIZE];
  unsigned int size = 0;
  HMAC(EVP_sha256(), key.data(), static_cast<int>(key.size()),
       reinterpret_cast<const unsigned char*>(text.data()), text.size(), mac, &size);
  return absl::BytesToHexString(absl::string_view(reinterpret_cast<const char*>(mac), size));
}

}  // namespace

absl::StatusOr<std::string> ReadTokenKey(const std::string& path) {
  MUSTER_ASSIGN_OR_RETURN(const std::string text, ReadFile(path));
  const std::string hex(absl::StripAsciiWhitespace(text));
  if (hex.size() != 64 || hex.find_first_not_of("0123456789abcdef") != std::string::npos) {
    return InvalidInput(path + ": a token key is 64 lower-case hexadecimal digits");
  }
  return absl::HexStringToBytes(hex);
}

std::string SignToken(std::string_view key, std::string_view name, absl::Time expiry) {
  std::string token(kPrefix);
  token.append(name).append(".").append(std::to_string(absl::ToUnixSeconds(expiry)));
  const std::string mac = Mac(key, token);
  return token.append(".").append(mac);
}

std::string TokenSerial(std::string_view token) { return Sha256Hex(token).substr(0, 32); }

absl::StatusOr<Identity> VerifyToken(std::string_view key, std::string_view token, absl::Time now) {
  const size_t mac_at = token.rfind('.');
  const size_t expiry_at =
      mac_at == std::string_view::npos || mac_at == 0 ? mac_at : token.rfind('.', mac_at - 1);
  if (!token.starts_with(kPrefix) || expiry_at == std::string_view::npos || expiry_at <= kPrefix.size()) {
    return absl::UnauthenticatedError("malformed token");
  }
  // The signature first: nothing else of a forged token is looked at.
  const std::string_view mac = token.substr(mac_at + 1);
  const std::string expected = Mac(key, token.substr(0, mac_at));
  if (mac.size() != expected.size() || CRYPTO_memcmp(mac.data(), expected.data(), mac.size()) != 0) {
    return absl::UnauthenticatedError("the token is not signed by this coordinator's key");
  }
  const std::string_view digits = token.substr(expiry_at + 1, mac_at - expiry_at - 1);
  int64_t seconds = 0;
  if (!absl::SimpleAtoi(absl::string_view(digits.data(), digits.size()), &seconds)) {
    return absl::UnauthenticatedError("malformed token");
  }
  Identity identity;
  identity.common_name = std::string(token.substr(kPrefix.size(), expiry_at - kPrefix.size()));
  identity.serial = TokenSerial(token);
  identity.sha256 = Sha256Hex(token);
  identity.not_after = absl::FromUnixSeconds(seconds);
  if (now > identity.not_after) {
    return absl::UnauthenticatedError(absl::StrCat("the token of ", identity.common_name, " expired on ",
                                                   absl::FormatTime(identity.not_after)));
  }
  return identity;
}

}  // namespace muster
