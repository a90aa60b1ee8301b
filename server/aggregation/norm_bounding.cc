// Norm bounding: no update is longer than allowed.
#include <algorithm>
#include <cmath>

#include "core/exact_sum.h"
#include "server/aggregation/collecting.h"

namespace muster {
namespace {

struct NormBoundingOptions {
  double bound = 10;
};

// (1/n) sum_i Delta_i min(1, bound / |Delta_i|). Folded as updates come: memory is one vector.
class NormBounding final : public Aggregator {
 public:
  NormBounding(const NormBoundingOptions& options, const Context& context)
      : options_(options),
        layout_(*context.layout),
        cohort_(context.cohort.begin(), context.cohort.end()),
        sum_(layout_.size, std::max(1.0, static_cast<double>(cohort_.size()))) {}

  absl::Status Add(const Update& update) override {
    MUSTER_RETURN_IF_ERROR(CheckMember(cohort_, update, /*needs_samples=*/true).status());
    MUSTER_ASSIGN_OR_RETURN(std::vector<float> values, DecodeInRange(update, layout_));
    double square = 0;
    for (const float value : values) square += static_cast<double>(value) * value;
    if (const double norm = std::sqrt(square); norm > options_.bound) {
      const double factor = options_.bound / norm;
      for (float& value : values) value = static_cast<float>(value * factor);
    }
    return sum_.Add(values, 1);
  }

  ExactSum* Sum() override { return &sum_; }

  absl::StatusOr<Aggregate> Finish() && override {
    Aggregate aggregate;
    aggregate.delta.resize(static_cast<size_t>(layout_.size));
    MUSTER_RETURN_IF_ERROR(sum_.Mean(aggregate.delta));
    aggregate.updates = sum_.terms();
    aggregate.total_weight = sum_.total_weight();
    return aggregate;
  }

 private:
  const NormBoundingOptions options_;
  const Layout& layout_;
  const std::vector<ClientInfo> cohort_;
  ExactSum sum_;
};

MUSTER_REGISTER(Aggregator,
                Plugin<NormBoundingOptions>("norm_bounding", "Mean of updates cut to a greatest length",
                                            "Sun et al. 2019, arXiv:1911.07963")
                    .Option("bound", &NormBoundingOptions::bound, "greatest Euclidean norm of an update",
                            Above(0))
                    .Make<NormBounding>());

}  // namespace
}  // namespace muster
