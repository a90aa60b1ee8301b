#include "simulation/in_process_pool.h"

#include <atomic>
#include <numeric>
#include <vector>

#include "core/mutex.h"

namespace muster {

absl::Status InProcessPool::Train(Bout& bout, const std::function<bool()>& cancelled) {
  Mutex mutex;
  absl::Status lost;  // a client's memory could not be read
  std::atomic<bool> stopped{false};
  workers_.ForEach(static_cast<int64_t>(bout.groups()), [&](LocalTrainer& trainer, int64_t group) {
    if (stopped.load() || cancelled()) return stopped.store(true);
    const size_t first = bout.First(static_cast<size_t>(group));
    std::vector<size_t> items(bout.First(static_cast<size_t>(group) + 1) - first);
    std::iota(items.begin(), items.end(), first);
    const absl::Status trained = TrainHere(trainer, bout, items);
    if (trained.ok()) return;
    const MutexLock lock(&mutex);
    lost.Update(trained);
    stopped.store(true);
  });
  MUSTER_RETURN_IF_ERROR(lost);
  return stopped.load() ? absl::CancelledError("the round was cancelled") : absl::OkStatus();
}

}  // namespace muster
