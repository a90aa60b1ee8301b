#include "core/transport/plain_listener.h"

#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstring>
#include <map>
#include <vector>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/str_cat.h"
#include "core/transport/endpoint.h"

namespace muster {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::chrono::seconds kPatience{10};
constexpr size_t kMostSilent = 1000;  // connections that have not said a byte yet
constexpr char kTlsHandshake = 0x16;

std::string PeerOf(int descriptor) {
  sockaddr_storage address = {};
  socklen_t size = sizeof(address);
  char host[NI_MAXHOST] = "?";
  if (getpeername(descriptor, reinterpret_cast<sockaddr*>(&address), &size) == 0) {
    getnameinfo(reinterpret_cast<sockaddr*>(&address), size, host, sizeof(host), nullptr, 0, NI_NUMERICHOST);
  }
  return host;
}

// Says something that is not TLS, so that the client's own error can be "this is not TLS".
void AnswerInPlainText(int descriptor) {
  char hello[4096];
  while (recv(descriptor, hello, sizeof(hello), MSG_DONTWAIT) >
         0) {  // unread bytes would turn the answer into a reset
  }
  constexpr std::string_view kAnswer = "HTTP/1.1 400 this port speaks plain text\r\n\r\n";
  if (send(descriptor, kAnswer.data(), kAnswer.size(), MSG_NOSIGNAL | MSG_DONTWAIT) > 0)
    shutdown(descriptor, SHUT_WR);
}

int PortOf(int descriptor) {
  sockaddr_storage address = {};
  socklen_t size = sizeof(address);
  if (getsockname(descriptor, reinterpret_cast<sockaddr*>(&address), &size) != 0) return 0;
  return ntohs(address.ss_family == AF_INET6 ? reinterpret_cast<sockaddr_in6*>(&address)->sin6_port
                                             : reinterpret_cast<sockaddr_in*>(&address)->sin_port);
}

}  // namespace

absl::StatusOr<std::unique_ptr<PlainListener>> PlainListener::Open(grpc::ServerBuilder& builder,
                                                                   const std::string& address, LogLine log) {
  const Endpoint endpoint = ParseEndpoint(address);
  addrinfo hints = {};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_PASSIVE;
  addrinfo* found = nullptr;
  if (const int error = getaddrinfo(endpoint.host.empty() ? nullptr : endpoint.host.c_str(),
                                    endpoint.port.c_str(), &hints, &found);
      error != 0) {
    return InvalidInput(absl::StrCat("cannot listen on ", address, ": ", gai_strerror(error)));
  }
  const absl::Cleanup free_found = [found] { freeaddrinfo(found); };
  std::unique_ptr<PlainListener> listener(new PlainListener);
  listener->log_ = std::move(log);
  listener->socket_ = socket(found->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  const int on = 1;
  setsockopt(listener->socket_, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
  if (bind(listener->socket_, found->ai_addr, found->ai_addrlen) != 0 ||
      listen(listener->socket_, SOMAXCONN) != 0) {
    return InvalidInput(absl::StrCat("cannot listen on ", address, ": ", std::strerror(errno)));
  }
  listener->port_ = PortOf(listener->socket_);
  listener->wake_ = eventfd(0, EFD_CLOEXEC);
  listener->acceptor_ = builder.experimental().AddExternalConnectionAcceptor(
      grpc::ServerBuilder::experimental_type::ExternalConnectionType::FROM_FD,
      grpc::InsecureServerCredentials());
  return listener;
}

PlainListener::~PlainListener() {
  if (thread_.joinable()) {
    const uint64_t one = 1;
    if (write(wake_, &one, sizeof(one)) == sizeof(one)) thread_.join();
  }
  if (wake_ >= 0) close(wake_);
  if (socket_ >= 0) close(socket_);
}

void PlainListener::Start() {
  thread_ = std::thread([this] { Accept(); });
}

void PlainListener::Accept() {
  std::map<int, Clock::time_point> silent;  // since when
  std::vector<pollfd> polled;
  while (true) {
    // With too many silent connections the rest wait in the kernel's queue.
    const bool room = silent.size() < kMostSilent;
    polled.assign({{wake_, POLLIN, 0}, {socket_, static_cast<short>(room ? POLLIN : 0), 0}});
    for (const auto& [descriptor, since] : silent) polled.push_back({descriptor, POLLIN, 0});
    poll(polled.data(), polled.size(), silent.empty() ? -1 : 1000);
    if (polled[0].revents != 0) break;

    for (size_t i = 2; i < polled.size(); ++i) {
      const int descriptor = polled[i].fd;
      if (polled[i].revents == 0) {
        if (Clock::now() - silent[descriptor] < kPatience) continue;
        close(descriptor);
      } else {
        char first = 0;
        const ssize_t got = recv(descriptor, &first, 1, MSG_PEEK | MSG_DONTWAIT);
        if (got == 1 && first != kTlsHandshake) {
          grpc::experimental::ExternalConnectionAcceptor::NewConnectionParameters connection;
          connection.listener_fd = socket_;
          connection.fd = descriptor;  // gRPC's from now on
          acceptor_->HandleNewConnection(&connection);
        } else {
          if (got == 1) {
            if (log_) {
              log_(absl::StrCat(
                  "a client at ", PeerOf(descriptor),
                  " speaks TLS to this plain-text port (this coordinator was started with --insecure)"));
            }
            AnswerInPlainText(descriptor);
          }
          close(descriptor);
        }
      }
      silent.erase(descriptor);
    }
    if (polled[1].revents != 0) {
      const int descriptor = accept4(socket_, nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK);
      if (descriptor >= 0) silent.emplace(descriptor, Clock::now());
    }
  }
  for (const auto& [descriptor, since] : silent) close(descriptor);
}

}  // namespace muster
