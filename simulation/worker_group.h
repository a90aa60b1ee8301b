// The processes of one simulation: where each stands, how they meet, and how they meet again when one is
// lost.
#ifndef MUSTER_SIMULATION_WORKER_GROUP_H_
#define MUSTER_SIMULATION_WORKER_GROUP_H_

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "core/status.h"
#include "muster/v1/worker.pb.h"
#include "simulation/collective.h"
#include "simulation/tcp_store.h"

namespace muster {

// Where a process stands among those that were started together.
struct WorkerPlace {
  int rank = 0;  // 0 coordinates
  int size = 1;
  int local_rank = 0;  // among those on this machine
  std::string host;    // of rank 0
  int port = 0;
};

// What a launcher left in the environment: RANK and WORLD_SIZE (torchrun), OMPI_COMM_WORLD_RANK and _SIZE
// (mpirun) or SLURM_PROCID and SLURM_STEP_NUM_TASKS or SLURM_NTASKS (srun), in this order, with LOCAL_RANK,
// OMPI_COMM_WORLD_LOCAL_RANK or SLURM_LOCALID; MASTER_ADDR, MASTER_PORT. None of the first, or a size of 1:
// no place. INVALID_ARGUMENT for numbers that cannot be, and without an address.
absl::StatusOr<std::optional<WorkerPlace>> PlaceFromEnvironment();

struct WorkerGroupOptions {
  WorkerPlace place;
  std::string collective = "gloo";
  double patience_seconds = 60;  // for processes that do not come, later for those that fall silent
  int threads = 0;               // that train in this process
  int device = -1;               // the number of the device they train on; -1: none
  // What all processes must have in common, by name: a hash, or the thing itself.
  std::map<std::string, std::string> common;
  // Asked while the first group is waited for: not OK ends the waiting.
  std::function<absl::Status()> still_hoping = [] { return absl::OkStatus(); };
  // Whether the process that was started with this rank is known to be no more: a later group does not wait.
  std::function<bool(int rank)> has_ended = [](int /*rank*/) { return false; };
};

// One thread at a time.
class WorkerGroup {
 public:
  struct Member {
    int rank = 0;  // that it was started with
    int threads = 0;
    std::string host;
  };

  // Rank 0 opens the store (on any free port if the place has none), the others connect to it, and each finds
  // out whether the collective works on its machine: rank 0 fails if not, another will say so when all meet.
  // Errors as TcpStore::Open's and the collective's.
  static absl::StatusOr<std::unique_ptr<WorkerGroup>> Open(WorkerGroupOptions options);

  // All processes meet and form a group. At rank 0 only: without those in `gone`, by the rank they were
  // started with; the others find that out by coming. The first group has all processes; UNAVAILABLE if one
  // does not come. Later ones do without. INVALID_ARGUMENT, everywhere, if processes do not fit together.
  // UNAVAILABLE if rank 0 is gone, or went on without this process.
  absl::Status Form(const std::set<int>& gone = {});

  const WorkerPlace& place() const { return options_.place; }
  double patience_seconds() const { return options_.patience_seconds; }
  // Of the last group; a member's index is its rank in the collective. Known to rank 0.
  const std::vector<Member>& members() const { return members_; }
  // nullptr after an error of Form.
  const std::shared_ptr<Collective>& collective() const { return collective_; }

 private:
  explicit WorkerGroup(WorkerGroupOptions options) : options_(std::move(options)) {}

  absl::Status FormOnce(const std::set<int>& gone);
  std::string Key(const std::string& name) const;  // of this group, in the store
  // Rank 0: who came, and whether they fit together.
  absl::StatusOr<std::map<int, v1::WorkerHello>> Gather(const std::set<int>& gone);
  absl::Status Check(int rank, const v1::WorkerHello& hello) const;
  absl::StatusOr<v1::WorkerGroupVerdict> Judge(const std::set<int>& gone);
  absl::StatusOr<std::unique_ptr<Collective>> MakeCollective(const std::string& prefix, int rank, int size);
  // The others: come, and hear what becomes of it.
  absl::StatusOr<v1::WorkerGroupVerdict> Come();
  v1::WorkerHello Hello() const;

  WorkerGroupOptions options_;
  std::unique_ptr<TcpStore> store_;
  absl::Status able_;  // whether the collective works here
  int generation_ = -1;
  bool connecting_failed_ = false;  // of those that came to the last group
  std::vector<Member> members_;
  std::shared_ptr<Collective> collective_;
};

}  // namespace muster

#endif  // MUSTER_SIMULATION_WORKER_GROUP_H_
