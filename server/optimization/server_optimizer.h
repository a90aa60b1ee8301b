// Applies a round's aggregate to the global model. Torch-free: elementwise rules on the flat vector.
#ifndef MUSTER_SERVER_OPTIMIZATION_SERVER_OPTIMIZER_H_
#define MUSTER_SERVER_OPTIMIZATION_SERVER_OPTIMIZER_H_

#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "core/parameters.h"
#include "core/registry.h"
#include "core/state.h"
#include "core/status.h"
#include "server/aggregation/aggregator.h"

namespace muster {

// `delta` points the way the clients went (local - global), so a step ADDS: model += learning_rate *
// direction(delta). Not thread-safe.
class ServerOptimizer {
 public:
  using Interface = ServerOptimizer;
  static constexpr char kKind[] = "server optimizer";
  static constexpr char kList[] = "server_optimizers";
  struct Context {
    int64_t size = 0;     // elements of the model
    int64_t clients = 1;  // of the federation
  };
  virtual ~ServerOptimizer() = default;
  // aggregate.delta and `model` have `size` elements.
  virtual absl::Status Step(const Aggregate& aggregate, Parameters model) = 0;
  // Optimisers that need something of the clients (ALSO, majority vote) override what they need:
  // vectors that go to every client with the next task, of any size;
  virtual std::map<std::string, std::vector<float>> Broadcast() const { return {}; }
  // what clients are asked to tell about their data with every update (core/statistics.h); they may refuse;
  virtual std::vector<std::string> Statistics() const { return {}; }
  // names of the extra vectors that updates must bring, [size] each; others are refused;
  virtual std::vector<std::string> Extras() const { return {}; }
  // weights of the next round's cohort, one each, instead of the aggregator's;
  virtual std::optional<std::vector<double>> Weights(std::span<const ClientInfo> /*cohort*/) const {
    return std::nullopt;
  }
  // numbers worth seeing after a step, by name (group weights, a step size): they go into the round's record.
  virtual Numbers Report() const { return {}; }
  // Saved and loaded, the next step has the same bits. Load refuses names or sizes that are not its own.
  virtual State Save() const = 0;
  virtual absl::Status Load(State state) = 0;
  // A copy with its own state, for trying a step out (ISP's candidates).
  virtual std::unique_ptr<ServerOptimizer> Clone() const = 0;
};

}  // namespace muster

#endif  // MUSTER_SERVER_OPTIMIZATION_SERVER_OPTIMIZER_H_
