// A client's optimiser state between two rounds it takes part in.
#ifndef MUSTER_CLIENT_OPTIMIZER_STATE_H_
#define MUSTER_CLIENT_OPTIMIZER_STATE_H_

#include "client/trainer.h"
#include "core/state.h"
#include "core/status.h"
#include "optim/local_optimizer.h"

namespace muster {

// What becomes of it.
enum class OptimizerState {
  kReset,    // every job starts as newly made
  kKeep,     // the client keeps its own
  kAverage,  // it travels with the update ("optimizer/..."); the next cohort starts from the mean
};

// Brings `optimizer` to where `job` begins: its learning rate, its state, and what the server sent for it.
absl::Status PrepareOptimizer(LocalOptimizer& optimizer, OptimizerState keeping, const TrainingJob& job,
                              State& memory);
// Puts the state after the job where the next one finds it.
void RememberOptimizer(const LocalOptimizer& optimizer, OptimizerState keeping, TrainingResult& result,
                       State& memory);

}  // namespace muster

#endif  // MUSTER_CLIENT_OPTIMIZER_STATE_H_
