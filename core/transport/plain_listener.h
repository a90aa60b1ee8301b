// Plain text, for a network that is trusted anyway (or loopback), and only where it was asked for.
#ifndef MUSTER_CORE_TRANSPORT_PLAIN_LISTENER_H_
#define MUSTER_CORE_TRANSPORT_PLAIN_LISTENER_H_

#include <grpcpp/server_builder.h>

#include <memory>
#include <string>
#include <thread>

#include "core/status.h"
#include "core/transport/access_control.h"

namespace muster {

// Accepts a gRPC server's plain-text connections in gRPC's stead, and looks at the first byte of each: a
// client that starts a TLS handshake is refused with one line in the log, where gRPC would say nothing.
// Connections that never send a byte are dropped after ten seconds.
//
//   auto listener = PlainListener::Open(builder, "127.0.0.1:0", log);   // before BuildAndStart
//   auto server = builder.BuildAndStart();
//   (*listener)->Start();
//   ...
//   listener->reset();        // no more connections; before the server goes
class PlainListener {
 public:
  // "host:port"; port 0 takes a free one. INVALID_ARGUMENT if the address cannot be listened on.
  static absl::StatusOr<std::unique_ptr<PlainListener>> Open(grpc::ServerBuilder& builder,
                                                             const std::string& address, LogLine log);
  ~PlainListener();

  void Start();
  int port() const { return port_; }

 private:
  PlainListener() = default;
  void Accept();

  LogLine log_;
  std::unique_ptr<grpc::experimental::ExternalConnectionAcceptor> acceptor_;
  int socket_ = -1;
  int wake_ = -1;  // an eventfd: readable once it is time to stop
  int port_ = 0;
  std::thread thread_;
};

}  // namespace muster

#endif  // MUSTER_CORE_TRANSPORT_PLAIN_LISTENER_H_
