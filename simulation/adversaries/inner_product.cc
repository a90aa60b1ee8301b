// Colluders that turn the aggregate against the true direction.
#include "simulation/adversary.h"

namespace muster {
namespace {

struct InnerProductOptions : AdversaryOptions {
  double epsilon = 0.5;
};

class InnerProduct final : public Adversary {
 public:
  explicit InnerProduct(const InnerProductOptions& options) : factor_(static_cast<float>(-options.epsilon)) {}
  bool Colludes() const override { return true; }
  void Falsify(const Scene& scene, std::span<float> update, State& /*memory*/) const override {
    for (size_t i = 0; i < update.size(); ++i) update[i] = factor_ * scene.collusion->mean[i];
  }

 private:
  const float factor_;
};

MUSTER_REGISTER(Adversary, AdversaryPlugin<InnerProductOptions>(
                               "inner_product", "Colluders send the opposite of their mean, times epsilon",
                               "Xie et al. 2019, inner-product manipulation, arXiv:1903.03936")
                               .Option("epsilon", &InnerProductOptions::epsilon, "length, in means", Above(0))
                               .Make<InnerProduct>());

}  // namespace
}  // namespace muster
