#include "server/service/server.h"

#include <google/protobuf/stubs/logging.h>
#include <grpcpp/ext/proto_server_reflection_plugin.h>
#include <grpcpp/health_check_service_interface.h>
#include <grpcpp/server_builder.h>

#include <chrono>
#include <utility>

#include "absl/strings/str_cat.h"

namespace muster {
namespace {

constexpr int kAheadBytes = 2 << 20;  // at 100 ms of round trip still 20 MB/s

}  // namespace

absl::StatusOr<std::unique_ptr<CoordinatorServer>> CoordinatorServer::Start(
    const std::string& address, const std::shared_ptr<grpc::ServerCredentials>& credentials,
    RemoteClientPool& pool, LogLine log, const std::vector<grpc::Service*>& others) {
  const size_t colon = address.rfind(':');
  if (colon == std::string::npos) {
    return InvalidInput(absl::StrCat("listen address '", address, "': give HOST:PORT, e.g. 0.0.0.0:7443"));
  }
  grpc::EnableDefaultHealthCheckService(true);
  google::protobuf::SetLogHandler(nullptr);  // a peer's rubbish is refused, not printed
  [[maybe_unused]] static const bool reflection =
      (grpc::reflection::InitProtoReflectionServerBuilderPlugin(), true);
  std::unique_ptr<CoordinatorServer> server(
      new CoordinatorServer(pool, credentials ? AuthenticateByTls : AuthenticateNobody));
  grpc::ServerBuilder builder;
  int port = 0;
  if (credentials != nullptr) {
    builder.AddListeningPort(address, credentials, &port);
  } else {
    MUSTER_ASSIGN_OR_RETURN(server->plain_listener_, PlainListener::Open(builder, address, std::move(log)));
    port = server->plain_listener_->port();
  }
  builder.RegisterService(&server->service_);
  for (grpc::Service* other : others) builder.RegisterService(other);
  // What a client may send ahead of what is read: with the upload permits it bounds the bytes in memory.
  // gRPC's own estimate takes a busy coordinator for a long link and lets megabytes pile up.
  builder.AddChannelArgument(GRPC_ARG_HTTP2_BDP_PROBE, 0);
  builder.AddChannelArgument(GRPC_ARG_HTTP2_STREAM_LOOKAHEAD_BYTES, kAheadBytes);
  // Two coordinators on one port would share its clients.
  builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
  server->server_ = builder.BuildAndStart();
  if (server->server_ == nullptr || port == 0) {
    return InvalidInput(
        absl::StrCat("cannot listen on ", address,
                     ": the port is taken, or the host is not this machine's; choose another"));
  }
  if (server->plain_listener_) server->plain_listener_->Start();
  server->address_ = absl::StrCat(address.substr(0, colon), ":", port);
  return server;
}

CoordinatorServer::~CoordinatorServer() {
  plain_listener_ = nullptr;
  if (server_) server_->Shutdown(std::chrono::system_clock::now());
}

}  // namespace muster
