// The base of Muster's optimisers. Each is a torch::optim::Optimizer, usable by any LibTorch program:
// parameter groups, closures, save and load. State is kept in contiguous slots beside every parameter, so
// that a step is one pass over memory and state can cross rounds as flat vectors.
#ifndef MUSTER_OPTIM_OPTIMIZER_H_
#define MUSTER_OPTIM_OPTIMIZER_H_

#include <ATen/core/Tensor.h>
#include <torch/optim/optimizer.h>
#include <torch/optim/serialize.h>

#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/functional/function_ref.h"
#include "core/state.h"
#include "core/status.h"

namespace muster::optim {

// Parameters are contiguous float32 tensors; gradients are dense, of any memory order. A parameter without a
// gradient is left alone. All lie on the CPU, or where AnyDevice() allows it on one device. Not thread-safe.
class Optimizer : public torch::optim::Optimizer {
 public:
  // Evaluates the loss and its gradient (left in grad()) at the current parameter values, on the same batch
  // each time.
  using Evaluate = absl::FunctionRef<absl::StatusOr<double>()>;

  // One step; returns the loss before it. Most methods evaluate once. INVALID_ARGUMENT naming the parameter
  // for a gradient that holds a NaN or an infinity: a method of one pass has then spoilt that parameter, but
  // no later one.
  virtual absl::StatusOr<double> Step(Evaluate evaluate) = 0;

  // Whether it can step by tensor operations, as it does where parameters are not on the CPU: nothing waits
  // for a result, so that gradients that are not finite go unnoticed (the next loss will tell); parameters,
  // and gradients, that lie in a row are stepped as one.
  virtual bool AnyDevice() const { return false; }
  // From now on, on the CPU, too. Before the first step; only with AnyDevice().
  void StepByTensors() { by_tensors_ = true; }

  // The same in LibTorch's form. Without a closure the gradients in grad() are taken and the loss is not
  // known; a method that evaluates more than once, or needs the loss, needs one. Throws c10::Error where Step
  // has an error.
  torch::Tensor step(LossClosure closure = nullptr) override;
  void save(torch::serialize::OutputArchive& archive) const override;
  void load(torch::serialize::InputArchive& archive) override;

  // The state, without the options. Vectors: each slot over all parameters one after another, and "steps",
  // one count for every parameter. An optimiser that has made no step has an empty state.
  State Save() const;
  // INVALID_ARGUMENT, with *this as after Reset(), for a state that is not its own.
  absl::Status Load(const State& state);
  // Forgets all state but keeps its memory.
  void Reset();

  // Names of the parameters over all groups, for messages; without them they go by number.
  void set_names(std::vector<std::string> names) { names_ = std::move(names); }
  int64_t elements() const;  // of all parameters

 protected:
  static constexpr size_t kMaxSlots = 4;

  // One parameter that has a gradient, in a step.
  struct Parameter {
    size_t index = 0;  // over all groups
    int64_t size = 0;
    float* values = nullptr;
    const float* gradient = nullptr;
    std::array<float*, kMaxSlots> slots{};  // [size] each; zero in the parameter's first step
    int64_t step = 0;                       // 1 in its first
    const torch::optim::OptimizerOptions* options = nullptr;
    at::Tensor tensor = {};         // the parameter
    at::Tensor held_gradient = {};  // owns `gradient`

    template <typename Options>
    const Options& Get() const {
      return static_cast<const Options&>(*options);
    }
  };
  // Parameters that lie in a row in memory, as flat vectors that their values, gradients and state are views
  // of.
  struct Run {
    at::Tensor values;
    at::Tensor gradient;  // not to be changed
    std::array<at::Tensor, kMaxSlots> slots;
    int64_t step = 0;
    const torch::optim::OptimizerOptions* options = nullptr;

    template <typename Options>
    const Options& Get() const {
      return static_cast<const Options&>(*options);
    }
  };
  // State beside the slots, by name: what the method keeps once, not per parameter.
  struct Fields {
    std::map<std::string, double*> numbers;
    std::map<std::string, std::vector<float>*> vectors;
  };

  // `slots`: names of the state kept for every parameter, at most kMaxSlots. `scratch`: how many more of them
  // are memory only, not state.
  Optimizer(std::vector<torch::optim::OptimizerParamGroup> groups,
            std::unique_ptr<torch::optim::OptimizerOptions> defaults, std::vector<std::string> slots,
            size_t scratch = 0);

  // The parameters that have a gradient; counts a step for each.
  absl::StatusOr<std::vector<Parameter>> Gather();
  // The same, as few as they are.
  absl::StatusOr<std::vector<Run>> GatherRuns();
  bool by_tensors() const { return by_tensors_; }
  // The parameters that have made a step, whatever gradients they have now (`gradient` is null); counts one
  // more.
  std::vector<Parameter> GatherStepped();
  // INVALID_ARGUMENT that names the parameter.
  absl::Status NotFinite(size_t index) const;
  // OK, or NotFinite for the first gradient that is not.
  absl::Status CheckFinite(const std::vector<Parameter>& parameters) const;

  // ||g - g'||_1 where g' is the gradient after `move` has changed every parameter's values; puts values and
  // gradients back.
  absl::StatusOr<double> GradientChange(std::vector<Parameter>& parameters, Evaluate evaluate,
                                        absl::FunctionRef<void(const Parameter&)> move);

  // Whether parameters with these options need that slot (scratch slots count on from the named ones). A slot
  // that none needs is neither allocated nor saved, and null in Parameter.
  virtual bool Needs(size_t /*slot*/, const torch::optim::OptimizerOptions& /*options*/) const {
    return true;
  }

  virtual Fields fields() { return {}; }
  // Sets what fields() points to back to its beginning.
  virtual void ResetFields() {}

 private:
  struct Kept {
    std::array<at::Tensor, kMaxSlots> slots;
    int64_t steps = 0;
  };

  at::Tensor NewSlot(size_t slot, size_t index, const at::Tensor& parameter);
  // Makes the slots it needs.
  Parameter View(size_t index, const at::Tensor& tensor, const torch::optim::OptimizerOptions& options);
  absl::Status TryLoad(const State& state);
  // The named slots that some parameter needs.
  std::vector<size_t> NeededSlots() const;
  std::vector<at::Tensor> AllParameters() const;

  const std::vector<std::string> slot_names_;
  const size_t slots_;  // with scratch
  std::vector<std::string> names_;
  std::vector<Kept> kept_;  // by parameter
  bool by_tensors_ = false;
  std::array<at::Tensor, kMaxSlots> slot_rows_;  // by tensors: all that kept_ has views of
};

// A method whose step is the same small rule for every element.
class ElementwiseOptimizer : public Optimizer {
 public:
  absl::StatusOr<double> Step(Evaluate evaluate) override;

 protected:
  using Optimizer::Optimizer;
  // The same rule by tensor operations; for methods of AnyDevice().
  virtual void UpdateRun(const Run& run);
  // Returns whether the whole gradient was finite.
  virtual bool Update(const Parameter& parameter) = 0;
};

}  // namespace muster::optim

#endif  // MUSTER_OPTIM_OPTIMIZER_H_
