// The same number of clients in every round.
#include <algorithm>

#include "server/participation/policy.h"

namespace muster {
namespace {

struct FixedOptions {
  int64_t clients = 10;
};

class Fixed final : public ParticipationPolicy {
 public:
  explicit Fixed(const FixedOptions& options) : options_(options) {}

  absl::StatusOr<Decision> Next(const BeforeRound& round) override {
    Decision decision;
    decision.clients = std::min(options_.clients, round.available);
    decision.reason = "fixed";
    return decision;
  }

 private:
  const FixedOptions options_;
};

MUSTER_REGISTER(ParticipationPolicy,
                Plugin<FixedOptions>("fixed", "The same number of clients in every round",
                                     "McMahan et al. 2017, arXiv:1602.05629")
                    .Option("clients", &FixedOptions::clients,
                            "cohort size; all available clients where there are fewer", AtLeast(1))
                    .Make<Fixed>());

}  // namespace
}  // namespace muster
