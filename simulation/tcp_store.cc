#include "simulation/tcp_store.h"

#include <c10/util/Logging.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "simulation/tcp_store_handle.h"

namespace muster {
namespace {

using Clock = std::chrono::steady_clock;

std::chrono::milliseconds Milliseconds(double seconds) {
  return std::chrono::milliseconds(static_cast<int64_t>(seconds * 1e3));
}

// It logs what it throws, too, and that IPv6 is not to be had.
void QuietLibTorch() {
  static std::once_flag once;
  std::call_once(once, [] {
#ifdef C10_USE_GLOG
    FLAGS_minloglevel = google::GLOG_FATAL;
#else
    FLAGS_caffe2_log_level = c10::GLOG_FATAL;
#endif
  });
}

// Gloo writes to connections whose other end may have died without asking for an error instead of a signal.
void IgnoreBrokenPipes() {
  static std::once_flag once;
  std::call_once(once, [] { std::signal(SIGPIPE, SIG_IGN); });
}

absl::Status Gone(const std::exception& error) {
  return absl::UnavailableError(absl::StrCat("the store of rank 0 does not answer: ", FirstLine(error)));
}

}  // namespace

TcpStore::TcpStore(std::unique_ptr<Handle> handle) : handle_(std::move(handle)) {}
TcpStore::~TcpStore() = default;

absl::StatusOr<std::unique_ptr<TcpStore>> TcpStore::Open(const Options& options) {
  QuietLibTorch();
  IgnoreBrokenPipes();
  c10d::TCPStoreOptions store;
  store.port = static_cast<uint16_t>(options.port);
  store.isServer = options.keeper;
  store.waitWorkers = false;
  store.timeout = Milliseconds(options.deadline_seconds);
  try {
    return std::unique_ptr<TcpStore>(new TcpStore(
        std::make_unique<Handle>(Handle{c10::make_intrusive<c10d::TCPStore>(options.host, store)})));
  } catch (const std::exception& error) {
    if (options.keeper) {
      return InvalidInput(absl::StrCat("cannot listen on port ", options.port,
                                       " (MASTER_PORT): ", FirstLine(error), "; choose another port"));
    }
    return absl::UnavailableError(absl::StrCat("no rank 0 at ", options.host, ":", options.port,
                                               " (MASTER_ADDR, MASTER_PORT) within ",
                                               options.deadline_seconds, " s: ", FirstLine(error)));
  }
}

int TcpStore::port() const { return handle_->store->getPort(); }

absl::Status TcpStore::Set(const std::string& key, const std::string& value) {
  try {
    handle_->store->set(key, std::vector<uint8_t>(value.begin(), value.end()));
    return absl::OkStatus();
  } catch (const std::exception& error) {
    return Gone(error);
  }
}

absl::StatusOr<bool> TcpStore::Has(const std::string& key) {
  try {
    return handle_->store->check({key});
  } catch (const std::exception& error) {
    return Gone(error);
  }
}

absl::StatusOr<int64_t> TcpStore::Count(const std::string& key) {
  try {
    return handle_->store->add(key, 1);
  } catch (const std::exception& error) {
    return Gone(error);
  }
}

// Asks again and again: a wait inside LibTorch's store would keep other threads from it.
absl::StatusOr<std::string> TcpStore::Get(const std::string& key, double seconds) {
  const Clock::time_point end = Clock::now() + Milliseconds(seconds);
  for (std::chrono::milliseconds pause(1);; pause = std::min(2 * pause, std::chrono::milliseconds(20))) {
    MUSTER_ASSIGN_OR_RETURN(const bool there, Has(key));
    if (there) break;
    if (Clock::now() >= end) {
      return absl::DeadlineExceededError(absl::StrCat("nobody said '", key, "' within ", seconds, " s"));
    }
    std::this_thread::sleep_for(pause);
  }
  try {
    const std::vector<uint8_t> value = handle_->store->get(key);
    return std::string(value.begin(), value.end());
  } catch (const std::exception& error) {
    return Gone(error);
  }
}

}  // namespace muster
