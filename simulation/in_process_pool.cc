#include "simulation/in_process_pool.h"

#include <atomic>
#include <utility>
#include <vector>

#include "core/mutex.h"

namespace muster {

absl::Status InProcessPool::Train(Bout& bout, const std::function<bool()>& cancelled) {
  Mutex mutex;
  absl::Status lost;  // a client's memory could not be read
  std::atomic<bool> stopped{false};
  // Slices of the bout, of equal sizes: groups are the same for any number of threads.
  const auto count = static_cast<int64_t>(bout.clients().size());
  const int64_t size = bout.honest() ? 1 : clients().Group(bout.task().task);
  const int64_t groups = (count + size - 1) / size;
  workers_.ForEach(groups, [&](LocalTrainer& trainer, int64_t group) {
    if (stopped.load() || cancelled()) return stopped.store(true);
    const auto first = static_cast<size_t>(group * count / groups);
    const auto members =
        bout.clients().subspan(first, static_cast<size_t>((group + 1) * count / groups) - first);
    std::vector<State> memories;
    for (size_t i = 0; i < members.size(); ++i) {
      absl::StatusOr<State> memory = bout.Recall(first + i);
      if (!memory.ok()) {
        const MutexLock lock(&mutex);
        lost.Update(memory.status());
        return stopped.store(true);
      }
      memories.push_back(*std::move(memory));
    }
    if (bout.honest()) {
      bout.Take(first, clients().TrainHonestly(trainer, bout.task(), members[0], memories[0]));
    } else if (size == 1) {
      bout.Take(first, memories[0], clients().Train(trainer, bout.task(), members[0], memories[0]));
    } else {
      std::vector<TrainedClient> trained = clients().TrainGroup(bout.task(), members, memories);
      for (size_t i = 0; i < members.size(); ++i) bout.Take(first + i, memories[i], std::move(trained[i]));
    }
  });
  MUSTER_RETURN_IF_ERROR(lost);
  return stopped.load() ? absl::CancelledError("the round was cancelled") : absl::OkStatus();
}

}  // namespace muster
