// No training: what a round costs with it is what the federation costs. For benchmarks of everything around
// training, and to try a deployment out.
#include <limits>
#include <memory>

#include "core/state.h"
#include "optim/local_optimizer.h"

namespace muster {
namespace {

class None final : public LocalOptimizer {
 public:
  absl::StatusOr<StepReport> Step(Oracle& /*oracle*/) override {
    return StepReport{.loss = std::numeric_limits<double>::quiet_NaN()};
  }
  void SetLearningRateFactor(double /*factor*/) override {}
  void Reset() override {}
  absl::Status Load(const State& state) override {
    if (state.empty()) return absl::OkStatus();
    return InvalidInput("optimizer none: has no state, that of another was given");
  }
};

MUSTER_REGISTER(
    LocalOptimizer,
    Plugin("none", "No training: asks for no gradient and leaves the model as it is").Make<None>());

}  // namespace
}  // namespace muster
