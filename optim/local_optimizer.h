// One protocol for all local methods. A method asks the task for what it needs (a gradient, a loss without
// backward, per-sample losses) through an Oracle; the trainer has no special cases.
#ifndef MUSTER_OPTIM_LOCAL_OPTIMIZER_H_
#define MUSTER_OPTIM_LOCAL_OPTIMIZER_H_

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/functional/function_ref.h"
#include "core/registry.h"
#include "core/status.h"

namespace muster {

struct State;

// What a method may ask of the task at the current parameter values. "Current" asks on the batch of this
// step, "next" draws a fresh one first.
class Oracle {
 public:
  enum class Batch { kCurrent, kNext };
  // From detached per-sample losses [batch] to weights [batch].
  using Weighting = absl::FunctionRef<at::Tensor(const at::Tensor& losses)>;

  virtual ~Oracle() = default;
  // Mean loss, no backward.
  virtual absl::StatusOr<double> Loss(Batch batch) = 0;
  // Mean loss; leaves d loss / d parameter in every parameter's grad() (replaced, not accumulated).
  virtual absl::StatusOr<double> Gradient(Batch batch) = 0;
  // Per-sample losses [batch], no backward.
  virtual absl::StatusOr<at::Tensor> SampleLosses(Batch batch) = 0;
  // Gradient of sum_j w_j * loss_j, where w = weighting(losses) counts as constant; the weighting may ask for
  // the batch's Groups. One forward and one backward pass. Returns the losses [batch], detached.
  virtual absl::StatusOr<at::Tensor> WeightedGradient(Batch batch, Weighting weighting) = 0;
  // Group 0 .. c-1 of every sample of the current batch, [batch] int64. Samples are grouped by "class", by
  // "sample" (every one its own group) or by a column that the data know ("writer"). INVALID_ARGUMENT where
  // they do not.
  virtual absl::StatusOr<at::Tensor> Groups(const std::string& by) = 0;
  // How many samples of each group this client trains on; c entries, some of which may be 0.
  virtual absl::StatusOr<std::vector<int64_t>> GroupSizes(const std::string& by) = 0;
};

struct StepReport {
  double loss = 0;  // mean loss of the step's (first) batch, before the step; NaN: it asked for none
};

// A local method, bound to the parameters it was made for. One per thread.
class LocalOptimizer {
 public:
  using Interface = LocalOptimizer;
  static constexpr char kKind[] = "optimizer";
  static constexpr char kList[] = "optimizers";
  struct Context {
    std::vector<at::Tensor> parameters;   // float32, contiguous, on the CPU; the method changes them in place
    std::vector<std::string> names = {};  // of the parameters, for messages; may be empty
    bool by_tensors = false;  // the parameters may be on any device; only where AnyDevice() says so
  };
  // Numbers by name, as they travel with an update.
  using Numbers = std::map<std::string, std::vector<double>>;
  // Vectors by name, as the server sends them along with the model.
  using Vectors = std::map<std::string, std::vector<float>>;

  virtual ~LocalOptimizer() = default;
  // Whether the same plug-in and options can be made by_tensors: steps are then tensor operations, element
  // by element, that nothing waits for, and ask for one Gradient each, whose loss they do not look at (it may
  // be NaN: not known yet).
  virtual bool AnyDevice() const { return false; }
  // One step. Errors: the oracle's, or INVALID_ARGUMENT naming a parameter whose gradient is not finite.
  virtual absl::StatusOr<StepReport> Step(Oracle& oracle) = 0;
  // The learning rate of the configuration times `factor` from now on.
  virtual void SetLearningRateFactor(double factor) = 0;
  // Forgets all state: as newly made.
  virtual void Reset() = 0;

  // Writes all that crosses rounds. Saved and loaded, the next step has the same bits.
  virtual void Save(State& /*state*/) const {}
  // INVALID_ARGUMENT, with *this as after Reset(), for a state that is not its own.
  virtual absl::Status Load(const State& /*state*/) { return absl::OkStatus(); }

  // Takes what the server sent along for this job (group weights), after Reset() or Load() and before the
  // first step. Names that are not its own are left alone. INVALID_ARGUMENT for a vector of a wrong size or
  // not finite.
  virtual absl::Status Receive(const Vectors& /*vectors*/) { return absl::OkStatus(); }
  // What the server should learn of the job just done, beside the update (group losses, distances of
  // gradients).
  virtual Numbers Report() const { return {}; }
};

}  // namespace muster

#endif  // MUSTER_OPTIM_LOCAL_OPTIMIZER_H_
