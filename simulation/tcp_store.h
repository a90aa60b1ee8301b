// Keys and values that one process keeps for all: where the processes of a simulation find each other.
#ifndef MUSTER_SIMULATION_TCP_STORE_H_
#define MUSTER_SIMULATION_TCP_STORE_H_

#include <cstdint>
#include <memory>
#include <string>

#include "core/status.h"

namespace muster {

// LibTorch's TCPStore. Plain text, for networks where every host is trusted. Thread-safe.
class TcpStore {
 public:
  struct Options {
    std::string host;
    int port = 0;         // of the keeper: 0 takes any free one
    bool keeper = false;  // keeps the keys for all; the others connect
    double deadline_seconds = 60;
  };
  // This process ignores SIGPIPE from then on: its peers may die while LibTorch or Gloo writes to them.
  // INVALID_ARGUMENT if the keeper's port cannot be had, UNAVAILABLE if the keeper is not there in time.
  static absl::StatusOr<std::unique_ptr<TcpStore>> Open(const Options& options);
  ~TcpStore();
  TcpStore(const TcpStore&) = delete;
  TcpStore& operator=(const TcpStore&) = delete;

  int port() const;
  // Others see it a moment later. UNAVAILABLE if the keeper is gone.
  absl::Status Set(const std::string& key, const std::string& value);
  absl::StatusOr<bool> Has(const std::string& key);
  // Waits for the key. DEADLINE_EXCEEDED if it does not come within `seconds`.
  absl::StatusOr<std::string> Get(const std::string& key, double seconds);
  // Adds one to a counter and returns it.
  absl::StatusOr<int64_t> Count(const std::string& key);

  struct Handle;  // LibTorch's object (tcp_store_handle.h)
  const Handle& handle() const { return *handle_; }

 private:
  explicit TcpStore(std::unique_ptr<Handle> handle);

  std::unique_ptr<Handle> handle_;
};

}  // namespace muster

#endif  // MUSTER_SIMULATION_TCP_STORE_H_
