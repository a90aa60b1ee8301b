// How the processes of one simulation exchange bytes. One implementation per library that moves them.
#ifndef MUSTER_SIMULATION_COLLECTIVE_H_
#define MUSTER_SIMULATION_COLLECTIVE_H_

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "core/registry.h"
#include "core/status.h"

namespace muster {

class TcpStore;

// A group of processes that are numbered 0 .. size-1, for as long as all of them live. Where one is lost,
// Send and Receive between the others go on; Broadcast and ReduceSum fail, and a new group must be formed.
//
// No call outlasts the group's deadline: DEADLINE_EXCEEDED. UNAVAILABLE if a process it needs is gone, or the
// group is closed. ABORTED if the group broke down because of another process. Making one is
// INVALID_ARGUMENT if this machine lacks what it needs. Send and Receive may be called from several threads:
// messages from one process to another arrive in the order in which they were sent, and none after one that
// failed; only one thread at a time may receive from the same process. The other calls come from one thread,
// in the same order in every process.
class Collective {
 public:
  using Interface = Collective;
  static constexpr char kKind[] = "collective";
  static constexpr char kList[] = "collectives";
  struct Context {
    TcpStore* store = nullptr;  // where the group's processes find each other; outlives the group
    std::string prefix;         // of the group's keys there; no other group's
    int rank = 0;
    int size = 1;
    int local_rank = 0;  // among the processes of this machine: each may have a device of its own
    int device = -1;     // the number of the device that this process trains on; -1: it has none
    double deadline_seconds = 60;
  };

  virtual ~Collective() = default;
  virtual int rank() const = 0;
  virtual int size() const = 0;

  // Process 0's `bytes` are everybody's afterwards; all give the same length.
  virtual absl::Status Broadcast(std::span<char> bytes) = 0;
  // Whether ReduceSum is there, because processes reach each other's devices. Elsewhere sums go as messages,
  // from each process as soon as it has them.
  virtual bool Reduces() const { return false; }
  // Process 0's `words` are the sums over all processes afterwards (modulo 2^64, so in any order the same
  // bits), everybody else's are what they were; all give the same length. `on_device`, which process 0's are
  // not, they lie in the memory of Context::device, and no work on them is under way.
  virtual absl::Status ReduceSum(std::span<int64_t> /*words*/, bool /*on_device*/) {
    return absl::UnimplementedError("this collective does not reduce");
  }
  // Returns once `bytes` may be reused. Waits for the receiver: two processes that send to each other before
  // they receive wait for ever.
  virtual absl::Status Send(int to, std::string_view bytes) = 0;
  virtual absl::StatusOr<std::string> Receive(int from) = 0;
  // Leaves the group: pending calls end, here and, as far as they need this process, elsewhere. From any
  // thread but those of Broadcast and ReduceSum while they run.
  virtual void Close() = 0;
};

}  // namespace muster

#endif  // MUSTER_SIMULATION_COLLECTIVE_H_
