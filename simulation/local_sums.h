// What a worker folds itself: the sums of many updates go to rank 0 instead of each of them.
#ifndef MUSTER_SIMULATION_LOCAL_SUMS_H_
#define MUSTER_SIMULATION_LOCAL_SUMS_H_

#include <cstdint>
#include <memory>
#include <utility>

#include "core/mutex.h"
#include "core/parameters.h"
#include "core/registry.h"
#include "server/aggregation/aggregator.h"
#include "simulation/collective.h"
#include "simulation/virtual_clients.h"

namespace muster {

// A partial aggregator of one bout at a time, made when its first update is folded. Thread-safe.
class LocalSums {
 public:
  // `aggregator` is the federation's; `layout` outlives it.
  LocalSums(PluginConfig aggregator, const Layout& layout)
      : config_(std::move(aggregator)), layout_(layout) {}

  // Folds the client's update, if it has one of at least `from` bytes (0: none is), with nothing beside it,
  // and the client has nothing large to remember; else, and if the aggregator refuses it, it stays as it is.
  // A bout with a higher number begins anew, one with a lower number is over. Of `folding` the samples are
  // known here.
  void Fold(int64_t bout, const Folding& folding, int64_t from, TrainedClient& trained);
  // What was folded in the bout, which is forgotten here; nullptr: nothing.
  std::unique_ptr<Aggregator> Give(int64_t bout);
  // Takes part, with what was folded in the bout, in a reduction of all words of sums by
  // Collective::ReduceSum: the elements, then the counts. It is not forgotten. How the reduction ends is rank
  // 0's to judge; INTERNAL if a device has lost what was folded there.
  absl::Status Reduce(int64_t bout, Collective& collective);

 private:
  const PluginConfig config_;
  const Layout& layout_;
  Mutex mutex_;
  int64_t bout_ ABSL_GUARDED_BY(mutex_) = 0;
  std::unique_ptr<Aggregator> aggregator_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace muster

#endif  // MUSTER_SIMULATION_LOCAL_SUMS_H_
