// Sends random numbers.
#include "simulation/adversary.h"

namespace muster {
namespace {

struct NoiseOptions : AdversaryOptions {
  double deviation = 1;
};

class Noise final : public Adversary {
 public:
  explicit Noise(const NoiseOptions& options) : deviation_(options.deviation) {}
  void Falsify(const Scene& scene, std::span<float> update, State& /*memory*/) const override {
    Random random = Lies(scene.seed, scene.round, scene.client);
    for (float& value : update) value = static_cast<float>(deviation_ * random.Normal());
  }

 private:
  const double deviation_;
};

MUSTER_REGISTER(Adversary,
                AdversaryPlugin<NoiseOptions>("noise", "Sends independent normal numbers for an update",
                                              "Blanchard et al. 2017, Gaussian Byzantine workers")
                    .Option("deviation", &NoiseOptions::deviation, "their standard deviation", Above(0))
                    .Make<Noise>());

}  // namespace
}  // namespace muster
