// Trains one client's share of a round: global model in, delta out.
#ifndef MUSTER_CLIENT_LOCAL_TRAINER_H_
#define MUSTER_CLIENT_LOCAL_TRAINER_H_

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "core/parameters.h"
#include "core/registry.h"
#include "core/status.h"
#include "learning/dataset.h"
#include "learning/loss.h"
#include "learning/model.h"
#include "optim/local_optimizer.h"

namespace muster {

// How every client trains; the same for the whole federation.
struct TrainerOptions {
  int64_t batch_size = 20;
  bool shuffle = true;
  LossKind loss = LossKind::kCrossEntropy;
  PluginConfig optimizer;
};

// What one client is told to do in one round.
struct TrainingJob {
  uint64_t seed = 0;  // the federation's
  int64_t round = 0;
  int64_t client = 0;
  int64_t epochs = 1;
  int64_t steps = 0;  // > 0: exactly so many steps, each on a full batch, over as many epochs as needed
  double learning_rate_factor = 1;
};

struct TrainingResult {
  int64_t num_samples = 0;  // of the client's training data
  int64_t steps = 0;
  double train_loss = 0;  // mean over steps of the step's batch loss
  double seconds = 0;
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
  // LibTorch.
  virtual absl::StatusOr<TrainingResult> Train(const TrainingJob& job, ConstParameters global,
                                               std::span<const uint32_t> samples, std::span<float> delta) = 0;
  // Sums over `samples` of `evaluated` (training set or another of the same shape) at `model`, in evaluation
  // mode.
  virtual absl::StatusOr<EvaluationSums> Evaluate(ConstParameters model, const Dataset& evaluated,
                                                  std::span<const uint32_t> samples) = 0;
};

}  // namespace muster

#endif  // MUSTER_CLIENT_LOCAL_TRAINER_H_
