#include "simulation/local_sums.h"

#include <chrono>
#include <utility>
#include <variant>

#include "server/rounds/answers.h"

namespace muster {

void LocalSums::Fold(int64_t bout, const Folding& folding, int64_t from, TrainedClient& trained) {
  auto* update = std::get_if<Update>(&trained.outcome);
  if (update == nullptr || from == 0 || update->payload.size() < from || !update->extras.empty() ||
      !update->numbers.empty() || !trained.if_taken.vectors.empty() || !trained.if_refused.vectors.empty()) {
    return;
  }
  const double norm = folding.norms ? UpdateNorm(update->payload, layout_) : 0;
  const auto start = std::chrono::steady_clock::now();
  {
    const MutexLock lock(&mutex_);
    if (bout < bout_) return;
    if (bout > bout_) aggregator_.reset();
    bout_ = bout;
    if (aggregator_ == nullptr) {
      auto made = Registry<Aggregator>::Get().Create(config_, {.layout = &layout_,
                                                               .cohort = folding.cohort,
                                                               .uniform_weights = folding.uniform_weights,
                                                               .weights = folding.weights});
      if (!made.ok()) return;
      aggregator_ = *std::move(made);
    }
    if (!aggregator_->Add(*update).ok()) return;
  }
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
  update->folded = {update->payload.size(), norm, seconds.count()};
  update->payload = {.bytes = std::string(update->payload.view().substr(0, kPayloadHeaderBytes))};
}

std::unique_ptr<Aggregator> LocalSums::Give(int64_t bout) {
  const MutexLock lock(&mutex_);
  return bout == bout_ ? std::move(aggregator_) : nullptr;
}

absl::Status LocalSums::Reduce(int64_t bout, Collective& collective) {
  const MutexLock lock(&mutex_);
  const bool folded = bout == bout_ && aggregator_ != nullptr;
  ExactSum nothing(folded ? 0 : layout_.size, 1);
  MUSTER_ASSIGN_OR_RETURN(const ExactSum::Words words,
                          (folded ? *aggregator_->Sum() : nothing).WordsInPlace());
  if (collective.ReduceSum(words.elements, words.on_device).ok()) {
    collective.ReduceSum(words.counts, /*on_device=*/false).IgnoreError();
  }
  return absl::OkStatus();
}

}  // namespace muster
