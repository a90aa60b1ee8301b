// Many updates to one.
#ifndef MUSTER_SERVER_AGGREGATION_AGGREGATOR_H_
#define MUSTER_SERVER_AGGREGATION_AGGREGATOR_H_

#include <map>
#include <memory>
#include <span>
#include <vector>

#include "core/exact_sum.h"
#include "core/parameters.h"
#include "core/registry.h"
#include "core/status.h"
#include "server/aggregation/client_report.h"
#include "server/rounds/client_pool.h"

namespace muster {

// The result of one round's aggregation.
struct Aggregate {
  std::vector<float> delta;  // [layout.size], what the server optimiser is given
  int64_t updates = 0;       // how many were folded
  double total_weight = 0;
  // Filled in by the engine: the plain mean of every extra vector that came with the updates; what
  // each accepted client told, ascending by client; and the share of the federation's clients that is.
  std::map<std::string, std::vector<float>> extras = {};
  std::vector<ClientReport> reports = {};
  std::map<std::string, double> scalars =
      {};  // the mean of each required number, weighed as the updates were
  double share = 1;
};

// Made anew for every round. Not thread-safe. Add commutes exactly: neither arrival order nor the way updates
// were spread over the sums of several processes changes a bit of the result.
class Aggregator {
 public:
  using Interface = Aggregator;
  static constexpr char kKind[] = "aggregator";
  static constexpr char kList[] = "aggregators";
  struct Context {
    const Layout* layout = nullptr;      // outlives the aggregator
    std::span<const ClientInfo> cohort;  // of this round, ascending by id; read in the constructor only
    // A participation policy may ask for it (ISP does, as its authors' code): every update counts the same.
    bool uniform_weights = false;
    // Instead of the aggregator's own weights: one for each of `cohort`, >= 0 (a server optimiser may ask for
    // it).
    std::optional<std::vector<double>> weights = {};
  };

  virtual ~Aggregator() = default;
  // Folds one update in. INVALID_ARGUMENT, with *this unchanged, for an update that is malformed, not finite
  // or of another model, or that claims more samples than the client declared.
  virtual absl::Status Add(const Update& update) = 0;
  // All that updates leave behind, if that is nothing but one sum, so that they can be folded in many
  // processes: adding the words of another one's of this class and round (ExactSum::AddWords) adds its
  // updates. nullptr where they leave more. It belongs to the aggregator, until Finish.
  virtual ExactSum* Sum() { return nullptr; }
  // Consumes *this. FAILED_PRECONDITION if nothing with a positive weight was added.
  virtual absl::StatusOr<Aggregate> Finish() && = 0;
  // Whether the result is the weighted mean of the updates, and what an accepted one weighs in it. Methods
  // that average numbers of their own (FedNova's) weigh them alike.
  virtual bool IsMean() const { return false; }
  virtual double Weight(const Update& /*update*/) const { return 1; }
  // True for rules that keep every update until Finish (median, Krum).
  virtual bool NeedsAll() const { return false; }
};

}  // namespace muster

#endif  // MUSTER_SERVER_AGGREGATION_AGGREGATOR_H_
