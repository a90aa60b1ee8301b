// One protocol for all local methods. A method asks the task for what it needs (a gradient, a loss without backward,
// per-sample losses) through an Oracle; the trainer has no special cases.
#ifndef MUSTER_OPTIM_LOCAL_OPTIMIZER_H_
#define MUSTER_OPTIM_LOCAL_OPTIMIZER_H_

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "core/registry.h"
#include "core/status.h"

namespace muster {

// What a method may ask of the task at the current parameter values. "Current" asks on the batch of this step, "next"
// draws a fresh one first.
class Oracle {
 public:
  enum class Batch { kCurrent, kNext };

  virtual ~Oracle() = default;
  // Mean loss, no backward.
  virtual absl::StatusOr<double> Loss(Batch batch) = 0;
  // Mean loss; leaves d loss / d parameter in every parameter's grad() (replaced, not accumulated).
  virtual absl::StatusOr<double> Gradient(Batch batch) = 0;
  // Per-sample losses [batch], no backward; groups() then are those of the same samples.
  virtual absl::StatusOr<at::Tensor> SampleLosses(Batch batch) = 0;
  // Gradient of sum_j weights[j] * loss_j on the current batch, weights [batch].
  virtual absl::StatusOr<double> WeightedGradient(const at::Tensor& weights) = 0;
  // Group of every sample of the current batch, [batch] int64: its class.
  virtual at::Tensor groups() = 0;
};

struct StepReport {
  double loss = 0;       // mean loss of the step's (first) batch, before the step
  int64_t samples = 0;   // samples whose gradient or loss was evaluated; filled in by the trainer
};

// A local method, bound to the parameters it was made for. One per thread.
class LocalOptimizer {
 public:
  using Interface = LocalOptimizer;
  static constexpr char kKind[] = "optimizer";
  static constexpr char kList[] = "optimizers";
  struct Context {
    std::vector<at::Tensor> parameters;  // float32, contiguous, on the CPU; the method changes them in place
  };

  virtual ~LocalOptimizer() = default;
  // One step. Errors: the oracle's, or INVALID_ARGUMENT naming a parameter whose gradient is not finite.
  virtual absl::StatusOr<StepReport> Step(Oracle& oracle) = 0;
  // The learning rate of the configuration times `factor` from now on.
  virtual void SetLearningRateFactor(double factor) = 0;
  // Forgets all state: as newly made.
  virtual void Reset() = 0;
};

}  // namespace muster

#endif  // MUSTER_OPTIM_LOCAL_OPTIMIZER_H_
