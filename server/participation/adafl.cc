// AdaFL's schedule: few clients at first, then more and more, up to a limit.
#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "server/participation/policy.h"

namespace muster {
namespace {

struct AdaFlOptions {
  int64_t initial_clients = 5;
  int64_t final_clients = 20;
  int64_t hold_rounds = 12;
  int64_t rounds_per_client = 40;
};

// m_t = initial up to round t = hold (counted from 1 as there), then
// min(initial + (t - hold) / rounds_per_client, final), to the nearest integer.
class AdaFl final : public ParticipationPolicy {
 public:
  static absl::StatusOr<std::unique_ptr<ParticipationPolicy>> Create(const AdaFlOptions& options,
                                                                     const Context& /*context*/) {
    if (options.final_clients < options.initial_clients) {
      return InvalidInput(absl::StrCat("final_clients: ", options.final_clients,
                                       " is below initial_clients, ", options.initial_clients));
    }
    return std::unique_ptr<ParticipationPolicy>(new AdaFl(options));
  }

  absl::StatusOr<Decision> Next(const BeforeRound& round) override {
    const auto past = static_cast<double>(std::max<int64_t>(round.round + 1 - options_.hold_rounds, 0));
    const double grown = static_cast<double>(options_.initial_clients) +
                         past / static_cast<double>(options_.rounds_per_client);
    Decision decision;
    decision.clients = std::min(
        {static_cast<int64_t>(std::llround(std::min(grown, 1e15))), options_.final_clients, round.available});
    decision.reason = "adafl";
    return decision;
  }

 private:
  explicit AdaFl(const AdaFlOptions& options) : options_(options) {}

  const AdaFlOptions options_;
};

MUSTER_REGISTER(ParticipationPolicy,
                Plugin<AdaFlOptions>("adafl",
                                     "Few clients at first, one more every so many rounds, up to a limit",
                                     "Chen et al. 2021, arXiv:2108.05765; numbers as in ISP's experiments")
                    .Option("initial_clients", &AdaFlOptions::initial_clients, "cohort size at first",
                            AtLeast(1))
                    .Option("final_clients", &AdaFlOptions::final_clients, "cohort size at most", AtLeast(1))
                    .Option("hold_rounds", &AdaFlOptions::hold_rounds, "rounds before it grows", AtLeast(0))
                    .Option("rounds_per_client", &AdaFlOptions::rounds_per_client,
                            "rounds in which it grows by one client", AtLeast(1))
                    .Make<AdaFl>());

}  // namespace
}  // namespace muster
