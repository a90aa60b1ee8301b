// Worked example, a local optimiser: steps of fixed length along the gradient. In the tree it would be
// optim/normalized_sgd.cc, its test tests/optim/normalized_sgd_test.cc.
#include <ATen/ATen.h>

#include <cmath>

#include "optim/gradient_method.h"
#include "optim/local_optimizer.h"

namespace muster {
namespace {

struct NormalizedSgdOptions {
  double learning_rate = 0.01;
};

// x -= learning_rate * g / |g|, with one norm over all parameters. Nothing happens where the gradient is
// zero.
class NormalizedSgd final : public LocalOptimizer {
 public:
  NormalizedSgd(const NormalizedSgdOptions& options, const Context& context)
      : learning_rate_(options.learning_rate), parameters_(context.parameters) {}

  absl::StatusOr<StepReport> Step(Oracle& oracle) override {
    StepReport report;
    MUSTER_ASSIGN_OR_RETURN(report.loss, oracle.Gradient(Oracle::Batch::kCurrent));
    MUSTER_RETURN_IF_ERROR(CheckGradients(FindNonFiniteGradient(parameters_)));
    const at::NoGradGuard no_grad;
    double squares = 0;
    for (const at::Tensor& p : parameters_) {
      if (p.grad().defined()) squares += p.grad().square().sum().item<double>();
    }
    if (squares == 0) return report;
    for (at::Tensor& p : parameters_) {
      if (p.grad().defined()) p.sub_(p.grad(), learning_rate_ * factor_ / std::sqrt(squares));
    }
    return report;
  }

  void SetLearningRateFactor(double factor) override { factor_ = factor; }
  void Reset() override { factor_ = 1; }

 private:
  const double learning_rate_;
  double factor_ = 1;
  std::vector<at::Tensor> parameters_;
};

MUSTER_REGISTER(LocalOptimizer,
                Plugin<NormalizedSgdOptions>("normalized_sgd", "Steps of fixed length along the gradient")
                    .Option("learning_rate", &NormalizedSgdOptions::learning_rate, "length of a step",
                            Above(0))
                    .Make<NormalizedSgd>());

}  // namespace
}  // namespace muster
