// Signed tokens: the identity of a client that has no certificate of its own. The channel is TLS all the
// same, so that nobody reads the token on its way. "muster1.NAME.EXPIRY.MAC": EXPIRY in seconds since the
// epoch, MAC the HMAC-SHA256 of what stands before it, under the coordinator's key, in hexadecimal.
#ifndef MUSTER_CORE_TRANSPORT_TOKEN_H_
#define MUSTER_CORE_TRANSPORT_TOKEN_H_

#include <string>
#include <string_view>

#include "absl/time/time.h"
#include "core/status.h"
#include "core/transport/certificates.h"

namespace muster {

// The key in a file of 64 lower-case hexadecimal digits.
absl::StatusOr<std::string> ReadTokenKey(const std::string& path);
std::string SignToken(std::string_view key, std::string_view name, absl::Time expiry);
// The identity's serial is a prefix of the token's hash, so that a revocation list can name it.
// UNAUTHENTICATED if the token is malformed, signed under another key, or expired.
absl::StatusOr<Identity> VerifyToken(std::string_view key, std::string_view token, absl::Time now);
// What a revocation list calls a token.
std::string TokenSerial(std::string_view token);

}  // namespace muster

#endif  // MUSTER_CORE_TRANSPORT_TOKEN_H_
