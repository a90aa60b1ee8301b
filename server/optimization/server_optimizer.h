// Applies a round's aggregate to the global model. Torch-free: elementwise rules on the flat vector.
#ifndef MUSTER_SERVER_OPTIMIZATION_SERVER_OPTIMIZER_H_
#define MUSTER_SERVER_OPTIMIZATION_SERVER_OPTIMIZER_H_

#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "core/parameters.h"
#include "core/registry.h"
#include "core/status.h"

namespace muster {

// `delta` points the way the clients went (local - global), so a step ADDS: model += learning_rate *
// direction(delta). Not thread-safe.
class ServerOptimizer {
 public:
  using Interface = ServerOptimizer;
  static constexpr char kKind[] = "server optimizer";
  static constexpr char kList[] = "server_optimizers";
  struct Context {
    int64_t size = 0;  // elements of the model
  };
  // State by name ("momentum", "second_moment"); each vector has `size` elements.
  using State = std::map<std::string, std::vector<float>>;

  virtual ~ServerOptimizer() = default;
  // Both have `size` elements.
  virtual absl::Status Step(std::span<const float> delta, Parameters model) = 0;
  // Saved and loaded, the next step has the same bits. Load refuses names or sizes that are not its own.
  virtual State Save() const = 0;
  virtual absl::Status Load(State state) = 0;
  // A copy with its own state, for trying a step out (ISP's candidates).
  virtual std::unique_ptr<ServerOptimizer> Clone() const = 0;
};

}  // namespace muster

#endif  // MUSTER_SERVER_OPTIMIZATION_SERVER_OPTIMIZER_H_
