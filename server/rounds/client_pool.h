// The seam: how the round engine reaches clients. In-process threads, gRPC streams and c10d workers are three
// implementations; nothing else differs between a simulation and a deployment.
#ifndef MUSTER_SERVER_ROUNDS_CLIENT_POOL_H_
#define MUSTER_SERVER_ROUNDS_CLIENT_POOL_H_

#include <algorithm>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <variant>
#include <vector>

#include "absl/functional/function_ref.h"
#include "compression/payload.h"
#include "core/parameters.h"
#include "core/registry.h"
#include "core/status.h"

namespace muster {

using ClientId = int64_t;

struct ClientInfo {
  ClientId id = 0;
  int64_t num_samples = 0;  // training samples the client declares; its updates must not claim more
  // Training samples by class, if it told; immutable.
  std::shared_ptr<const std::vector<int64_t>> labels = nullptr;
};

// The client `id` among `clients`, which are ascending by id; nullptr if it is not there.
inline const ClientInfo* FindClient(std::span<const ClientInfo> clients, ClientId id) {
  const auto found =
      std::lower_bound(clients.begin(), clients.end(), id,
                       [](const ClientInfo& info, ClientId wanted) { return info.id < wanted; });
  return found == clients.end() || found->id != id ? nullptr : &*found;
}

// Turns the clients' model of version - 1 into that of `version`.
struct ModelDelta {
  int64_t version = 0;
  std::shared_ptr<const Payload> payload;  // immutable
};

// What a pool needs that folds updates where they are made: it brings the sums of many of them instead of
// each one (Update::folded).
struct Folding {
  // Makes a partial aggregator of the round (server/aggregation/aggregator.h).
  PluginConfig aggregator;
  std::vector<ClientInfo> cohort;  // ascending by id, without labels
  bool uniform_weights = false;
  std::optional<std::vector<double>> weights = {};
  bool norms = false;  // Update::Folded::norm is wanted
  int64_t sums = 0;    // of a partial aggregator
  // Adds them to the round's, before Run returns. Called as the sink is. INVALID_ARGUMENT for another number.
  std::function<absl::Status(std::span<const int64_t> sums)> add;
};

// What the cohort of one round is told to do.
struct Task {
  int64_t round = 0;
  uint64_t seed = 0;                                // the federation's
  std::shared_ptr<const std::vector<float>> model;  // the global model; immutable
  int64_t epochs = 1;
  int64_t steps = 0;  // > 0: exactly so many steps instead of epochs
  double learning_rate_factor = 1;
  // What a method sends along, by name: a control variate, group weights. Immutable.
  std::map<std::string, std::shared_ptr<const std::vector<float>>> vectors = {};
  // Where the way down is compressed: the model's version, and how to get there from earlier ones (ascending,
  // without gaps, the last one leads to model_version). -1: everyone is sent the model.
  int64_t model_version = -1;
  std::vector<ModelDelta> deltas = {};
  double deadline_seconds = 0;  // > 0: answers that take longer are failures of stage "deadline"
  int64_t enough = 0;  // > 0: so many accepted updates end the round; the rest fails in stage "enough"
  // What clients are asked to tell with their updates (core/statistics.h); they may refuse.
  std::vector<std::string> statistics = {};
  // Set if updates without extras and numbers may be folded by the pool. Immutable.
  std::shared_ptr<const Folding> folding = nullptr;
};

// Numbers that travel with an update, by name: a distance, losses by group.
using Numbers = std::map<std::string, std::vector<double>>;

// Numbers that travel with an update.
struct ClientMetrics {
  double train_loss = 0;  // mean batch loss while training
  int64_t steps = 0;
  double seconds = 0;  // of training, on the client's clock
};

struct Update {
  ClientId client = 0;
  int64_t num_samples = 0;
  Payload payload;  // local - global, encoded
  ClientMetrics metrics;
  int64_t download_bytes = 0;  // what the client received for this round
  // Further vectors of a method (a control variate's change), each encoded under ExtraLayout(name, size).
  std::map<std::string, Payload> extras = {};
  Numbers numbers = {};
  // Set if the pool has folded the payload, of which only the header is left. Its sums come by Folding::add.
  struct Folded {
    int64_t payload_bytes = 0;  // of all of it
    double norm = 0;            // of the update, if wanted
    double seconds = 0;         // that folding took
  };
  std::optional<Folded> folded = {};

  int64_t upload_bytes() const {
    int64_t bytes = folded ? folded->payload_bytes : payload.size();
    for (const auto& [name, extra] : extras) bytes += extra.size();
    for (const auto& [name, values] : numbers) bytes += static_cast<int64_t>(values.size() * sizeof(double));
    return bytes;
  }
};

// Why a client has no update in this round.
struct ClientFailure {
  ClientId client = 0;
  // Where it happened: "offer" (declined), "download", "train", "compress", "upload", "verify", "deadline"
  // (too late), "enough" (not needed any more), "gone" (vanished).
  std::string stage;
  std::string code;     // absl status code name, e.g. "INVALID_ARGUMENT"
  std::string message;  // the client's own words
  int64_t download_bytes = 0;
};

// The code with this name, as absl::StatusCodeToString gives it; UNKNOWN for any other text.
absl::StatusCode CodeNamed(const std::string& name);

using Outcome = std::variant<Update, ClientFailure>;
// OK if it was an update and was taken into the round; else why not.
using OutcomeSink = absl::FunctionRef<absl::Status(Outcome)>;

class ClientPool {
 public:
  virtual ~ClientPool() = default;
  // Called before every round: returns once enough clients are there. CANCELLED when `stop` (polled) turned
  // true.
  virtual absl::Status WaitUntilReady(const std::function<bool()>& /*stop*/) { return absl::OkStatus(); }
  // Clients that could take part now, ascending by id. The span is valid until the next call of Run.
  virtual std::span<const ClientInfo> Available() const = 0;
  // Gives `task` to every client of `cohort`; calls `sink` exactly once per client, from any thread (one at a
  // time), in any order; returns when all have answered. The sink tells whether the update was taken into the
  // round: what a client remembers from its training counts only then. Failures of single clients are
  // outcomes, not errors. CANCELLED when `cancelled` (polled between clients) turned true: some clients then
  // have no outcome.
  virtual absl::Status Run(const Task& task, std::span<const ClientId> cohort, OutcomeSink sink,
                           const std::function<bool()>& cancelled) = 0;
  // The round is durable and will not be run again: whatever was kept for that can go.
  virtual void Committed(int64_t /*round*/) {}
};

}  // namespace muster

#endif  // MUSTER_SERVER_ROUNDS_CLIENT_POOL_H_
