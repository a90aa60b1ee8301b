// Worked example, an aggregator: the mean of everything, but an update weighs no more than `cap` samples. In
// the tree it would be server/aggregation/capped.cc, its test tests/server/capped_test.cc (the shared tests
// cover it already).
#include <algorithm>

#include "compression/compressor.h"
#include "server/aggregation/aggregator.h"

namespace muster {
namespace {

struct CappedOptions {
  int64_t cap = 1000;
};

class Capped final : public Aggregator {
 public:
  Capped(const CappedOptions& options, const Context& context)
      : options_(options),
        layout_(*context.layout),
        cohort_(context.cohort.begin(), context.cohort.end()),
        sum_(layout_.size,
             static_cast<double>(options.cap) * std::max<double>(1, static_cast<double>(cohort_.size()))) {}

  absl::Status Add(const Update& update) override {
    const ClientInfo* client = FindClient(cohort_, update.client);
    if (client == nullptr) return InvalidInput("is not of this round's cohort");
    if (update.num_samples <= 0) return InvalidInput("claims no samples");
    if (update.num_samples > client->num_samples) return InvalidInput("claims more samples than it declared");
    return FoldPayload(update.payload, Weight(update), layout_, sum_);
  }
  bool IsMean() const override { return true; }
  double Weight(const Update& update) const override {
    return static_cast<double>(std::min(update.num_samples, options_.cap));
  }

  ExactSum* Sum() override { return &sum_; }

  absl::StatusOr<Aggregate> Finish() && override {
    Aggregate aggregate{std::vector<float>(static_cast<size_t>(layout_.size)), sum_.terms(),
                        sum_.total_weight()};
    MUSTER_RETURN_IF_ERROR(sum_.Mean(aggregate.delta));
    return aggregate;
  }

 private:
  const CappedOptions options_;
  const Layout& layout_;
  const std::vector<ClientInfo> cohort_;
  ExactSum sum_;
};

MUSTER_REGISTER(Aggregator,
                Plugin<CappedOptions>("capped", "Weighted mean with a cap on a client's weight")
                    .Option("cap", &CappedOptions::cap, "samples an update weighs at most", AtLeast(1))
                    .Make<Capped>());

}  // namespace
}  // namespace muster
