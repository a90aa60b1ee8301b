// Threads that hold one resident model each. Work is dealt to them item by item; which thread does an item
// never shows in its result.
#ifndef MUSTER_SIMULATION_WORKER_THREADS_H_
#define MUSTER_SIMULATION_WORKER_THREADS_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <thread>
#include <vector>

#include "client/local_trainer.h"
#include "core/mutex.h"
#include "core/status.h"

namespace muster {

class WorkerThreads {
 public:
  using TrainerFactory = std::function<absl::StatusOr<std::unique_ptr<LocalTrainer>>()>;
  using Item = std::function<void(LocalTrainer& trainer, int64_t item)>;

  // Starts `count` threads and makes a trainer in each, by the thread itself. Fails with the first factory's
  // error.
  static absl::StatusOr<std::unique_ptr<WorkerThreads>> Start(int count, const TrainerFactory& make_trainer);
  // Finishes the items in flight, then joins.
  ~WorkerThreads();
  WorkerThreads(const WorkerThreads&) = delete;
  WorkerThreads& operator=(const WorkerThreads&) = delete;

  // Calls work(trainer, i) once for every i of 0 .. items-1, in that order of start, on all threads; returns
  // when all are done. One call at a time.
  void ForEach(int64_t items, const Item& work);

  int count() const { return static_cast<int>(threads_.size()); }
  const Layout& layout() const { return trainers_.front()->layout(); }

 private:
  WorkerThreads() = default;
  void Loop(int worker);

  std::vector<std::unique_ptr<LocalTrainer>> trainers_;  // one per thread, fixed once started
  std::vector<std::thread> threads_;

  Mutex mutex_;
  CondVar changed_;
  const Item* work_ ABSL_GUARDED_BY(mutex_) = nullptr;
  int64_t next_ ABSL_GUARDED_BY(mutex_) = 0;
  int64_t items_ ABSL_GUARDED_BY(mutex_) = 0;
  int64_t unfinished_ ABSL_GUARDED_BY(mutex_) = 0;
  bool stop_ ABSL_GUARDED_BY(mutex_) = false;
};

}  // namespace muster

#endif  // MUSTER_SIMULATION_WORKER_THREADS_H_
