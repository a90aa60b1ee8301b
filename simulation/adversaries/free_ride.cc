// Takes the model and gives nothing.
#include <algorithm>

#include "simulation/adversary.h"

namespace muster {
namespace {

constexpr char kModel[] = "model";  // in its memory: the global model of the last round it took part in

struct FreeRideOptions : AdversaryOptions {
  std::string update = "zero";
};

class FreeRide final : public Adversary {
 public:
  explicit FreeRide(const FreeRideOptions& options) : stale_(options.update == "stale") {}

  void Falsify(const Scene& scene, std::span<float> update, State& memory) const override {
    std::fill(update.begin(), update.end(), 0.0F);
    if (!stale_) return;
    std::vector<float>& seen = memory.vectors[kModel];
    if (seen.size() == update.size()) {
      for (size_t i = 0; i < update.size(); ++i) update[i] = scene.model[i] - seen[i];
    }
    seen.assign(scene.model.begin(), scene.model.end());
  }

 private:
  const bool stale_;
};

MUSTER_REGISTER(
    Adversary,
    AdversaryPlugin<FreeRideOptions>("free_ride", "Sends an update that cost it nothing",
                                     "Lin et al. 2019, delta weights, arXiv:1911.12560")
        .Option("update", &FreeRideOptions::update,
                "zero, or stale: what others changed since it last took part (zero the first time)",
                OneOf({"zero", "stale"}))
        .Make<FreeRide>());

}  // namespace
}  // namespace muster
