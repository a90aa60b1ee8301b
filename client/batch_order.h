// Which samples each step of a job trains on.
#ifndef MUSTER_CLIENT_BATCH_ORDER_H_
#define MUSTER_CLIENT_BATCH_ORDER_H_

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "client/trainer.h"
#include "core/random.h"

namespace muster {

// A client's samples cut into batches, epoch by epoch. By epochs, the last batch of an epoch may be small. By
// steps, every batch is full: it goes on into the next epoch (a step on the one or two samples left over
// would be mostly noise, and a step is what was asked for).
class BatchOrder {
 public:
  // `shuffle`: every epoch has an order of its own.
  BatchOrder(int64_t batch_size, bool shuffle) : batch_size_(batch_size), shuffle_(shuffle) {}

  // How many batches a job on so many samples takes.
  int64_t Steps(const TrainingJob& job, size_t samples) const;
  void Start(const TrainingJob& job, std::span<const uint32_t> samples);
  // Moves on to the next batch.
  void Draw();
  // Whether batch() was the last of so many epochs.
  bool Done(int64_t epochs) const { return epoch_ > epochs || (epoch_ == epochs && next_ == order_.size()); }

  // Until the next Draw.
  std::span<const uint32_t> batch() const { return batch_; }
  // Where the batch begins in samples(); none if it begins in the epoch before.
  std::optional<int64_t> first() const;
  // All of the client's, in this epoch's order.
  std::span<const uint32_t> samples() const { return order_; }
  int64_t epoch() const { return epoch_; }  // 1, 2, ...

 private:
  void BeginEpoch();

  const int64_t batch_size_;
  const bool shuffle_;
  Random random_{RandomKey{}};
  std::vector<uint32_t> order_;
  size_t next_ = 0;               // the next batch's place in it
  int64_t epoch_ = 0;             // epochs begun
  bool full_batches_ = false;     // the job counts steps
  std::vector<uint32_t> joined_;  // a batch over the end of an epoch
  std::span<const uint32_t> batch_;
};

}  // namespace muster

#endif  // MUSTER_CLIENT_BATCH_ORDER_H_
