// Makes its update count more than others'.
#include "simulation/adversary.h"

namespace muster {
namespace {

struct ScaleOptions : AdversaryOptions {
  double factor = 10;
};

class Scale final : public Adversary {
 public:
  explicit Scale(const ScaleOptions& options) : factor_(static_cast<float>(options.factor)) {}
  void Falsify(const Scene& /*scene*/, std::span<float> update, State& /*memory*/) const override {
    for (float& value : update) value *= factor_;
  }

 private:
  const float factor_;
};

MUSTER_REGISTER(Adversary, AdversaryPlugin<ScaleOptions>("scale", "Sends its update multiplied by a factor",
                                                         "Bagdasaryan et al. 2020, model replacement, eq. 3")
                               .Option("factor", &ScaleOptions::factor, "how many times as large", Above(0))
                               .Make<Scale>());

}  // namespace
}  // namespace muster
