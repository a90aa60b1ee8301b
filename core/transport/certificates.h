// Certificates: what one says, and a development authority that makes them. A real deployment brings its own
// files of the same names; nothing else of Muster knows how they were made.
#ifndef MUSTER_CORE_TRANSPORT_CERTIFICATES_H_
#define MUSTER_CORE_TRANSPORT_CERTIFICATES_H_

#include <string>
#include <string_view>
#include <vector>

#include "absl/time/time.h"
#include "core/status.h"

namespace muster {

// Who a peer is, from its certificate (or, without one, from its signed token).
struct Identity {
  std::string common_name;          // the client's name
  std::string organizational_unit;  // "operator" may use Control
  std::string serial;               // lower-case hexadecimal digits; what a revocation list names
  std::string sha256;               // of the DER form, 64 lower-case hexadecimal digits
  absl::Time not_before = absl::InfinitePast();
  absl::Time not_after = absl::InfiniteFuture();
};

// The organizational unit that may steer a coordinator.
inline constexpr std::string_view kOperatorUnit = "operator";

// Of the first certificate in `pem`. INVALID_ARGUMENT if there is none.
absl::StatusOr<Identity> ParseIdentity(std::string_view pem);

struct AuthorityOptions {
  std::string directory;
  int clients = 0;  // make client-0 .. client-(N-1)
  int days = 365;   // that server and client certificates are valid
  // Names and addresses of the coordinator beside localhost, 127.0.0.1, ::1, this host's name and
  // "coordinator".
  std::vector<std::string> server_names;
};

// Makes what is missing in the directory, and never touches what is there:
//   ca.pem, ca.key             the authority
//   coordinator.pem, .key      the server's, with its names
//   operator.pem, .key         for `muster status`, `muster stop`, ...: organizational unit "operator"
//   client-K.pem, .key         one per client, common name client-K
// ECDSA on P-256; keys are readable by their owner only. Safe to run from several processes at once. Returns
// the names of the files it made. INVALID_ARGUMENT if the directory's authority cannot sign (ca.key is gone,
// or is another's), or if coordinator.pem is there but lacks one of `server_names`.
absl::StatusOr<std::vector<std::string>> MakeCertificates(const AuthorityOptions& options);

// Appends the serials of NAME.pem and NAME.token to DIRECTORY/revoked.txt; a running coordinator that was
// given the list notices. Nothing happens to what is revoked already. NOT_FOUND if there is neither.
absl::Status Revoke(const std::string& directory, const std::string& name);

// Makes DIRECTORY/NAME.token, a signed token (token.h), and DIRECTORY/token.key on first use. Returns the
// token. INVALID_ARGUMENT if NAME.token is there.
absl::StatusOr<std::string> MakeToken(const std::string& directory, const std::string& name, int days);

}  // namespace muster

#endif  // MUSTER_CORE_TRANSPORT_CERTIFICATES_H_
