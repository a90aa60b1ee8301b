// Evaluates models on the simulation's worker threads.
#ifndef MUSTER_SIMULATION_MODEL_EVALUATOR_H_
#define MUSTER_SIMULATION_MODEL_EVALUATOR_H_

#include <vector>

#include "learning/federated_data.h"
#include "learning/loss.h"
#include "server/rounds/evaluator.h"
#include "simulation/worker_threads.h"

namespace muster {

// Samples are cut into chunks of a fixed size whose sums are added in order: the same bits on any number of
// threads.
class ModelEvaluator final : public Evaluator {
 public:
  // `data` and `workers` outlive the evaluator.
  ModelEvaluator(const FederatedData& data, WorkerThreads& workers);

  absl::StatusOr<Evaluation> EvaluateTest(ConstParameters model) override;
  absl::StatusOr<double> TrustLoss(ConstParameters model) override;
  absl::StatusOr<std::vector<ClientEvaluation>> EvaluateClients(ConstParameters model) override;

 private:
  absl::StatusOr<EvaluationSums> Evaluate(ConstParameters model, const Dataset& data,
                                          std::span<const uint32_t> samples);

  const FederatedData& data_;
  WorkerThreads& workers_;
  std::vector<uint32_t> test_samples_;  // 0, 1, 2, ...
};

// Means and per-class figures from sums.
Evaluation ToEvaluation(const EvaluationSums& sums);

}  // namespace muster

#endif  // MUSTER_SIMULATION_MODEL_EVALUATOR_H_
