#include "client/batch_order.h"

#include <algorithm>

namespace muster {

int64_t BatchOrder::Steps(const TrainingJob& job, size_t samples) const {
  if (job.steps > 0) return job.steps;
  return job.epochs * ((static_cast<int64_t>(samples) + batch_size_ - 1) / batch_size_);
}

void BatchOrder::Start(const TrainingJob& job, std::span<const uint32_t> samples) {
  random_ = Random({.seed = job.seed,
                    .purpose = Purpose::kBatchOrder,
                    .round = static_cast<uint64_t>(job.round),
                    .client = static_cast<uint64_t>(job.client)});
  order_.assign(samples.begin(), samples.end());
  full_batches_ = job.steps > 0;
  epoch_ = 0;
  next_ = order_.size();
}

void BatchOrder::Draw() {
  if (next_ == order_.size()) BeginEpoch();
  const size_t full = std::min(order_.size(), static_cast<size_t>(batch_size_));
  const size_t size = std::min(order_.size() - next_, full);
  batch_ = std::span<const uint32_t>(order_).subspan(next_, size);
  next_ += size;
  if (full_batches_ && size < full) {
    joined_.assign(batch_.begin(), batch_.end());
    BeginEpoch();
    next_ = full - size;
    joined_.insert(joined_.end(), order_.begin(), order_.begin() + static_cast<int64_t>(next_));
    batch_ = joined_;
  }
}

std::optional<int64_t> BatchOrder::first() const {
  if (batch_.data() == joined_.data()) return std::nullopt;
  return batch_.data() - order_.data();
}

void BatchOrder::BeginEpoch() {
  if (shuffle_) random_.Shuffle(std::span<uint32_t>(order_));
  next_ = 0;
  ++epoch_;
}

}  // namespace muster
