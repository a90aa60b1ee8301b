#include "server/monitoring/monitoring_endpoint.h"

#include <nlohmann/json.hpp>
#include <utility>

#include "absl/strings/str_cat.h"
#include "server/monitoring/page_assets.h"
#include "server/monitoring/report.h"

namespace muster {
namespace {

constexpr int kMostReaders = 16;
constexpr char kText[] = "text/plain; charset=utf-8";
// Nothing from elsewhere, no script or style in the page itself, no frame around it.
constexpr char kPolicy[] =
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; base-uri "
    "'none'; "
    "form-action 'none'; frame-ancestors 'none'";

// Takes as long for any two texts of one length.
bool SameSecret(const std::string& a, const std::string& b) {
  if (a.size() != b.size()) return false;
  unsigned char difference = 0;
  for (size_t i = 0; i < a.size(); ++i) difference |= static_cast<unsigned char>(a[i] ^ b[i]);
  return difference == 0;
}

absl::StatusOr<PageCommand> ParseCommand(const std::string& body) {
  const nlohmann::json json = nlohmann::json::parse(body, nullptr, /*allow_exceptions=*/false);
  PageCommand command;
  try {
    command.action = json.at("action").get<std::string>();
    if (json.contains("set")) command.set = json.at("set").get<std::map<std::string, std::string>>();
  } catch (const nlohmann::json::exception&) {
    return InvalidInput(R"(a command is {"action": "pause"}; with "set" also {"set": {"PATH": "VALUE"}})");
  }
  return command;
}

HttpAnswer Control(const PageOptions& options, const HttpRequest& request) {
  if (!SameSecret(request.authorization, absl::StrCat("Bearer ", options.token))) {
    return {.status = 401, .body = "this is not the page's token\n"};
  }
  const absl::StatusOr<PageCommand> command = ParseCommand(request.body);
  absl::Status done = command.status();
  if (done.ok()) done = options.control(*command);
  if (done.ok()) return {.status = 200, .body = "done\n"};
  return {.status = absl::IsInvalidArgument(done) ? 400 : 409, .body = absl::StrCat(Message(done), "\n")};
}

HttpAnswer ReportSoFar(const std::string& directory) {
  const absl::StatusOr<Run> run = ReadRun(directory);
  if (!run.ok()) return {.status = 503, .body = Message(run.status())};
  absl::StatusOr<std::string> page = RenderReport(std::span(&*run, 1));
  if (!page.ok()) return {.status = 503, .body = Message(page.status())};
  return {.status = 200, .body = *std::move(page)};
}

}  // namespace

absl::StatusOr<std::unique_ptr<MonitoringEndpoint>> MonitoringEndpoint::Open(const std::string& address,
                                                                             const std::string& federation,
                                                                             const std::string& version,
                                                                             const PageOptions* page) {
  std::unique_ptr<MonitoringEndpoint> endpoint(new MonitoringEndpoint(federation, version));
  endpoint->server_.Get("/metrics", "text/plain; version=0.0.4; charset=utf-8",
                        [metrics = &endpoint->metrics_] { return HttpAnswer{.body = metrics->Text()}; });
  endpoint->server_.Get("/healthz", kText, [] { return HttpAnswer{.body = "ok\n"}; });
  if (page != nullptr) {
    endpoint->page_ = std::make_unique<LivePage>(version, !page->token.empty(), page->committed);
    endpoint->ServePage(*page);
  }
  MUSTER_RETURN_IF_ERROR(endpoint->server_.Start(address));
  endpoint->url_ =
      absl::StrCat("http://", address.substr(0, address.rfind(':')), ":", endpoint->server_.port(), "/");
  return endpoint;
}

void MonitoringEndpoint::ServePage(const PageOptions& options) {
  const std::map<std::string, std::string> headers = {{"Content-Security-Policy", kPolicy},
                                                      {"X-Content-Type-Options", "nosniff"},
                                                      {"Referrer-Policy", "no-referrer"},
                                                      {"Cache-Control", "no-store"}};
  const auto serve = [&](const char* path, const char* type, std::string_view asset) {
    server_.Get(
        path, type, [asset] { return HttpAnswer{.body = std::string(asset)}; }, headers);
  };
  constexpr char kScript[] = "text/javascript; charset=utf-8";
  serve("/", "text/html; charset=utf-8", kLiveHtml);
  serve("/live.js", kScript, kLiveJs);
  serve("/plots.js", kScript, kPlotsJs);
  serve("/chart.js", kScript, kChartJs);
  serve("/pages.css", "text/css; charset=utf-8", kPagesCss);
  const LivePage* const page = page_.get();
  const auto state = [page] {
    PageCursor cursor;
    return HttpAnswer{.body = page->Changes(cursor)};
  };
  server_.Get("/state", "application/json", state, {{"Cache-Control", "no-store"}});
  server_.Stream(
      "/events", kMostReaders,
      [page]() -> HttpServer::NextMessage {
        return [page, cursor = PageCursor()]() mutable { return page->Next(cursor); };
      },
      [this] { page_->Close(); });
  // The report brings its own policy: it is one file.
  server_.Get("/report", "text/html; charset=utf-8",
              [directory = options.run_directory] { return ReportSoFar(directory); },
              {{"Cache-Control", "no-store"}});
  if (!options.token.empty()) {
    server_.Post("/control", [options](const HttpRequest& request) { return Control(options, request); });
  }
}

void MonitoringEndpoint::On(const Event& event) {
  metrics_.On(event);
  if (page_ != nullptr) page_->On(event);
}

}  // namespace muster
