// FedAvg: the weighted mean of the updates.
#include <algorithm>
#include <numeric>
#include <optional>

#include "compression/compressor.h"
#include "core/exact_sum.h"
#include "server/aggregation/collecting.h"

namespace muster {
namespace {

struct FedAvgOptions {
  std::string weights = "samples";
};

// sum_i w_i Delta_i / sum_i w_i over the clients that answered, with w_i = n_i (samples) or 1. Payloads are
// folded into an exact sum as they come: memory is one vector, and the bits do not depend on the order.
class FedAvg final : public Aggregator {
 public:
  FedAvg(const FedAvgOptions& options, const Context& context)
      : by_samples_(options.weights == "samples" && !context.uniform_weights && !context.weights),
        layout_(*context.layout),
        cohort_(context.cohort.begin(), context.cohort.end()),
        weights_(context.weights),
        sum_(layout_.size, WeightBound()) {}

  absl::Status Add(const Update& update) override {
    MUSTER_ASSIGN_OR_RETURN(const size_t place, CheckMember(cohort_, update, by_samples_));
    return FoldPayload(update.payload, WeightAt(place, update), layout_, sum_);
  }
  bool IsMean() const override { return true; }
  double Weight(const Update& update) const override {
    const absl::StatusOr<size_t> place = CheckMember(cohort_, update, by_samples_);
    return place.ok() ? WeightAt(*place, update) : 0;
  }

  ExactSum* Sum() override { return &sum_; }

  absl::StatusOr<Aggregate> Finish() && override {
    Aggregate aggregate;
    aggregate.updates = sum_.terms();
    aggregate.total_weight = sum_.total_weight();
    MUSTER_ASSIGN_OR_RETURN(aggregate.delta, std::move(sum_).TakeMean());
    return aggregate;
  }

 private:
  double WeightAt(size_t place, const Update& update) const {
    if (weights_) return (*weights_)[place];
    return by_samples_ ? static_cast<double>(update.num_samples) : 1;
  }
  // What the weights of the whole cohort can sum to. Known before the first update, and the same in every
  // partial aggregator of the round: it sets the fixed point of the sum.
  double WeightBound() const {
    if (weights_) return std::max(std::accumulate(weights_->begin(), weights_->end(), 0.0), 1e-300);
    double bound = by_samples_ ? 0 : static_cast<double>(cohort_.size());
    if (by_samples_) {
      for (const ClientInfo& client : cohort_) bound += static_cast<double>(client.num_samples);
    }
    return std::max(bound, 1.0);
  }

  const bool by_samples_;
  const Layout& layout_;
  const std::vector<ClientInfo> cohort_;
  const std::optional<std::vector<double>> weights_;  // by place in the cohort
  ExactSum sum_;
};

MUSTER_REGISTER(Aggregator, Plugin<FedAvgOptions>("fedavg", "Weighted mean of the updates",
                                                  "McMahan et al. 2017, arXiv:1602.05629, algorithm 1")
                                .Option("weights", &FedAvgOptions::weights,
                                        "what an update weighs: its samples, or the same for all",
                                        OneOf({"samples", "uniform"}))
                                .Make<FedAvg>());

}  // namespace
}  // namespace muster
