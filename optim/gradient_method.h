// From a torch::optim::Optimizer to a LocalOptimizer: methods that ask for one gradient a step.
#ifndef MUSTER_OPTIM_GRADIENT_METHOD_H_
#define MUSTER_OPTIM_GRADIENT_METHOD_H_

#include <torch/optim/optimizer.h>

#include <cstdint>
#include <vector>

#include "optim/local_optimizer.h"

namespace muster {

// The first parameter whose gradient holds a NaN or an infinity, -1 if none does.
int64_t FindNonFiniteGradient(const std::vector<at::Tensor>& parameters);
// INVALID_ARGUMENT that names the parameter; OK where `index` is -1.
absl::Status CheckGradients(int64_t index);

// `Optimizer` is any LibTorch optimiser with options that have get_lr() and set_lr(). It may offer, to save
// passes over memory,
//   int64_t non_finite_gradient() const   what its last step found (else gradients are looked through before
//   a step) void Reset()                          forget all state (else the state is dropped)
template <typename Optimizer>
class GradientMethod : public LocalOptimizer {
 public:
  template <typename Options>
  GradientMethod(const Context& context, const Options& options)
      : parameters_(context.parameters), optimizer_(parameters_, options), learning_rate_(options.get_lr()) {}

  absl::StatusOr<StepReport> Step(Oracle& oracle) override {
    StepReport report;
    MUSTER_ASSIGN_OR_RETURN(report.loss, oracle.Gradient(Oracle::Batch::kCurrent));
    if constexpr (requires { optimizer_.non_finite_gradient(); }) {
      optimizer_.step();
      MUSTER_RETURN_IF_ERROR(CheckGradients(optimizer_.non_finite_gradient()));
    } else {
      MUSTER_RETURN_IF_ERROR(CheckGradients(FindNonFiniteGradient(parameters_)));
      optimizer_.step();
    }
    return report;
  }

  void SetLearningRateFactor(double factor) override {
    for (auto& group : optimizer_.param_groups()) group.options().set_lr(learning_rate_ * factor);
  }

  void Reset() override {
    if constexpr (requires { optimizer_.Reset(); }) {
      optimizer_.Reset();
    } else {
      optimizer_.state().clear();
    }
  }

 private:
  std::vector<at::Tensor> parameters_;
  Optimizer optimizer_;
  double learning_rate_;
};

}  // namespace muster

#endif  // MUSTER_OPTIM_GRADIENT_METHOD_H_
