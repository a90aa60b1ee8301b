// `muster status`, `pause`, `resume-round`, `stop`, `set`: steering a coordinator from outside.
#include <grpcpp/create_channel.h>
#include <grpcpp/security/credentials.h>

#include <CLI/CLI.hpp>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "app/commands.h"
#include "core/transport/credentials.h"
#include "core/transport/handshake_log.h"
#include "muster/v1/control.grpc.pb.h"
#include "server/monitoring/units.h"

namespace muster {
namespace {

struct ControlArguments {
  std::string coordinator = "localhost:7443";
  std::string certs = "certs";
  bool insecure = false;
  bool clients = false;
  std::vector<std::string> set;
};

using Call = std::function<grpc::Status(v1::Control::Stub&, grpc::ClientContext&, v1::Status&)>;

void Print(const v1::Status& status) {
  std::printf("%s (%s): %s, round %lld of %lld\n", status.name().c_str(), status.federation().c_str(),
              status.phase().c_str(),
              static_cast<long long>(status.round() + (status.round() < status.rounds())),
              static_cast<long long>(status.rounds()));
  std::printf("  clients    %lld connected", static_cast<long long>(status.connected()));
  if (status.cohort() > 0) {
    std::printf("; of the round's %lld, %lld have answered, %lld were accepted",
                static_cast<long long>(status.cohort()), static_cast<long long>(status.answered()),
                static_cast<long long>(status.accepted()));
  }
  std::printf("\n");
  if (std::isfinite(status.test_loss())) {
    std::printf("  test       loss %.4f, accuracy %.4f\n", status.test_loss(), status.test_accuracy());
  }
  std::printf("  traffic    %s up, %s down\n",
              FormatBytes(static_cast<double>(status.upload_bytes())).c_str(),
              FormatBytes(static_cast<double>(status.download_bytes())).c_str());
  for (const v1::ClientStatus& client : status.clients()) {
    std::printf("  client %-6lld %-10s %-24s %lld samples, heard %s ago, %s\n",
                static_cast<long long>(client.client()), client.state().c_str(), client.identity().c_str(),
                static_cast<long long>(client.num_samples()),
                FormatSeconds(client.heard_seconds_ago()).c_str(), client.client_version().c_str());
  }
  for (const v1::FailureStatus& failure : status.last_failures()) {
    std::printf("  failed     round %lld, client %lld: %s: %s: %s\n",
                static_cast<long long>(failure.round() + 1), static_cast<long long>(failure.client()),
                failure.stage().c_str(), failure.code().c_str(), failure.message().c_str());
  }
}

absl::Status Steer(const ControlArguments& arguments, const Call& call) {
  SendGrpcErrorsTo(nullptr);
  TlsMaterial tls;
  std::shared_ptr<grpc::ChannelCredentials> credentials = grpc::InsecureChannelCredentials();
  if (!arguments.insecure) {
    MUSTER_ASSIGN_OR_RETURN(tls, LoadTls(TlsFilesIn(arguments.certs, "operator"), TlsRole::kClient));
    credentials = MakeChannelCredentials(tls);
  }
  const auto stub = v1::Control::NewStub(grpc::CreateChannel(arguments.coordinator, credentials));
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(10));
  v1::Status status;
  const grpc::Status done = call(*stub, context, status);
  if (!done.ok()) {
    std::string why = done.error_message();
    if (done.error_code() == grpc::StatusCode::UNAVAILABLE) {
      const ConnectFailure explained =
          ExplainConnectFailure(arguments.coordinator, arguments.insecure ? nullptr : &tls);
      if (!explained.why.empty()) why = explained.why;
    }
    return {static_cast<absl::StatusCode>(done.error_code()), absl::StrCat(arguments.coordinator, ": ", why)};
  }
  Print(status);
  return absl::OkStatus();
}

absl::StatusOr<v1::ChangeRequest> ParseSet(const std::vector<std::string>& set) {
  v1::ChangeRequest request;
  for (const std::string& change : set) {
    const size_t equals = change.find('=');
    if (equals == 0 || equals == std::string::npos) {
      return InvalidInput(
          absl::StrCat("'", change, "': give PATH=VALUE, e.g. federation.deadline_seconds=60"));
    }
    (*request.mutable_set())[change.substr(0, equals)] = change.substr(equals + 1);
  }
  return request;
}

}  // namespace

void AddControl(CLI::App& app, std::function<absl::Status()>& action) {
  const auto arguments = std::make_shared<ControlArguments>();
  const auto add = [&](const char* name, const char* what, std::function<absl::StatusOr<Call>()> make_call) {
    auto* command = app.add_subcommand(name, what);
    command->add_option("--coordinator", arguments->coordinator, "HOST:PORT (default: localhost:7443)");
    auto* certs = command->add_option("--certs", arguments->certs,
                                      "Folder with ca.pem, operator.pem, operator.key (default: certs)");
    command->add_flag("--insecure", arguments->insecure, "Plain text")->excludes(certs);
    command->callback([&action, arguments, make_call = std::move(make_call)] {
      action = [arguments, make_call]() -> absl::Status {
        MUSTER_ASSIGN_OR_RETURN(const Call call, make_call());
        return Steer(*arguments, call);
      };
    });
    return command;
  };
  add("status", "Show what a coordinator is doing", [arguments]() -> absl::StatusOr<Call> {
    v1::GetStatusRequest request;
    request.set_clients(arguments->clients);
    return Call([request](auto& stub, auto& context, auto& status) {
      return stub.GetStatus(&context, request, &status);
    });
  })->add_flag("--clients", arguments->clients, "List the clients, too");
  add("pause", "Start no further round; the one in flight is finished", []() -> absl::StatusOr<Call> {
    return Call([](auto& stub, auto& context, auto& status) { return stub.Pause(&context, {}, &status); });
  });
  add("resume-round", "Go on after 'pause'", []() -> absl::StatusOr<Call> {
    return Call(
        [](auto& stub, auto& context, auto& status) { return stub.ResumeRounds(&context, {}, &status); });
  });
  add("stop", "End a coordinator after the round in flight", []() -> absl::StatusOr<Call> {
    return Call([](auto& stub, auto& context, auto& status) { return stub.Stop(&context, {}, &status); });
  });
  add("set", "Change a running federation from its next round on",
      [arguments]() -> absl::StatusOr<Call> {
        MUSTER_ASSIGN_OR_RETURN(const v1::ChangeRequest request, ParseSet(arguments->set));
        return Call([request](auto& stub, auto& context, auto& status) {
          return stub.Change(&context, request, &status);
        });
      })
      ->add_option(
          "PATH=VALUE", arguments->set,
          "federation.deadline_seconds, training.learning_rate_factor, federation.participation (.OPTION)")
      ->required();
}

}  // namespace muster
