// Events from many threads to the one thread that owns a state machine, and a wake-up that a signal handler
// may give.
#ifndef MUSTER_CLIENT_EDGE_MAILBOX_H_
#define MUSTER_CLIENT_EDGE_MAILBOX_H_

#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <deque>
#include <optional>
#include <utility>

#include "core/mutex.h"

namespace muster::edge {

template <typename Event>
class Mailbox {
 public:
  using Clock = std::chrono::steady_clock;

  Mailbox() : wake_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {}
  ~Mailbox() { ::close(wake_); }
  Mailbox(const Mailbox&) = delete;
  Mailbox& operator=(const Mailbox&) = delete;

  // Any thread.
  void Push(Event event) {
    {
      const MutexLock lock(&mutex_);
      events_.push_back(std::move(event));
    }
    Wake();
  }
  // Any thread, and signal handlers: lets Wait return without an event.
  void Wake() const {
    const uint64_t one = 1;
    [[maybe_unused]] const ssize_t written = ::write(wake_, &one, sizeof one);  // fails only if awake already
  }
  // The owner's thread. The oldest event, or nothing at `until` or after Wake.
  std::optional<Event> Wait(Clock::time_point until) {
    if (auto event = Pop()) return event;
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(until - Clock::now()).count();
    pollfd descriptor{wake_, POLLIN, 0};
    ::poll(&descriptor, 1, static_cast<int>(std::clamp<int64_t>(left, 0, 3'600'000)));
    uint64_t count = 0;
    [[maybe_unused]] const ssize_t read = ::read(wake_, &count, sizeof count);
    return Pop();
  }

 private:
  std::optional<Event> Pop() {
    const MutexLock lock(&mutex_);
    if (events_.empty()) return std::nullopt;
    Event event = std::move(events_.front());
    events_.pop_front();
    return event;
  }

  const int wake_;
  Mutex mutex_;
  std::deque<Event> events_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace muster::edge

#endif  // MUSTER_CLIENT_EDGE_MAILBOX_H_
