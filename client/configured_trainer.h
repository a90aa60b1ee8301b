// Muster's own trainer as an experiment's configuration asks for it.
#ifndef MUSTER_CLIENT_CONFIGURED_TRAINER_H_
#define MUSTER_CLIENT_CONFIGURED_TRAINER_H_

#include <memory>

#include "client/batched_trainer.h"
#include "client/local_trainer.h"
#include "core/status.h"
#include "learning/dataset.h"
#include "learning/model.h"
#include "muster/v1/experiment.pb.h"

namespace muster {

// The initial model: its layout and, drawn from the seed, its values. Errors name the configuration's field.
absl::StatusOr<std::unique_ptr<FlatModel>> MakeConfiguredModel(const v1::Experiment& config,
                                                               const Dataset& train);

// A trainer with a model and an optimiser of its own. `train` outlives it; clients of one federation must
// agree on the shape of their samples and on the classes. `device` as in TrainerOptions. Errors as above.
absl::StatusOr<std::unique_ptr<LocalTrainer>> MakeConfiguredTrainer(
    const v1::Experiment& config, const Dataset& train, std::shared_ptr<ComputeDevice> device = nullptr);

// One for groups of such clients; nullptr where they are trained one by one (BatchedTrainer::Make). `model`
// is that of MakeConfiguredModel.
absl::StatusOr<std::unique_ptr<BatchedTrainer>> MakeConfiguredBatchedTrainer(
    const v1::Experiment& config, FlatModel& model, const Dataset& train,
    std::shared_ptr<ComputeDevice> device);

}  // namespace muster

#endif  // MUSTER_CLIENT_CONFIGURED_TRAINER_H_
