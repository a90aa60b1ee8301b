// A TCP proxy on the loopback that counts, breaks, slows and stops what goes through it.
#ifndef MUSTER_TESTS_E2E_PROXY_H_
#define MUSTER_TESTS_E2E_PROXY_H_

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

namespace muster {

class FaultyProxy {
 public:
  // Listens on a free port and connects to `target`, a port of the loopback, for everyone who comes.
  explicit FaultyProxy(int target) : target_(target), listener_(Listen()), acceptor_([this] { Accept(); }) {}
  ~FaultyProxy() {
    stop_.store(true);
    acceptor_.join();
    for (std::thread& link : links_) link.join();
    close(listener_);
  }
  FaultyProxy(const FaultyProxy&) = delete;
  FaultyProxy& operator=(const FaultyProxy&) = delete;

  int port() const { return port_; }
  // Bytes carried so far towards the coordinator, and from it.
  int64_t up() const { return carried_[0].load(); }
  int64_t down() const { return carried_[1].load(); }

  // The next `times` connections are cut once so many bytes went from client to coordinator.
  void CutUploads(int times, int64_t after_bytes) {
    cut_after_.store(after_bytes);
    cuts_.store(times);
  }
  int cuts_left() const { return cuts_.load(); }
  // From now on a connection that has carried so many bytes towards the coordinator carries no more of them.
  void HoldUploads(int64_t after_bytes) { hold_after_.store(after_bytes); }
  // The same, but one byte a second still goes through.
  void TrickleUploads(int64_t after_bytes) {
    trickle_.store(true);
    HoldUploads(after_bytes);
  }
  void Release() { hold_after_.store(-1); }
  // Waits until a connection is held. False if that takes longer than any test should.
  bool WaitUntilHeld() {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, std::chrono::seconds(120), [this] { return held_; });
  }
  // Bytes a second in either direction of a connection; 0: as fast as they come.
  void Slow(int64_t bytes_per_second) { rate_.store(bytes_per_second); }

 private:
  int Listen() {
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    if (bind(fd, reinterpret_cast<sockaddr*>(&address), size) != 0 || listen(fd, 64) != 0) abort();
    getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size);
    port_ = ntohs(address.sin_port);
    return fd;
  }

  void Accept() {
    while (!stop_.load()) {
      pollfd wait{listener_, POLLIN, 0};
      if (poll(&wait, 1, 20) <= 0) continue;
      const int client = accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC);
      if (client >= 0) links_.emplace_back([this, client] { Carry(client); });
    }
  }

  void Carry(int client) {
    const int server = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    address.sin_port = htons(static_cast<uint16_t>(target_));
    if (connect(server, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0) {
      int64_t sent = 0;
      std::chrono::steady_clock::time_point next_byte;
      while (!stop_.load() && Step(client, server, sent, next_byte)) {
      }
    }
    const linger at_once{1, 0};  // a reset, as a broken link gives
    setsockopt(client, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
    close(client);
    close(server);
  }

  // Carries what is there; false when the connection is at its end.
  bool Step(int client, int server, int64_t& sent, std::chrono::steady_clock::time_point& next_byte) {
    const bool held = hold_after_.load() >= 0 && sent >= hold_after_.load();
    if (held) {
      const std::lock_guard lock(mutex_);
      held_ = true;
      changed_.notify_all();
    }
    const bool trickles = held && trickle_.load() && std::chrono::steady_clock::now() >= next_byte;
    pollfd ends[2] = {{client, static_cast<int16_t>(held && !trickles ? 0 : POLLIN), 0}, {server, POLLIN, 0}};
    if (poll(ends, 2, 20) < 0) return false;
    const int64_t rate = rate_.load();
    char bytes[16384];
    const size_t most = trickles   ? 1
                        : rate > 0 ? std::clamp<size_t>(static_cast<size_t>(rate / 100), 1, sizeof bytes)
                                   : sizeof bytes;
    bool moved = false;
    for (int from = 0; from < 2; ++from) {
      if ((ends[from].revents & (POLLIN | POLLHUP | POLLERR)) == 0) continue;
      if (held && !trickles && from == 0) return false;  // the client is gone
      if (trickles && from == 0) next_byte = std::chrono::steady_clock::now() + std::chrono::seconds(1);
      const ssize_t got = read(ends[from].fd, bytes, most);
      if (got <= 0 || !WriteWhole(ends[1 - from].fd, bytes, got)) return false;
      moved = true;
      carried_[from] += got;
      if (from != 0) continue;
      sent += got;
      if (cuts_.load() > 0 && sent >= cut_after_.load() && cuts_.fetch_sub(1) > 0) return false;
    }
    // Between two pieces of a slow link nothing can happen but its end.
    if (rate > 0 && moved)
      poll(nullptr, 0, std::max<int>(1, static_cast<int>(1000 * static_cast<int64_t>(most) / rate)));
    return true;
  }

  static bool WriteWhole(int fd, const char* bytes, ssize_t size) {
    while (size > 0) {
      const ssize_t put = send(fd, bytes, static_cast<size_t>(size), MSG_NOSIGNAL);
      if (put <= 0) return false;
      bytes += put;
      size -= put;
    }
    return true;
  }

  const int target_;
  int port_ = 0;
  const int listener_;
  std::atomic<bool> stop_{false}, trickle_{false};
  std::atomic<int64_t> carried_[2] = {0, 0};
  std::atomic<int> cuts_{0};
  std::atomic<int64_t> cut_after_{0}, hold_after_{-1}, rate_{0};
  std::mutex mutex_;
  std::condition_variable changed_;
  bool held_ = false;
  std::vector<std::thread> links_;  // of the acceptor, and of the destructor after it
  std::thread acceptor_;
};

}  // namespace muster

#endif  // MUSTER_TESTS_E2E_PROXY_H_
