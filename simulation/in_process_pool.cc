#include "simulation/in_process_pool.h"

#include <atomic>

#include "core/mutex.h"

namespace muster {

absl::Status InProcessPool::Train(Bout& bout, const std::function<bool()>& cancelled) {
  Mutex mutex;
  absl::Status lost;  // a client's memory could not be read
  std::atomic<bool> stopped{false};
  workers_.ForEach(static_cast<int64_t>(bout.clients().size()), [&](LocalTrainer& trainer, int64_t item) {
    const auto i = static_cast<size_t>(item);
    if (stopped.load() || cancelled()) return stopped.store(true);
    const absl::StatusOr<State> memory = bout.Recall(i);
    if (!memory.ok()) {
      const MutexLock lock(&mutex);
      lost.Update(memory.status());
      return stopped.store(true);
    }
    if (bout.honest()) {
      bout.Take(i, clients().TrainHonestly(trainer, bout.task(), bout.clients()[i], *memory));
    } else {
      bout.Take(i, *memory, clients().Train(trainer, bout.task(), bout.clients()[i], *memory));
    }
  });
  MUSTER_RETURN_IF_ERROR(lost);
  return stopped.load() ? absl::CancelledError("the round was cancelled") : absl::OkStatus();
}

}  // namespace muster
