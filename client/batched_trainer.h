// Trains many clients at once on a device: their small models as one batched computation.
#ifndef MUSTER_CLIENT_BATCHED_TRAINER_H_
#define MUSTER_CLIENT_BATCHED_TRAINER_H_

#include <cstdint>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "client/batched_layers.h"
#include "client/local_trainer.h"
#include "client/trainer.h"
#include "core/parameters.h"
#include "core/status.h"
#include "learning/dataset.h"
#include "learning/model.h"

namespace muster {

// A GPU is done with a small model's step before the host has asked for the next one. Here the same few
// operations make a step for all clients of a group: their models are one tensor, [clients, parameters], as
// are the gradients and the optimiser's state.
//
// Every client draws the batches that LocalTrainer draws and gets its update but for rounding: sums have
// another order. An update's bits depend on the clients of its group, too, and on their order, not on what
// becomes of them.
//
// Immutable and thread-safe. Every thread that trains has a stream of its own on the device.
class BatchedTrainer {
 public:
  struct Client {
    TrainingJob job;
    std::span<const uint32_t> samples;  // as for LocalTrainer::Train
    std::span<float> delta;  // [elements of the model]: becomes local - global, if that comes to the host
  };

  // For models that are linear layers, with `static_plan` and optimisers that step on any device
  // (LocalOptimizer::AnyDevice) and begin anew with every job, without a method and without gradient noise.
  // nullptr for all else, without a device, and for a model so large that it is better trained by itself.
  // `data` outlives the trainer. Errors as LocalTrainer::Create.
  static absl::StatusOr<std::unique_ptr<BatchedTrainer>> Make(FlatModel& model, const Dataset& data,
                                                              const TrainerOptions& options);

  const Layout& layout() const { return layout_; }
  // How many clients make a group, at least 2: it depends on the model and the size of batches alone.
  int64_t group() const { return group_; }
  // Whether it knows how to do the job: not if it asks for statistics, brings vectors, or somebody wants to
  // hear of its progress or to cancel it.
  static bool Knows(const TrainingJob& job);

  // What LocalTrainer::Train gives, or says, for each of the clients; a client that fails changes nothing for
  // the others. The jobs have the same learning_rate_factor. The seconds are the group's, shared out evenly.
  // Updates of large models stay on the device if all jobs let them; else all come down by one copy.
  std::vector<absl::StatusOr<TrainingResult>> Train(std::span<const Client> clients,
                                                    ConstParameters global) const;

 private:
  BatchedTrainer(const Layout& layout, BatchedLayers layers, const Dataset& data, TrainerOptions options,
                 int64_t group)
      : layout_(layout),
        layers_(std::move(layers)),
        data_(data),
        options_(std::move(options)),
        group_(group) {}

  const Layout layout_;
  const BatchedLayers layers_;
  const Dataset& data_;
  const TrainerOptions options_;
  const int64_t group_;
};

}  // namespace muster

#endif  // MUSTER_CLIENT_BATCHED_TRAINER_H_
