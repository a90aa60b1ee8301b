// Trains one client's share of a round: global model in, delta out.
#ifndef MUSTER_CLIENT_LOCAL_TRAINER_H_
#define MUSTER_CLIENT_LOCAL_TRAINER_H_

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "client/optimizer_state.h"
#include "client/trainer.h"
#include "core/parameters.h"
#include "core/registry.h"
#include "core/status.h"
#include "learning/dataset.h"
#include "learning/device.h"
#include "learning/loss.h"
#include "learning/model.h"
#include "optim/local_optimizer.h"

namespace muster {

// How every client trains; the same for the whole federation.
struct TrainerOptions {
  int64_t batch_size = 20;
  bool shuffle = true;
  LossKind loss = LossKind::kCrossEntropy;
  bool static_plan = true;  // no autograd where the model allows (learning/plan.h, client/batched_trainer.h)
  PluginConfig optimizer;
  OptimizerState optimizer_state = OptimizerState::kReset;
  PluginConfig gradient_noise = {.name = "none",
                                 .options = {}};  // of experiments; one draw an element and gradient
  PluginConfig method = {.name = "none", .options = {}};
  // Computes losses and gradients, without a static plan, and makes the steps where the optimiser can do so
  // on any device, no noise is added and the method corrects no gradients. The rest is the host's. nullptr:
  // all is.
  std::shared_ptr<ComputeDevice> device = nullptr;
};

// Holds one resident model and optimiser and swaps bits: nothing is allocated per client. Single-threaded and
// not thread-safe: one per worker thread.
class LocalTrainer {
 public:
  // `data` must outlive the trainer.
  static absl::StatusOr<std::unique_ptr<LocalTrainer>> Create(std::unique_ptr<FlatModel> model,
                                                              const Dataset& data,
                                                              const TrainerOptions& options);
  virtual ~LocalTrainer() = default;

  virtual const Layout& layout() const = 0;
  // Trains from `global` on the samples and writes local - global to `delta` (both layout().size elements).
  // The result's bits depend on the job, the model and the data alone. INVALID_ARGUMENT if the loss or the
  // update is not finite (training diverged); the message says at which step. INTERNAL for an error of
  // LibTorch. CANCELLED if job.cancelled said so. `memory` as for Trainer::Train.
  virtual absl::StatusOr<TrainingResult> Train(const TrainingJob& job, ConstParameters global,
                                               std::span<const uint32_t> samples, std::span<float> delta,
                                               State& memory) = 0;
  // The same for a client without memory.
  absl::StatusOr<TrainingResult> Train(const TrainingJob& job, ConstParameters global,
                                       std::span<const uint32_t> samples, std::span<float> delta) {
    State memory;
    return Train(job, global, samples, delta, memory);
  }
  // Sums over `samples` of `evaluated` (training set or another of the same shape) at `model`, in evaluation
  // mode.
  virtual absl::StatusOr<EvaluationSums> Evaluate(ConstParameters model, const Dataset& evaluated,
                                                  std::span<const uint32_t> samples) = 0;
};

// One client's slice of a data set, as a Trainer. Both outlive it. With `withhold` it tells nothing about its
// data beside its updates and the number of its samples.
class SliceTrainer final : public Trainer {
 public:
  SliceTrainer(LocalTrainer& trainer, const Dataset& data, std::span<const uint32_t> samples,
               bool withhold = false)
      : trainer_(trainer), data_(data), samples_(samples), withhold_(withhold) {}

  const Layout& layout() const override { return trainer_.layout(); }
  int64_t num_samples() const override { return static_cast<int64_t>(samples_.size()); }
  std::vector<int64_t> label_histogram() const override;
  absl::StatusOr<TrainingResult> Train(const TrainingJob& job, ConstParameters global, std::span<float> delta,
                                       State& memory) override;

 private:
  LocalTrainer& trainer_;
  const Dataset& data_;
  const std::span<const uint32_t> samples_;
  const bool withhold_;
};

}  // namespace muster

#endif  // MUSTER_CLIENT_LOCAL_TRAINER_H_
