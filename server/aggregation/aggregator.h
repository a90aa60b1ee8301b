// Many updates to one.
#ifndef MUSTER_SERVER_AGGREGATION_AGGREGATOR_H_
#define MUSTER_SERVER_AGGREGATION_AGGREGATOR_H_

#include <map>
#include <memory>
#include <span>
#include <vector>

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

// Made anew for every round. Not thread-safe. Add and MergeWith commute exactly: neither arrival order nor
// the way updates were spread over partial aggregators changes a bit of the result.
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
  // Takes over all of `other`, of the same class and round.
  virtual absl::Status MergeWith(Aggregator&& other) = 0;
  // The partial aggregate, if it is nothing but sums, so that updates can be folded in many processes: adding
  // the sums of another one of this class and round to these, one by one and modulo 2^64, is MergeWith. Empty
  // where an update leaves more behind. They belong to the aggregator, as many as at first until Finish.
  virtual std::span<int64_t> Sums() { return {}; }
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
