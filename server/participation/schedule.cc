// Numbers of clients laid down beforehand, by round.
#include <algorithm>

#include "absl/strings/str_cat.h"
#include "server/participation/policy.h"

namespace muster {
namespace {

struct ScheduleOptions {
  std::vector<int64_t> rounds = {0};
  std::vector<int64_t> clients = {10};
};

class ParticipationSchedule final : public ParticipationPolicy {
 public:
  static absl::StatusOr<std::unique_ptr<ParticipationPolicy>> Create(const ScheduleOptions& options,
                                                                     const Context& /*context*/) {
    if (options.rounds.empty() || options.rounds.front() != 0) {
      return InvalidInput("rounds: must start with round 0, e.g. [0, 50]");
    }
    for (size_t i = 1; i < options.rounds.size(); ++i) {
      if (options.rounds[i] <= options.rounds[i - 1]) {
        return InvalidInput(
            absl::StrCat("rounds: must ascend, but ", options.rounds[i], " follows ", options.rounds[i - 1]));
      }
    }
    if (options.clients.size() != options.rounds.size()) {
      return InvalidInput(absl::StrCat("clients: has ", options.clients.size(), " entries, rounds has ",
                                       options.rounds.size(), "; give one number of clients for each"));
    }
    return std::unique_ptr<ParticipationPolicy>(new ParticipationSchedule(options));
  }

  absl::StatusOr<Decision> Next(const BeforeRound& round) override {
    const auto next = std::upper_bound(options_.rounds.begin(), options_.rounds.end(), round.round);
    const auto stage = static_cast<size_t>(next - options_.rounds.begin()) - 1;
    Decision decision;
    decision.clients = std::min(options_.clients[stage], round.available);
    decision.reason = "schedule";
    return decision;
  }

 private:
  explicit ParticipationSchedule(const ScheduleOptions& options) : options_(options) {}

  const ScheduleOptions options_;
};

MUSTER_REGISTER(ParticipationPolicy,
                Plugin<ScheduleOptions>("schedule", "Numbers of clients laid down by round")
                    .Option("rounds", &ScheduleOptions::rounds,
                            "first round (0-based) of each stage, ascending, the first one 0", AtLeast(0))
                    .Option("clients", &ScheduleOptions::clients,
                            "cohort size of each stage; all available clients where there are fewer",
                            AtLeast(1))
                    .Make<ParticipationSchedule>());

}  // namespace
}  // namespace muster
