// Ending a long command cleanly from outside.
#ifndef MUSTER_APP_STOP_ON_SIGNALS_H_
#define MUSTER_APP_STOP_ON_SIGNALS_H_

#include <signal.h>

#include <atomic>

namespace muster {

// While it lives, the first SIGINT or SIGTERM calls (target->*stop)(), which must be safe in a signal
// handler; a second one ends the process at once. One at a time for every Target.
template <typename Target, void (Target::*stop)()>
class StopOnSignals {
 public:
  explicit StopOnSignals(Target* target) {
    target_.store(target);
    struct sigaction action {};
    action.sa_handler = [](int) {
      if (Target* running = target_.load()) (running->*stop)();
    };
    action.sa_flags = static_cast<int>(SA_RESETHAND) | SA_RESTART;
    sigaction(SIGINT, &action, nullptr);
    sigaction(SIGTERM, &action, nullptr);
  }
  ~StopOnSignals() {
    signal(SIGINT, SIG_DFL);
    signal(SIGTERM, SIG_DFL);
    target_.store(nullptr);
  }
  StopOnSignals(const StopOnSignals&) = delete;
  StopOnSignals& operator=(const StopOnSignals&) = delete;

 private:
  static inline std::atomic<Target*> target_{nullptr};
};

}  // namespace muster

#endif  // MUSTER_APP_STOP_ON_SIGNALS_H_
