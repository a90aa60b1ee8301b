// What a gRPC status means to the person in front of the client, and whether it makes sense to try again.
#ifndef MUSTER_CLIENT_EDGE_EXPLAIN_H_
#define MUSTER_CLIENT_EDGE_EXPLAIN_H_

#include <grpcpp/support/status.h>

#include <string>

#include "core/status.h"

namespace muster::edge {

// True where the same call by the same client will fail again: UNAUTHENTICATED, PERMISSION_DENIED,
// FAILED_PRECONDITION, INVALID_ARGUMENT, UNIMPLEMENTED.
bool IsPermanent(const grpc::Status& status);

// One line: what went wrong, with whom (`address`, HOST:PORT), how to mend it. The code is that of
// core/status.h's convention: INVALID_ARGUMENT if permanent, else UNAVAILABLE.
absl::Status Explain(const grpc::Status& status, const std::string& address);

// "NOT_FOUND" and so on.
std::string CodeName(grpc::StatusCode code);

// INVALID_ARGUMENT unless `address` is HOST:PORT ([IPV6]:PORT too).
absl::Status CheckAddress(const std::string& address);

}  // namespace muster::edge

#endif  // MUSTER_CLIENT_EDGE_EXPLAIN_H_
