// Colluders that hide in the spread of the updates.
#include <algorithm>
#include <cmath>

#include "simulation/adversary.h"

namespace muster {
namespace {

struct LittleOptions : AdversaryOptions {
  double z = 0;
};

// P(X < z) for a standard normal X.
double NormalBelow(double z) { return 0.5 * std::erfc(-z / std::sqrt(2.0)); }

// The largest z with P(X < z) at most (n - f - s) / (n - f), where s = floor(n / 2 + 1) - f is how many
// honest clients the f of n must win over to be a majority (Algorithm 3, line 2); at least 0.
double LargestDeviation(int64_t clients, int64_t liars) {
  const int64_t honest = clients - liars;
  if (honest < 2) return 0;
  const int64_t supporters = std::max<int64_t>(1, clients / 2 + 1 - liars);
  const double share = static_cast<double>(honest - supporters) / static_cast<double>(honest);
  double low = 0, high = 10;
  for (int i = 0; i < 100; ++i) {
    const double middle = (low + high) / 2;
    (NormalBelow(middle) < share ? low : high) = middle;
  }
  return low;
}

class ALittleIsEnough final : public Adversary {
 public:
  explicit ALittleIsEnough(const LittleOptions& options) : z_(options.z) {}
  bool Colludes() const override { return true; }
  void Falsify(const Scene& scene, std::span<float> update, State& /*memory*/) const override {
    const Collusion& others = *scene.collusion;
    const double z = z_ > 0 ? z_ : LargestDeviation(scene.cohort, others.members);
    for (size_t i = 0; i < update.size(); ++i) {
      update[i] = static_cast<float>(static_cast<double>(others.mean[i]) -
                                     z * static_cast<double>(others.deviation[i]));
    }
  }

 private:
  const double z_;
};

MUSTER_REGISTER(
    Adversary, AdversaryPlugin<LittleOptions>("a_little_is_enough",
                                              "Colluders send their mean less z of their standard deviations",
                                              "Baruch et al. 2019, Algorithm 3, arXiv:1902.06156")
                   .Option("z", &LittleOptions::z,
                           "deviations; 0: what the cohort's size allows, as in the paper", AtLeast(0))
                   .Make<ALittleIsEnough>());

}  // namespace
}  // namespace muster
