// What clients remember between rounds (error feedback, optimiser state, control variates), on disk: a
// million virtual clients of a simulation, or the one of an edge device.
#ifndef MUSTER_CLIENT_STATE_STORE_H_
#define MUSTER_CLIENT_STATE_STORE_H_

#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <unordered_map>

#include "core/mutex.h"
#include "core/state.h"
#include "core/status.h"

namespace muster {

// One file of records. For every client the two newest are kept, so that a round that was not committed can
// be done again from what the client remembered before it: a record of round r counts only for rounds after
// r. Memory: some 100 bytes per client that has state; the states themselves stay on disk (and in the
// system's cache). Survives kill -9 at any instant. Thread-safe.
class StateStore {
 public:
  // Opens or makes the file; "" for a nameless one that is gone with the process. INVALID_ARGUMENT if it is
  // not a state store or is in use by another process.
  static absl::StatusOr<std::unique_ptr<StateStore>> Open(const std::string& path);
  ~StateStore();
  StateStore(const StateStore&) = delete;
  StateStore& operator=(const StateStore&) = delete;

  // What the client remembered before `round`; empty if nothing.
  absl::StatusOr<State> Load(int64_t client, int64_t round) const;
  // From the next round on the client remembers `state`. An earlier record of the same round is replaced.
  absl::Status Save(int64_t client, int64_t round, const State& state);

  int64_t clients() const;
  // Of the file.
  int64_t size_bytes() const;

 private:
  struct Slot {
    int64_t offset = -1;  // of the record; -1: none
    int64_t round = -1;
    uint64_t capacity = 0;
    uint64_t size = 0;
  };
  using Slots = std::array<Slot, 2>;

  StateStore(std::string path, int fd) : path_(std::move(path)), fd_(fd) {}
  absl::Status Scan();
  absl::StatusOr<State> Read(int64_t client, const Slot& slot) const;
  absl::Status Write(int64_t client, const Slot& slot, std::string_view bytes) const;
  absl::Status Free(const Slot& slot);
  Slot Allocate(uint64_t size);
  absl::Status IoError(const char* action) const;

  const std::string path_;
  const int fd_;
  mutable Mutex mutex_;
  std::unordered_map<int64_t, Slots> clients_ ABSL_GUARDED_BY(mutex_);
  std::multimap<uint64_t, int64_t> free_ ABSL_GUARDED_BY(mutex_);  // capacity to offset
  int64_t end_ ABSL_GUARDED_BY(mutex_) = 0;
};

}  // namespace muster

#endif  // MUSTER_CLIENT_STATE_STORE_H_
