// GPUs and NCCL that are memory of this process, for machines without: the calls that Muster uses, with their
// rules. Nothing blocks; what is queued on a stream happens when the stream is asked whether it is done, in
// order; a communicator that was aborted may not be used again.
#ifndef MUSTER_TESTS_SIMULATION_NCCL_STAND_IN_H_
#define MUSTER_TESTS_SIMULATION_NCCL_STAND_IN_H_

#include <atomic>
#include <cstdint>
#include <functional>

#include "simulation/collectives/nccl_api.h"

namespace muster {

struct NcclStandIn {
  // What the machine is like.
  std::atomic<int> devices = 8;
  std::atomic<int> breaking_rank = -1;  // its link fails as soon as it communicates
  // Told who begins a reduction, if set; false: its link fails there. Set while nobody communicates.
  std::function<bool(int rank)> reduces = nullptr;

  // What was seen.
  std::atomic<int> memory = 0;         // pieces and streams that are not freed
  std::atomic<int> communicators = 0;  // that are not aborted
  std::atomic<int> used_after_abort = 0;
  std::atomic<int> used_on_another_device = 0;
  std::atomic<int64_t> bytes_up = 0;  // copied to a device
  std::atomic<int64_t> bytes_down = 0;

  static NcclStandIn& Get();
  static const NcclApi& Api();
};

}  // namespace muster

#endif  // MUSTER_TESTS_SIMULATION_NCCL_STAND_IN_H_
