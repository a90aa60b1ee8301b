// A share of the clients that are available.
#include <algorithm>
#include <cmath>

#include "server/participation/policy.h"

namespace muster {
namespace {

struct FractionOptions {
  double fraction = 0.1;
};

class Fraction final : public ParticipationPolicy {
 public:
  explicit Fraction(const FractionOptions& options) : options_(options) {}

  absl::StatusOr<Decision> Next(const BeforeRound& round) override {
    // To the nearest integer, halves up, so that 0.29 of 100 is 29 whatever 0.29 is in binary.
    const int64_t share = std::llround(options_.fraction * static_cast<double>(round.available));
    Decision decision;
    decision.clients = std::min(std::max<int64_t>(share, 1), round.available);
    decision.reason = "fraction";
    return decision;
  }

 private:
  const FractionOptions options_;
};

MUSTER_REGISTER(ParticipationPolicy,
                Plugin<FractionOptions>("fraction", "A share of the available clients",
                                        "C of McMahan et al. 2017, arXiv:1602.05629, algorithm 1")
                    .Option("fraction", &FractionOptions::fraction,
                            "share of the available clients, to the nearest integer, at least one client",
                            AboveUpTo(0, 1))
                    .Make<Fraction>());

}  // namespace
}  // namespace muster
