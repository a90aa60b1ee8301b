#include "simulation/worker_threads.h"

#include <utility>

namespace muster {

absl::StatusOr<std::unique_ptr<WorkerThreads>> WorkerThreads::Start(int count,
                                                                    const TrainerFactory& make_trainer) {
  auto workers = std::unique_ptr<WorkerThreads>(new WorkerThreads);
  workers->trainers_.resize(static_cast<size_t>(count));
  std::vector<absl::Status> made(static_cast<size_t>(count));
  // Each thread makes its own trainer: memory is touched first by the thread that uses it, and settings that
  // LibTorch keeps per thread (denormals, number of threads) are made where they count.
  int ready = 0;
  for (int i = 0; i < count; ++i) {
    workers->threads_.emplace_back([&workers = *workers, &made, &ready, &make_trainer, i] {
      absl::StatusOr<std::unique_ptr<LocalTrainer>> trainer = make_trainer();
      {
        const MutexLock lock(&workers.mutex_);
        made[i] = trainer.status();
        if (trainer.ok()) workers.trainers_[i] = *std::move(trainer);
        ++ready;
        workers.changed_.NotifyAll();
      }
      workers.Loop(i);
    });
  }
  {
    const MutexLock lock(&workers->mutex_);
    while (ready < count) workers->changed_.Wait(&workers->mutex_);
  }
  for (const absl::Status& status : made) MUSTER_RETURN_IF_ERROR(status);
  return workers;
}

WorkerThreads::~WorkerThreads() {
  {
    const MutexLock lock(&mutex_);
    stop_ = true;
  }
  changed_.NotifyAll();
  for (std::thread& thread : threads_) thread.join();
}

void WorkerThreads::ForEach(int64_t items, const Item& work) {
  if (items <= 0) return;
  const MutexLock lock(&mutex_);
  work_ = &work;
  next_ = 0;
  items_ = unfinished_ = items;
  changed_.NotifyAll();
  while (unfinished_ > 0) changed_.Wait(&mutex_);
  work_ = nullptr;
  items_ = 0;
}

void WorkerThreads::Loop(int worker) {
  mutex_.Lock();
  while (true) {
    while (!stop_ && next_ >= items_) changed_.Wait(&mutex_);
    if (stop_) break;
    const int64_t item = next_++;
    const Item* work = work_;
    mutex_.Unlock();
    (*work)(*trainers_[worker], item);
    mutex_.Lock();
    if (--unfinished_ == 0) changed_.NotifyAll();
  }
  mutex_.Unlock();
}

}  // namespace muster
