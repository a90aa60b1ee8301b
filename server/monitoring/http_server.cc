#include "server/monitoring/http_server.h"

#include <httplib.h>

#include <thread>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"

namespace muster {
namespace {

constexpr size_t kThreads = 2;  // Prometheus and one person
constexpr time_t kPatienceSeconds = 5;

}  // namespace

struct HttpServer::Impl {
  httplib::Server server;
  std::thread thread;
  int port = 0;
};

HttpServer::HttpServer() : impl_(std::make_unique<Impl>()) {
  httplib::Server& server = impl_->server;
  server.new_task_queue = [] { return new httplib::ThreadPool(kThreads); };
  // The library would share a port with whoever listens there already.
  server.set_socket_options([](int socket) {
    const int on = 1;
    setsockopt(socket, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
  });
  server.set_keep_alive_max_count(1);  // a scraper that lingers must not hold a thread
  server.set_read_timeout(kPatienceSeconds);
  server.set_write_timeout(kPatienceSeconds);
  server.set_payload_max_length(1 << 16);
}

HttpServer::~HttpServer() {
  impl_->server.stop();
  if (impl_->thread.joinable()) impl_->thread.join();
}

void HttpServer::Get(const std::string& path, const std::string& content_type,
                     std::function<std::string()> body) {
  impl_->server.Get(
      path, [content_type, body = std::move(body)](const httplib::Request&, httplib::Response& response) {
        response.set_content(body(), content_type);
      });
}

absl::Status HttpServer::Start(const std::string& address) {
  const size_t colon = address.rfind(':');
  std::string host = address.substr(0, colon);
  if (host.size() > 2 && host.front() == '[' && host.back() == ']') host = host.substr(1, host.size() - 2);
  int port = -1;
  if (colon == std::string::npos || host.empty() || !absl::SimpleAtoi(address.substr(colon + 1), &port) ||
      port < 0 || port > 65535) {
    return InvalidInput(
        absl::StrCat("\"", address, "\": an address is HOST:PORT, for instance 127.0.0.1:9464"));
  }
  if (port == 0) {
    port = impl_->server.bind_to_any_port(host);
  } else if (!impl_->server.bind_to_port(host, port)) {
    port = -1;
  }
  if (port < 0)
    return InvalidInput(absl::StrCat("cannot listen on ", address, ": it is taken, or not this machine's"));
  impl_->port = port;
  impl_->thread = std::thread([this] { impl_->server.listen_after_bind(); });
  while (!impl_->server.is_running()) std::this_thread::yield();  // stop() does nothing before
  return absl::OkStatus();
}

int HttpServer::port() const { return impl_->port; }

}  // namespace muster
