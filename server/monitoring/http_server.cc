#include "server/monitoring/http_server.h"

#include <httplib.h>
#include <netinet/tcp.h>

#include <chrono>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "core/mutex.h"

namespace muster {
namespace {

constexpr char kText[] = "text/plain; charset=utf-8";
constexpr size_t kThreads = 3;  // Prometheus and two people; beside the readers of streams
constexpr time_t kPatienceSeconds = 5;
constexpr double kGoodbyeSeconds = 2;               // for the last messages of streams
constexpr unsigned kVanishedMilliseconds = 20'000;  // a reader that acknowledges nothing for so long is gone

// How many read a stream.
class Readers {
 public:
  explicit Readers(int most) : most_(most) {}
  bool Enter() {
    const MutexLock lock(&mutex_);
    if (count_ == most_) return false;
    ++count_;
    return true;
  }
  void Leave() {
    const MutexLock lock(&mutex_);
    --count_;
    left_.NotifyAll();
  }
  // Waits until all have left, for so long at most.
  void WaitUntilNone(std::chrono::steady_clock::time_point deadline) {
    const MutexLock lock(&mutex_);
    while (count_ > 0) {
      const std::chrono::duration<double> left = deadline - std::chrono::steady_clock::now();
      if (left.count() <= 0) return;
      left_.WaitFor(&mutex_, left.count());
    }
  }

 private:
  const int most_;
  Mutex mutex_;
  CondVar left_;
  int count_ ABSL_GUARDED_BY(mutex_) = 0;
};

struct OpenStream {
  std::function<void()> close;
  std::shared_ptr<Readers> readers;
};

}  // namespace

struct HttpServer::Impl {
  httplib::Server server;
  std::thread thread;
  int port = 0;
  size_t threads = kThreads;
  std::vector<OpenStream> streams;
};

HttpServer::HttpServer() : impl_(std::make_unique<Impl>()) {
  httplib::Server& server = impl_->server;
  server.new_task_queue = [this] { return new httplib::ThreadPool(impl_->threads); };
  // The library would share a port with whoever listens there already.
  server.set_socket_options([](int socket) {
    const int on = 1;
    setsockopt(socket, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    setsockopt(socket, IPPROTO_TCP, TCP_USER_TIMEOUT, &kVanishedMilliseconds, sizeof(kVanishedMilliseconds));
  });
  server.set_keep_alive_max_count(1);  // a scraper that lingers must not hold a thread
  server.set_read_timeout(kPatienceSeconds);
  server.set_write_timeout(kPatienceSeconds);
  server.set_payload_max_length(1 << 16);
}

HttpServer::~HttpServer() {
  for (const OpenStream& stream : impl_->streams) stream.close();
  // The library cuts streams off where they are: their last messages go first.
  const auto deadline =
      std::chrono::steady_clock::now() + std::chrono::milliseconds(static_cast<int>(1000 * kGoodbyeSeconds));
  for (const OpenStream& stream : impl_->streams) stream.readers->WaitUntilNone(deadline);
  impl_->server.stop();
  if (impl_->thread.joinable()) impl_->thread.join();
}

void HttpServer::Get(const std::string& path, const std::string& content_type,
                     std::function<HttpAnswer()> answer, std::map<std::string, std::string> headers) {
  impl_->server.Get(path, [content_type, answer = std::move(answer), headers = std::move(headers)](
                              const httplib::Request&, httplib::Response& response) {
    for (const auto& [name, value] : headers) response.set_header(name, value);
    const HttpAnswer made = answer();
    response.status = made.status;
    response.set_content(made.body, made.status == 200 ? content_type : kText);
  });
}

void HttpServer::Post(const std::string& path, std::function<HttpAnswer(const HttpRequest&)> answer) {
  impl_->server.Post(
      path, [answer = std::move(answer)](const httplib::Request& request, httplib::Response& response) {
        const HttpAnswer made =
            answer({.body = request.body, .authorization = request.get_header_value("Authorization")});
        response.status = made.status;
        response.set_content(made.body, kText);
      });
}

void HttpServer::Stream(const std::string& path, int most_readers, std::function<NextMessage()> open,
                        std::function<void()> close) {
  impl_->threads += static_cast<size_t>(most_readers);
  const auto readers = std::make_shared<Readers>(most_readers);
  impl_->streams.push_back({std::move(close), readers});
  impl_->server.Get(path,
                    [readers, open = std::move(open)](const httplib::Request&, httplib::Response& response) {
                      if (!readers->Enter()) {
                        response.status = 503;
                        response.set_header("Retry-After", "5");
                        response.set_content("too many readers\n", kText);
                        return;
                      }
                      response.set_header("Cache-Control", "no-store");
                      response.set_chunked_content_provider(
                          "text/event-stream",
                          [next = open()](size_t, httplib::DataSink& sink) {
                            const std::optional<std::string> message = next();
                            if (!message) {
                              sink.done();
                              return true;
                            }
                            const std::string event = message->empty() ? ":\n\n" : ServerSentEvent(*message);
                            return sink.write(event.data(), event.size());
                          },
                          [readers](bool) { readers->Leave(); });
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

std::string ServerSentEvent(const std::string& message) {
  std::string event = "data: ";
  for (const char c : message) {
    if (c == '\r') continue;  // would end the line, too
    event += c;
    if (c == '\n') event += "data: ";
  }
  return event + "\n\n";
}

}  // namespace muster
