// From an optim::Optimizer to a LocalOptimizer.
#ifndef MUSTER_OPTIM_GRADIENT_METHOD_H_
#define MUSTER_OPTIM_GRADIENT_METHOD_H_

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "optim/local_optimizer.h"
#include "optim/optimizer.h"

namespace muster {

// The first parameter whose gradient holds a NaN or an infinity, -1 if none does.
int64_t FindNonFiniteGradient(const std::vector<at::Tensor>& parameters);
// INVALID_ARGUMENT that names the parameter; OK where `index` is -1.
absl::Status CheckGradients(int64_t index);

// What local methods that own one optim::Optimizer share: its state is theirs.
class OptimizerMethod : public LocalOptimizer {
 public:
  OptimizerMethod(const Context& context, std::unique_ptr<optim::Optimizer> optimizer);

  void SetLearningRateFactor(double factor) override;
  void Reset() override { optimizer_->Reset(); }
  void Save(State& state) const override { state = optimizer_->Save(); }
  absl::Status Load(const State& state) override { return optimizer_->Load(state); }

 protected:
  optim::Optimizer& optimizer() { return *optimizer_; }
  const optim::Optimizer& optimizer() const { return *optimizer_; }

 private:
  std::unique_ptr<optim::Optimizer> optimizer_;
  std::vector<double> learning_rates_;  // of the parameter groups
};

// Makes a plug-in from options that its constructor may refuse by a c10::Error, as LibTorch's optimisers do.
template <typename Method, typename Options>
absl::StatusOr<std::unique_ptr<LocalOptimizer>> MakeMethod(const Options& options,
                                                           const LocalOptimizer::Context& context) {
  try {
    return std::make_unique<Method>(options, context);
  } catch (const c10::Error& e) {
    return InvalidInput(e.what_without_backtrace());
  }
}

// Methods that need nothing but the gradient on the current batch. `Method` is an optim::Optimizer.
template <typename Method, typename Options>
class GradientMethod : public OptimizerMethod {
 public:
  static absl::StatusOr<std::unique_ptr<LocalOptimizer>> Create(const Options& options,
                                                                const Context& context) {
    return MakeMethod<GradientMethod>(options, context);
  }
  GradientMethod(const Options& options, const Context& context)
      : OptimizerMethod(context, std::make_unique<Method>(context.parameters, options)) {}

  bool AnyDevice() const override { return this->optimizer().AnyDevice(); }
  absl::StatusOr<StepReport> Step(Oracle& oracle) override {
    StepReport report;
    MUSTER_ASSIGN_OR_RETURN(report.loss,
                            optimizer().Step([&] { return oracle.Gradient(Oracle::Batch::kCurrent); }));
    return report;
  }
};

}  // namespace muster

#endif  // MUSTER_OPTIM_GRADIENT_METHOD_H_
