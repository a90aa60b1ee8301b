// `muster client`: one client of a federation, on its own data.
#include <unistd.h>

#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "app/commands.h"
#include "app/experiment.h"
#include "app/monitoring.h"
#include "app/stop_on_signals.h"
#include "client/configured_trainer.h"
#include "client/edge/edge_client.h"
#include "core/config.h"
#include "core/file.h"
#include "core/transport/credentials.h"
#include "core/transport/handshake_log.h"
#include "learning/federated_data.h"
#include "server/monitoring/client_metrics.h"

namespace muster {
namespace {

// The name it is known by: that of its certificate, over plain text the one it gives itself.
std::string Name(const ClientArguments& arguments) {
  if (!arguments.name.empty()) return arguments.name;
  if (arguments.client) return absl::StrCat("client-", *arguments.client);
  char host[256] = "";
  ::gethostname(host, sizeof host - 1);
  return host;
}

absl::Status SetIdentity(const ClientArguments& arguments, EdgeOptions& options, Log& log) {
  if (!arguments.token.empty()) {
    MUSTER_ASSIGN_OR_RETURN(const std::string token, ReadFile(arguments.token));
    options.token = std::string(absl::StripAsciiWhitespace(token));
  }
  if (arguments.insecure) {
    options.identity = Name(arguments);
    log.Write({.severity = Severity::kWarning,
               .name = "plain_text",
               .message = "PLAIN TEXT (--insecure): anyone on the way can read and change what is sent"});
    return absl::OkStatus();
  }
  TlsFiles files = TlsFilesIn(arguments.certs, Name(arguments));
  if (!arguments.token.empty()) files.certificate = files.key = "";
  if (!arguments.certificate.empty()) files.certificate = arguments.certificate;
  if (!arguments.key.empty()) files.key = arguments.key;
  MUSTER_ASSIGN_OR_RETURN(options.tls, LoadTls(files, TlsRole::kClient));
  return absl::OkStatus();
}

// What happened; round and client are fields of their own.
LogEvent ToLogEvent(const EdgeEvent& event) {
  if (const auto* joined = std::get_if<Joined>(&event)) {
    return {.name = "joined", .message = Describe(event), .client = joined->client};
  }
  if (const auto* ended = std::get_if<RoundEnded>(&event)) {
    const std::string words = Describe(event);  // "round 4: ..."
    return {.name = ended->accepted ? "update_accepted" : "update_refused",
            .message = words.substr(words.find(": ") + 2),
            .round = ended->round};
  }
  if (const auto* warning = std::get_if<Warning>(&event)) {
    return {.severity = Severity::kWarning, .name = "warning", .message = warning->text};
  }
  return {.severity = Severity::kWarning, .name = "disconnected", .message = Describe(event)};
}

void Count(const EdgeEvent& event, ClientProcessMetrics& metrics) {
  if (std::holds_alternative<Joined>(event)) {
    metrics.Joined();
  } else if (std::holds_alternative<Disconnected>(event)) {
    metrics.Disconnected();
  } else if (const auto* ended = std::get_if<RoundEnded>(&event)) {
    metrics.RoundEnded(ended->round, ended->accepted, ended->train_loss, ended->seconds, ended->upload_bytes);
  }
}

// Of the finished update in a client's folder.
int64_t SpooledBytes(const std::string& folder) {
  std::error_code error;
  const uintmax_t size = std::filesystem::file_size(folder + "/update.bytes", error);
  return error ? 0 : static_cast<int64_t>(size);
}

// What the client trains on: the slice of the configured federation that has its number, or all of the data.
absl::StatusOr<FederatedData> LoadData(const ClientArguments& arguments, v1::Experiment& config) {
  if (!arguments.client) {
    v1::Data& data = *config.mutable_data();
    data.set_clients(1);
    data.mutable_partition()->set_name("iid");
    data.mutable_partition()->clear_options();
    data.mutable_trust()->Clear();
    config.mutable_pin()->clear_partition();
  }
  MUSTER_ASSIGN_OR_RETURN(FederatedData data,
                          BuildFederatedData(config.data(), config.pin().partition(), config.seed()));
  if (arguments.client && (*arguments.client < 0 || *arguments.client >= data.clients())) {
    return InvalidInput(absl::StrCat("--client ", *arguments.client,
                                     ": the configured federation has clients 0 to ", data.clients() - 1));
  }
  return data;
}

}  // namespace

absl::Status Client(const ClientArguments& arguments, const LogFlags& log_flags) {
  MUSTER_ASSIGN_OR_RETURN(ExperimentFile file, LoadExperiment(arguments.config, arguments.overrides));
  MUSTER_ASSIGN_OR_RETURN(const auto device, arguments.device.Find());
  EdgeOptions options;
  options.coordinator = arguments.coordinator;
  options.client = arguments.client;
  options.state_dir =
      arguments.state.empty() ? absl::StrCat("client-state/", Name(arguments)) : arguments.state;
  options.version = "muster " MUSTER_VERSION;
  options.patience_seconds = arguments.patience_seconds;
  const std::unique_ptr<Log> log = log_flags.Open(file.config.name(), /*progress_line=*/false);
  ClientProcessMetrics metrics(file.config.name(), MUSTER_VERSION,
                               [folder = options.state_dir] { return SpooledBytes(folder); });
  MUSTER_ASSIGN_OR_RETURN(const std::unique_ptr<HttpServer> server,
                          ServeMetrics(
                              arguments.metrics, [&metrics] { return metrics.Text(); }, *log));
  std::optional<int64_t> number = arguments.client;
  options.on_event = [&log, &number, &metrics](const EdgeEvent& event) {
    Count(event, metrics);
    LogEvent logged = ToLogEvent(event);
    if (logged.client) number = std::exchange(logged.client, std::nullopt);  // its words have it
    if (log->format() == LogFormat::kJson) logged.client = number;
    log->Write(logged);
  };
  SendGrpcErrorsTo(nullptr);
  MUSTER_RETURN_IF_ERROR(SetIdentity(arguments, options, *log));

  MUSTER_ASSIGN_OR_RETURN(const FederatedData data, LoadData(arguments, file.config));
  MUSTER_ASSIGN_OR_RETURN(const auto trainer, MakeConfiguredTrainer(file.config, data.train(), device));
  const auto compressor =
      Registry<Compressor>::Get().Create(ToPluginConfig(file.config.training().compressor()), {});
  if (!compressor.ok()) return Annotate(compressor.status(), "training.compressor");
  const auto feedback =
      Registry<ErrorFeedback>::Get().Create(ToPluginConfig(file.config.training().error_feedback()),
                                            {.compressor = compressor->get(), .layout = &trainer->layout()});
  if (!feedback.ok()) return Annotate(feedback.status(), "training.error_feedback");
  SliceTrainer slice(*trainer, data.train(), data.training.samples(arguments.client.value_or(0)),
                     arguments.withhold);
  MUSTER_ASSIGN_OR_RETURN(const auto client, EdgeClient::Create(slice, **feedback, std::move(options)));
  const StopOnSignals<EdgeClient, &EdgeClient::Stop> stop_on_signals(client.get());
  return client->Run();
}

}  // namespace muster
