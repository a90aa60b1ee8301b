#include <grpcpp/create_channel.h>
#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/support/byte_buffer.h>

#include <CLI/CLI.hpp>
#include <chrono>
#include <cstdio>
#include <future>

#include "absl/strings/str_cat.h"
#include "app/commands.h"
#include "core/transport/credentials.h"
#include "core/transport/handshake_log.h"

namespace muster {
namespace {

struct HealthArguments {
  std::string coordinator = "localhost:7443";
  std::string certs = "certs";
  bool insecure = false;
  double timeout = 5;  // seconds
};

// grpc.health.v1.Health/Check: an empty request asks for the server as a whole; the answer's field 1 is the
// state. Two bytes are not worth generated code.
absl::Status CheckHealth(const HealthArguments& arguments) {
  SendGrpcErrorsTo(nullptr);
  TlsMaterial tls;
  std::shared_ptr<grpc::ChannelCredentials> credentials = grpc::InsecureChannelCredentials();
  if (!arguments.insecure) {
    MUSTER_ASSIGN_OR_RETURN(tls, LoadTls(TlsFilesIn(arguments.certs, "operator"), TlsRole::kClient));
    credentials = MakeChannelCredentials(tls);
  }
  grpc::GenericStub stub(grpc::CreateChannel(arguments.coordinator, credentials));
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() +
                       std::chrono::milliseconds(static_cast<int64_t>(arguments.timeout * 1000)));
  grpc::Slice nothing;
  const grpc::ByteBuffer request(&nothing, 1);
  grpc::ByteBuffer response;
  std::promise<grpc::Status> answered;
  stub.UnaryCall(&context, "/grpc.health.v1.Health/Check", {}, &request, &response,
                 [&answered](grpc::Status status) { answered.set_value(std::move(status)); });
  const grpc::Status status = answered.get_future().get();
  if (!status.ok()) {
    std::string why = status.error_message();
    if (status.error_code() == grpc::StatusCode::UNAVAILABLE) {
      const ConnectFailure explained = ExplainConnectFailure(
          arguments.coordinator, arguments.insecure ? nullptr : &tls, arguments.timeout);
      if (!explained.why.empty()) why = explained.why;
    }
    return absl::UnavailableError(absl::StrCat("unhealthy: ", why));
  }
  grpc::Slice bytes;
  if (!response.DumpToSingleSlice(&bytes).ok()) return InternalError("unhealthy: an unreadable answer");
  constexpr uint8_t kServing[] = {0x08, 0x01};
  if (bytes.size() != sizeof(kServing) || !std::equal(bytes.begin(), bytes.end(), kServing)) {
    return absl::UnavailableError("unhealthy: the coordinator is there and does not serve");
  }
  std::printf("%s: serving\n", arguments.coordinator.c_str());
  return absl::OkStatus();
}

}  // namespace

void AddHealth(CLI::App& app, std::function<absl::Status()>& action) {
  const auto arguments = std::make_shared<HealthArguments>();
  auto* command =
      app.add_subcommand("health", "Ask a coordinator whether it serves (gRPC health), for probes");
  command->add_option("--coordinator", arguments->coordinator, "HOST:PORT (default: localhost:7443)");
  auto* certs = command->add_option("--certs", arguments->certs,
                                    "Folder with ca.pem, operator.pem, operator.key (default: certs)");
  command->add_flag("--insecure", arguments->insecure, "Plain text")->excludes(certs);
  command->add_option("--timeout", arguments->timeout, "Seconds (default: 5)")->check(CLI::Range(0.1, 600.0));
  command->callback([&action, arguments] { action = [arguments] { return CheckHealth(*arguments); }; });
}

}  // namespace muster
