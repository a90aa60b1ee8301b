#include "client/configured_trainer.h"

#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/config.h"

namespace muster {
namespace {

// The configuration's rule allows no other word.
OptimizerState ParseOptimizerState(const std::string& word) {
  if (word == "keep") return OptimizerState::kKeep;
  return word == "average" ? OptimizerState::kAverage : OptimizerState::kReset;
}

absl::StatusOr<TrainerOptions> MakeOptions(const v1::Experiment& config, const Dataset& train,
                                           std::shared_ptr<ComputeDevice> device) {
  const v1::Training& training = config.training();
  MUSTER_ASSIGN_OR_RETURN(const LossKind loss, ResolveLoss(training.loss(), train));
  return TrainerOptions{.batch_size = training.batch_size(),
                        .shuffle = training.shuffle(),
                        .loss = loss,
                        .static_plan = training.static_plan(),
                        .optimizer = ToPluginConfig(training.optimizer()),
                        .optimizer_state = ParseOptimizerState(training.optimizer_state()),
                        .gradient_noise = ToPluginConfig(config.simulation().gradient_noise()),
                        .method = ToPluginConfig(training.method()),
                        .device = std::move(device)};
}

}  // namespace

absl::StatusOr<std::unique_ptr<FlatModel>> MakeConfiguredModel(const v1::Experiment& config,
                                                               const Dataset& train) {
  MUSTER_ASSIGN_OR_RETURN(const LossKind loss, ResolveLoss(config.training().loss(), train));
  auto model = MakeModel(ToPluginConfig(config.model()), {train.sample_shape, ModelOutputs(loss, train), ""},
                         config.seed());
  if (!model.ok()) return Annotate(model.status(), absl::StrCat("model (", config.model().name(), ")"));
  return model;
}

absl::StatusOr<std::unique_ptr<LocalTrainer>> MakeConfiguredTrainer(const v1::Experiment& config,
                                                                    const Dataset& train,
                                                                    std::shared_ptr<ComputeDevice> device) {
  MUSTER_ASSIGN_OR_RETURN(const TrainerOptions options, MakeOptions(config, train, std::move(device)));
  MUSTER_ASSIGN_OR_RETURN(std::unique_ptr<FlatModel> model, MakeConfiguredModel(config, train));
  return LocalTrainer::Create(std::move(model), train, options);
}

absl::StatusOr<std::unique_ptr<BatchedTrainer>> MakeConfiguredBatchedTrainer(
    const v1::Experiment& config, FlatModel& model, const Dataset& train,
    std::shared_ptr<ComputeDevice> device) {
  MUSTER_ASSIGN_OR_RETURN(const TrainerOptions options, MakeOptions(config, train, std::move(device)));
  return BatchedTrainer::Make(model, train, options);
}

}  // namespace muster
