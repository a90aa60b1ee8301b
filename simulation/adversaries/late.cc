// Answers when others have long done so.
#include "simulation/adversary.h"

namespace muster {
namespace {

struct LateOptions : AdversaryOptions {
  double seconds = 60;
  double probability = 1;
};

class Late final : public Adversary {
 public:
  explicit Late(const LateOptions& options) : options_(options) {}
  Arrival Arrive(uint64_t seed, int64_t round, int64_t client) const override {
    const bool late = Lies(seed, round, client).Uniform() < options_.probability;
    return {.vanishes = false, .seconds = late ? options_.seconds : 0};
  }

 private:
  const LateOptions options_;
};

MUSTER_REGISTER(
    Adversary,
    AdversaryPlugin<LateOptions>("late", "Answers honestly but late; others answer at once")
        .Option("seconds", &LateOptions::seconds,
                "how late; past federation.deadline_seconds the update is lost, and of the clients "
                "asked too many (federation.over_select) it comes last",
                Above(0))
        .Option("probability", &LateOptions::probability, "of a round it is asked in", Between(0, 1))
        .Make<Late>());

}  // namespace
}  // namespace muster
