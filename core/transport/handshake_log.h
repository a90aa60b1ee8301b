// Why TLS handshakes fail at the server, in words.
#ifndef MUSTER_CORE_TRANSPORT_HANDSHAKE_LOG_H_
#define MUSTER_CORE_TRANSPORT_HANDSHAKE_LOG_H_

#include <string>
#include <string_view>

#include "core/transport/access_control.h"

namespace muster {

// What OpenSSL's reason for a failed server-side handshake ("tlsv1 alert unknown ca") says about the client.
std::string ExplainServerHandshake(std::string_view reason);

// gRPC reports failed handshakes only through its process-wide log. From now on that log's errors go to
// `log`, one line each, handshakes explained; null: nowhere, for programs that explain what fails themselves.
void SendGrpcErrorsTo(LogLine log);

}  // namespace muster

#endif  // MUSTER_CORE_TRANSPORT_HANDSHAKE_LOG_H_
