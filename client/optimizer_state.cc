#include "client/optimizer_state.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "methods/method.h"

namespace muster {
namespace {

// Names of the state: in a client's memory, and as vectors that travel (a number has one element).
const std::string kOptimizer = "optimizer";
const std::string kOptimizerVector = "optimizer/";
const std::string kNumber = "number:";

}  // namespace

absl::Status PrepareOptimizer(LocalOptimizer& optimizer, OptimizerState keeping, const TrainingJob& job,
                              State& memory) {
  optimizer.Reset();
  optimizer.SetLearningRateFactor(job.learning_rate_factor);
  State state;
  if (keeping == OptimizerState::kKeep) state = TakeUnder(kOptimizer, memory);
  LocalOptimizer::Vectors received;
  for (const auto& [name, values] : job.vectors) {
    if (name.starts_with(kMethodPrefix)) continue;
    if (!name.starts_with(kOptimizerVector)) {
      received[name] = *values;
    } else if (keeping == OptimizerState::kAverage) {
      std::string key = name.substr(kOptimizerVector.size());
      if (!key.starts_with(kNumber)) {
        state.vectors[std::move(key)] = *values;
      } else if (values->size() == 1) {
        state.numbers[key.substr(kNumber.size())] = values->front();
      }
    }
  }
  if (!state.empty()) MUSTER_RETURN_IF_ERROR(Annotate(optimizer.Load(state), "the optimiser's state"));
  return optimizer.Receive(received);
}

void RememberOptimizer(const LocalOptimizer& optimizer, OptimizerState keeping, TrainingResult& result,
                       State& memory) {
  if (keeping == OptimizerState::kReset) return;
  State state;
  optimizer.Save(state);
  if (keeping == OptimizerState::kKeep) {
    TakeUnder(kOptimizer, memory);
    PutUnder(kOptimizer, std::move(state), memory);
    return;
  }
  for (auto& [name, values] : state.vectors) {
    result.extras[absl::StrCat(kOptimizerVector, name)] = std::move(values);
  }
  for (const auto& [name, value] : state.numbers) {
    result.extras[absl::StrCat(kOptimizerVector, kNumber, name)] = {static_cast<float>(value)};
  }
}

}  // namespace muster
