// What aggregation rules that need all updates at once share: checking, decoding and collecting them.
#ifndef MUSTER_SERVER_AGGREGATION_COLLECTING_H_
#define MUSTER_SERVER_AGGREGATION_COLLECTING_H_

#include <vector>

#include "server/aggregation/aggregator.h"
#include "server/aggregation/update_set.h"

namespace muster {

// The place of the update's client in `cohort` (ascending by id). INVALID_ARGUMENT if it is not of it, or
// claims more samples than it declared, or fewer than none (where `needs_samples`: than one).
absl::StatusOr<size_t> CheckMember(std::span<const ClientInfo> cohort, const Update& update,
                                   bool needs_samples);
// The update's values, finite and not beyond 2^20 (the range of every rule; see ExactSum).
absl::StatusOr<std::vector<float>> DecodeInRange(const Update& update, const Layout& layout);

// Robust rules count every client once: samples are a claim, and a claim can be a lie.
class Collecting : public Aggregator {
 public:
  explicit Collecting(const Context& context)
      : layout_(*context.layout),
        cohort_(context.cohort.begin(), context.cohort.end()),
        updates_(layout_.size) {}

  absl::Status Add(const Update& update) final;
  absl::StatusOr<Aggregate> Finish() && final;
  bool NeedsAll() const final { return true; }

 protected:
  // From the updates (at least one) to delta, which has their size and is 0.
  virtual absl::Status Combine(const UpdateSet& updates, std::vector<float>& delta) = 0;

 private:
  const Layout& layout_;
  const std::vector<ClientInfo> cohort_;
  UpdateSet updates_;
};

// |x_i - center|^2 for every update, in double.
absl::StatusOr<std::vector<double>> SquaredDistances(const UpdateSet& updates, std::span<const float> center);
// out = sum_i factors[i] x_i + base, where base may be empty (0); in double, in the order of clients.
absl::Status Combination(const UpdateSet& updates, std::span<const double> factors,
                         std::span<const float> base, std::span<float> out);

}  // namespace muster

#endif  // MUSTER_SERVER_AGGREGATION_COLLECTING_H_
