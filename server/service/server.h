// The coordinator's gRPC server: the Federation service, health and reflection on one port.
#ifndef MUSTER_SERVER_SERVICE_SERVER_H_
#define MUSTER_SERVER_SERVICE_SERVER_H_

#include <grpcpp/server.h>

#include <memory>
#include <string>
#include <vector>

#include "core/status.h"
#include "core/transport/access_control.h"
#include "core/transport/plain_listener.h"
#include "server/service/federation_service.h"

namespace muster {

class CoordinatorServer {
 public:
  // Listens on `address` ("HOST:PORT"; port 0 takes a free one) and serves `pool`, and `others` (Control)
  // beside it. All of them outlive the server. Without credentials it is plain text, and clients are who they
  // say they are. What went wrong with connections goes to `log`. INVALID_ARGUMENT if the address cannot be
  // listened on.
  static absl::StatusOr<std::unique_ptr<CoordinatorServer>> Start(
      const std::string& address, const std::shared_ptr<grpc::ServerCredentials>& credentials,
      RemoteClientPool& pool, LogLine log, const std::vector<grpc::Service*>& others = {});
  // Ends all calls; transfers in flight are cut.
  ~CoordinatorServer();
  CoordinatorServer(const CoordinatorServer&) = delete;
  CoordinatorServer& operator=(const CoordinatorServer&) = delete;

  const std::string& address() const { return address_; }  // with the port it got

 private:
  CoordinatorServer(RemoteClientPool& pool, Authenticate authenticate)
      : service_(pool, std::move(authenticate)) {}

  FederationService service_;
  std::unique_ptr<grpc::Server> server_;
  std::unique_ptr<PlainListener> plain_listener_;
  std::string address_;
};

}  // namespace muster

#endif  // MUSTER_SERVER_SERVICE_SERVER_H_
