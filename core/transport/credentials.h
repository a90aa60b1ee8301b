// Mutual TLS for gRPC: credentials from files, checked at start; who a peer is; and what went wrong, in one
// line for each side. gRPC's own messages ("Socket closed", "handshake failed") do not name the mistake.
#ifndef MUSTER_CORE_TRANSPORT_CREDENTIALS_H_
#define MUSTER_CORE_TRANSPORT_CREDENTIALS_H_

#include <grpcpp/security/credentials.h>
#include <grpcpp/security/server_credentials.h>
#include <grpcpp/server_context.h>

#include <memory>
#include <string>

#include "core/status.h"
#include "core/transport/access_control.h"
#include "core/transport/certificates.h"

namespace muster {

// Paths of PEM files.
struct TlsFiles {
  std::string authority;    // certificates that sign the other side's
  std::string certificate;  // own; may be followed by intermediate ones
  std::string key;
};
// DIRECTORY/ca.pem, DIRECTORY/NAME.pem, DIRECTORY/NAME.key: the layout `muster certs` makes.
TlsFiles TlsFilesIn(const std::string& directory, const std::string& name);

enum class TlsRole { kServer, kClient };

// What the files hold, PEM texts.
struct TlsMaterial {
  TlsRole role = TlsRole::kClient;
  std::string authority;
  std::string certificate;  // empty: a client that is known by its token
  std::string key;
  Identity identity;  // of the certificate
};

// Reads and checks: every file there, readable and of the right kind, the key the certificate's, the
// certificate valid now, signed by the authority and made for `role`. NOT_FOUND or INVALID_ARGUMENT with one
// line that names the first mistake. A client may leave certificate and key empty (a token then stands for
// it).
absl::StatusOr<TlsMaterial> LoadTls(const TlsFiles& files, TlsRole role);

// The server side: TLS 1.2 or later; clients must have a certificate signed by the authority (or, where
// `access` accepts tokens, a token); EVERY call of any service is refused with PERMISSION_DENIED or
// UNAUTHENTICATED unless `access` authorizes its identity at that moment. Why a handshake or a call was
// refused goes to `log`, one line each. gRPC tells of some failures only process-wide: they go to the log of
// the credentials made last, until the process ends.
std::shared_ptr<grpc::ServerCredentials> MakeServerCredentials(const TlsMaterial& tls,
                                                               std::shared_ptr<AccessControl> access,
                                                               LogLine log);

// The client side: the server's certificate must be signed by the authority and carry the name that was
// dialled. A `token`, if not empty, goes with every call.
std::shared_ptr<grpc::ChannelCredentials> MakeChannelCredentials(const TlsMaterial& tls,
                                                                 const std::string& token = "");

// Who made the call: certificate or token. UNAUTHENTICATED over plain text.
absl::StatusOr<Identity> PeerIdentity(const grpc::ServerContextBase& context);

struct ConnectFailure {
  std::string why;         // one line; empty if nothing is wrong with the handshake
  bool permanent = false;  // the same files will fail again at the same address: a mistake, not the network
};
// After a call failed with UNAVAILABLE: dials `address` ("host:port", "ipv4:..." and "dns:///..." work too)
// once more, by itself, for at most `seconds`, and says in one line what is wrong: no such host, nobody
// listens, expired, not yet valid, wrong name, wrong CA, plain text against TLS and the reverse, own
// certificate refused. `tls` null: the client speaks plain text. The server's log names the mistake as well.
ConnectFailure ExplainConnectFailure(const std::string& address, const TlsMaterial* tls, double seconds = 3);

}  // namespace muster

#endif  // MUSTER_CORE_TRANSPORT_CREDENTIALS_H_
