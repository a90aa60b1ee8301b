// Vanishes in the middle of its task.
#include "simulation/adversary.h"

namespace muster {
namespace {

struct DropOutOptions : AdversaryOptions {
  double probability = 0.5;
};

class DropOut final : public Adversary {
 public:
  explicit DropOut(const DropOutOptions& options) : probability_(options.probability) {}
  Arrival Arrive(uint64_t seed, int64_t round, int64_t client) const override {
    return {.vanishes = Lies(seed, round, client).Uniform() < probability_, .seconds = 0};
  }

 private:
  const double probability_;
};

MUSTER_REGISTER(Adversary,
                AdversaryPlugin<DropOutOptions>("drop_out",
                                                "Takes the model and is not heard of again in this round")
                    .Option("probability", &DropOutOptions::probability, "of a round it is asked in",
                            Between(0, 1))
                    .Make<DropOut>());

}  // namespace
}  // namespace muster
