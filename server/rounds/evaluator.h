// What the engine asks of whoever can run the model (it holds LibTorch, the engine does not).
#ifndef MUSTER_SERVER_ROUNDS_EVALUATOR_H_
#define MUSTER_SERVER_ROUNDS_EVALUATOR_H_

#include <cstdint>
#include <vector>

#include "core/parameters.h"
#include "core/status.h"
#include "server/rounds/client_pool.h"

namespace muster {

struct Evaluation {
  int64_t samples = 0;
  double loss = 0;                   // mean
  double accuracy = 0;               // share of correct predictions; 0 for regression
  double macro_f1 = 0;               // mean F1 over classes that occur; 0 for regression
  std::vector<double> class_recall;  // per class; NaN for a class that does not occur; empty for regression
};

struct ClientEvaluation {
  ClientId client = 0;
  Evaluation evaluation;
};

// Deterministic: the bits of a result depend on the model and the data, not on threads.
class Evaluator {
 public:
  virtual ~Evaluator() = default;
  // On the test set.
  virtual absl::StatusOr<Evaluation> EvaluateTest(ConstParameters model) = 0;
  // Mean loss on the server's trust set. FAILED_PRECONDITION if there is none.
  virtual absl::StatusOr<double> TrustLoss(ConstParameters model) = 0;
  // On each client's own data (its validation part if it has one, else its training part).
  virtual absl::StatusOr<std::vector<ClientEvaluation>> EvaluateClients(ConstParameters model) = 0;
};

}  // namespace muster

#endif  // MUSTER_SERVER_ROUNDS_EVALUATOR_H_
