#include "app/monitoring.h"

#include <string_view>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "core/config.h"
#include "core/file.h"

namespace muster {
namespace {

constexpr char kDefaultAddress[] = "127.0.0.1:9464";
constexpr size_t kShortestToken = 16;

absl::StatusOr<std::string> ReadToken(const std::string& path) {
  MUSTER_ASSIGN_OR_RETURN(const std::string text, ReadFile(path));
  std::string token(absl::StripAsciiWhitespace(text));
  if (token.size() < kShortestToken) {
    return InvalidInput(absl::StrCat(path, ": a token has at least ", kShortestToken,
                                     " characters; make one by: openssl rand -hex 16"));
  }
  return token;
}

absl::Status Steer(SimulatedFederation& federation, const v1::Experiment& config,
                   const PageCommand& command) {
  const auto engine = [&federation](void (RoundEngine::*what)()) {
    return federation.WithEngine([what](RoundEngine& engine) {
      (engine.*what)();
      return absl::OkStatus();
    });
  };
  if (command.action == "pause") return engine(&RoundEngine::Pause);
  if (command.action == "resume") return engine(&RoundEngine::Unpause);
  if (command.action == "stop") {
    federation.RequestStop();
    return absl::OkStatus();
  }
  if (command.action == "set") {
    MUSTER_ASSIGN_OR_RETURN(const LiveChange change, ParseChange(config, command.set));
    return federation.WithEngine([&change](RoundEngine& engine) { return engine.RequestChange(change); });
  }
  return InvalidInput("an action is one of pause, resume, stop, set");
}

}  // namespace

absl::StatusOr<std::unique_ptr<Monitoring>> Monitoring::Start(const MonitoringFlags& flags,
                                                              const v1::Experiment& config,
                                                              const std::string& dir,
                                                              std::span<const RoundRecord> committed,
                                                              SimulatedFederation& federation, Log& log,
                                                              bool failures_are_news) {
  std::unique_ptr<Monitoring> monitoring(new Monitoring(log, failures_are_news));
  std::string address = flags.page_at.empty() ? flags.metrics : flags.page_at;
  if (!flags.metrics.empty() && address != flags.metrics) {
    return InvalidInput("--metrics and --page are served at one address: give it once");
  }
  if (address.empty() && flags.page) address = kDefaultAddress;
  if (address.empty()) return monitoring;

  PageOptions page{.run_directory = dir, .token = "", .control = nullptr, .committed = committed};
  if (!flags.token_file.empty()) {
    absl::StatusOr<std::string> token = ReadToken(flags.token_file);
    if (!token.ok()) return Annotate(token.status(), "--page-token-file");
    page.token = *std::move(token);
    page.control = [&federation, &config, &log](const PageCommand& command) {
      absl::Status done = Steer(federation, config, command);
      if (done.ok())
        log.Write({.name = "steered", .message = absl::StrCat("from the page: ", command.action)});
      return done;
    };
  }
  absl::StatusOr<std::unique_ptr<MonitoringEndpoint>> endpoint =
      MonitoringEndpoint::Open(address, config.name(), MUSTER_VERSION, flags.page ? &page : nullptr);
  if (!endpoint.ok()) return Annotate(endpoint.status(), flags.page ? "--page" : "--metrics");
  monitoring->endpoint_ = *std::move(endpoint);
  log.Write({.name = "serving_metrics",
             .message = absl::StrCat("metrics: ", monitoring->endpoint_->url(), "metrics")});
  if (LivePage* const live = monitoring->endpoint_->page()) {
    log.SetListener([live](const LogEvent& event) { live->Add(event); });
    live->SetMoment([&federation] { return Moment{.phase = PhaseOf(federation)}; });
    log.Write({.name = "serving_page", .message = absl::StrCat("live page: ", monitoring->endpoint_->url())});
  }
  return monitoring;
}

Monitoring::~Monitoring() { log_.SetListener(nullptr); }

void Monitoring::AddTo(std::vector<RoundListener*>& listeners) {
  listeners.push_back(&events_);
  if (endpoint_ != nullptr) listeners.push_back(endpoint_.get());
}

void Monitoring::Ended(const absl::Status& status) {
  if (status.ok() || endpoint_ == nullptr || endpoint_->page() == nullptr) return;
  endpoint_->page()->Failed(Message(status));
}

void Monitoring::SetClients(std::function<Connections()> connections, std::function<Moment()> moment) {
  if (endpoint_ == nullptr) return;
  endpoint_->metrics().SetConnections(std::move(connections));
  if (endpoint_->page() != nullptr) endpoint_->page()->SetMoment(std::move(moment));
}

absl::StatusOr<std::unique_ptr<HttpServer>> ServeMetrics(const std::string& address,
                                                         std::function<std::string()> text, Log& log) {
  if (address.empty()) return nullptr;
  auto server = std::make_unique<HttpServer>();
  server->Get("/metrics", "text/plain; version=0.0.4; charset=utf-8",
              [text = std::move(text)] { return HttpAnswer{.body = text()}; });
  const absl::Status started = server->Start(address);
  if (!started.ok()) return Annotate(started, "--metrics");
  const std::string host = address.substr(0, address.rfind(':'));
  log.Write({.name = "serving_metrics",
             .message = absl::StrCat("metrics: http://", host, ":", server->port(), "/metrics")});
  return server;
}

absl::StatusOr<LiveChange> ParseChange(const v1::Experiment& config,
                                       const std::map<std::string, std::string>& set) {
  constexpr std::string_view kRate = "training.learning_rate_factor",
                             kDeadline = "federation.deadline_seconds",
                             kParticipation = "federation.participation";
  LiveChange change;
  std::vector<std::string> overrides;
  for (const auto& [path, value] : set) {
    double number = 0;
    if (path == kRate) {
      if (!absl::SimpleAtod(value, &number))
        return InvalidInput(absl::StrCat(path, ": '", value, "' is no number"));
      change.learning_rate_factor = number;
    } else if (path == kDeadline || path == kParticipation || path.starts_with("federation.participation.")) {
      overrides.push_back(absl::StrCat(path, "=", value));
    } else {
      return InvalidInput(absl::StrCat(path,
                                       ": cannot be changed while the federation runs; what can: "
                                       "federation.deadline_seconds, training.learning_rate_factor, "
                                       "federation.participation"));
    }
  }
  v1::Experiment changed;
  MUSTER_RETURN_IF_ERROR(LoadConfig(ConfigToYaml(config), "change", "", overrides, changed));
  for (const std::string& path : overrides) {
    if (path.starts_with(kDeadline)) change.deadline_seconds = changed.federation().deadline_seconds();
    if (path.starts_with(kParticipation))
      change.participation = ToPluginConfig(changed.federation().participation());
  }
  return change;
}

std::string PhaseOf(SimulatedFederation& federation) {
  std::string phase;
  // Without an engine there is nothing to tell.
  (void)federation.WithEngine([&phase](RoundEngine& engine) {
    phase = engine.paused() && engine.phase() == Phase::kIdle ? "paused" : PhaseName(engine.phase());
    return absl::OkStatus();
  });
  return phase;
}

absl::StatusOr<std::vector<RoundRecord>> CommittedRounds(Journal& journal) {
  MUSTER_ASSIGN_OR_RETURN(const std::vector<std::string> records, journal.Records());
  std::vector<RoundRecord> rounds;
  for (const std::string& json : records) {
    MUSTER_ASSIGN_OR_RETURN(rounds.emplace_back(), RoundRecordFromJson(json));
  }
  return rounds;
}

}  // namespace muster
