// The Federation service over gRPC's callback API: no thread per client. It carries messages between streams
// and the pool and decides nothing itself.
#ifndef MUSTER_SERVER_SERVICE_FEDERATION_SERVICE_H_
#define MUSTER_SERVER_SERVICE_FEDERATION_SERVICE_H_

#include <functional>
#include <memory>

#include "core/status.h"
#include "muster/v1/federation.grpc.pb.h"
#include "server/service/client_link.h"
#include "server/service/remote_client_pool.h"

namespace muster {

// Who calls, by what the transport knows; an error ends the call with it.
using Authenticate = std::function<absl::StatusOr<Peer>(const grpc::ServerContextBase&)>;
// Over plain text: nobody has an identity. Over TLS: by certificate or token.
absl::StatusOr<Peer> AuthenticateNobody(const grpc::ServerContextBase& context);
absl::StatusOr<Peer> AuthenticateByTls(const grpc::ServerContextBase& context);

grpc::Status ToGrpc(const absl::Status& status);

// Models and updates travel as raw byte buffers (core/transport/chunk.h), the rest as messages.
class FederationService final
    : public v1::Federation::WithCallbackMethod_Session<
          v1::Federation::WithRawCallbackMethod_Download<v1::Federation::WithRawCallbackMethod_Upload<
              v1::Federation::WithCallbackMethod_UploadOffset<v1::Federation::Service>>>> {
 public:
  // `pool` outlives the service and every call of it.
  FederationService(RemoteClientPool& pool, Authenticate authenticate);

  grpc::ServerBidiReactor<v1::ClientMessage, v1::ServerMessage>* Session(
      grpc::CallbackServerContext* context) override;
  grpc::ServerWriteReactor<grpc::ByteBuffer>* Download(grpc::CallbackServerContext* context,
                                                       const grpc::ByteBuffer* request) override;
  grpc::ServerReadReactor<grpc::ByteBuffer>* Upload(grpc::CallbackServerContext* context,
                                                    grpc::ByteBuffer* response) override;
  grpc::ServerUnaryReactor* UploadOffset(grpc::CallbackServerContext* context,
                                         const v1::UploadHeader* request, v1::Offset* response) override;

 private:
  RemoteClientPool& pool_;
  const Authenticate authenticate_;
};

}  // namespace muster

#endif  // MUSTER_SERVER_SERVICE_FEDERATION_SERVICE_H_
