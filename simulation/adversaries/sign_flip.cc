// Sends the opposite of its update, amplified.
#include "simulation/adversary.h"

namespace muster {
namespace {

struct SignFlipOptions : AdversaryOptions {
  double factor = 1;
};

class SignFlip final : public Adversary {
 public:
  explicit SignFlip(const SignFlipOptions& options) : factor_(static_cast<float>(-options.factor)) {}
  void Falsify(const Scene& /*scene*/, std::span<float> update, State& /*memory*/) const override {
    for (float& value : update) value *= factor_;
  }

 private:
  const float factor_;
};

MUSTER_REGISTER(Adversary,
                AdversaryPlugin<SignFlipOptions>("sign_flip",
                                                 "Sends its update with the sign flipped, and amplified",
                                                 "Li et al. 2019, RSA, arXiv:1811.03761")
                    .Option("factor", &SignFlipOptions::factor, "amplification", Above(0))
                    .Make<SignFlip>());

}  // namespace
}  // namespace muster
