// Worked example, a participation policy: the cohort grows in a straight line over the run. In the tree it
// would be server/participation/ramp.cc, its test tests/server/ramp_test.cc.
#include <algorithm>

#include "server/participation/policy.h"

namespace muster {
namespace {

struct RampOptions {
  int64_t from = 1;
  int64_t to = 20;
};

class Ramp final : public ParticipationPolicy {
 public:
  Ramp(const RampOptions& options, const Context& context) : options_(options), rounds_(context.rounds) {}

  absl::StatusOr<Decision> Next(const BeforeRound& round) override {
    const int64_t last = std::max<int64_t>(1, rounds_ - 1);
    const int64_t clients = options_.from + (options_.to - options_.from) * round.round / last;
    Decision decision;
    decision.clients = std::clamp<int64_t>(clients, 1, round.available);
    decision.reason = "ramp";
    return decision;
  }

 private:
  const RampOptions options_;
  const int64_t rounds_;
};

MUSTER_REGISTER(ParticipationPolicy,
                Plugin<RampOptions>("ramp", "The cohort grows in a straight line over the run")
                    .Option("from", &RampOptions::from, "clients in the first round", AtLeast(1))
                    .Option("to", &RampOptions::to, "clients in the last round", AtLeast(1))
                    .Make<Ramp>());

}  // namespace
}  // namespace muster
