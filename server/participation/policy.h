// HOW MANY clients take part.
#ifndef MUSTER_SERVER_PARTICIPATION_POLICY_H_
#define MUSTER_SERVER_PARTICIPATION_POLICY_H_

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "absl/functional/function_ref.h"
#include "core/parameters.h"
#include "core/random.h"
#include "core/registry.h"
#include "core/status.h"
#include "server/rounds/client_pool.h"
#include "server/selection/selector.h"

namespace muster {

// What a policy decides before a round.
struct Decision {
  int64_t clients = 0;        // cohort size, 1 .. available
  int64_t epochs = 0;         // > 0: local epochs of this round, instead of training.epochs
  bool keep_updates = false;  // the engine keeps this round's updates for Observe
  // Every client's last update is kept from this round on (in memory and in the journal), and candidates may
  // be made of any client's.
  bool remember_updates = false;
  bool uniform_weights = false;  // every update counts the same, whatever the aggregator's own weights
  std::string reason;            // one of a closed set of words, e.g. "fixed", "warm-up", "probe", "search"
};

// Updates of one round, kept as they were received.
struct KeptUpdates {
  // Ascending by id: those whose update was accepted; with remember_updates all that are available, the
  // update of one that never had any is zero.
  std::vector<ClientInfo> clients;
  // The model the round started from moved by the aggregate of the updates of `subset` (indices into
  // `clients`), as the round's own aggregator and server optimiser would; neither is changed.
  absl::FunctionRef<absl::StatusOr<std::vector<float>>(std::span<const size_t> subset)> candidate;
};

// One candidate cohort size tried by a search.
struct Candidate {
  int64_t clients = 0;
  double loss = 0;  // mean trust loss over the sampled subsets
};

// Why the number of clients is what it is from the next round on: goes to rounds.jsonl and the report.
struct SearchRecord {
  double reference_loss = 0;
  std::vector<Candidate> candidates;  // in the order tried
  int64_t found = 0;                  // first size with positive expected progress; 0: none
  int64_t chosen = 0;                 // m from the next round on
  int64_t previous = 0;               // m before the search
  std::string why = {};               // the same in words, with the rule that led from found to chosen
};

// Before a round.
struct BeforeRound {
  int64_t round = 0;      // 0-based
  int64_t available = 0;  // clients that could take part
  // Loss of the current global model on the trust set; evaluated when called.
  absl::FunctionRef<absl::StatusOr<double>()> trust_loss;
};

// After a round's aggregate was applied, before it is committed.
struct AfterRound {
  int64_t round = 0;
  std::span<const ClientInfo> cohort;  // who was asked, ascending by id
  int64_t accepted = 0;                // updates folded
  int64_t uploads = 0;                 // updates received
  int64_t upload_bytes = 0;            // of this round
  const KeptUpdates* kept = nullptr;   // set if Decision::keep_updates
  const Selector* selector = nullptr;
  uint64_t seed = 0;                                                      // the federation's
  absl::FunctionRef<absl::StatusOr<double>(ConstParameters)> trust_loss;  // of any model
};

// Not thread-safe. Everything it remembers between rounds is in Save().
class ParticipationPolicy {
 public:
  using Interface = ParticipationPolicy;
  static constexpr char kKind[] = "participation policy";
  static constexpr char kList[] = "participation";
  struct Context {
    int64_t clients = 0;  // of the federation
    int64_t rounds = 0;   // of the whole run
    bool has_trust_set = false;
    int64_t model_bytes = 0;  // of an update without compression
  };

  virtual ~ParticipationPolicy() = default;
  virtual absl::StatusOr<Decision> Next(const BeforeRound& round) = 0;
  // Returns the record of the search it made, if it made one.
  virtual absl::StatusOr<std::optional<SearchRecord>> Observe(const AfterRound& /*round*/) {
    return std::nullopt;
  }
  // Asked after Observe: true ends the run with this round.
  virtual bool IsDone() const { return false; }
  // Estimated bytes of uploads saved up to the round last observed, against a fixed number of clients;
  // negative where more was spent.
  virtual std::optional<int64_t> saved_bytes() const { return std::nullopt; }
  // The trust loss Next() measured for this round, if it did.
  virtual std::optional<double> last_trust_loss() const { return std::nullopt; }
  virtual std::string Save() const { return ""; }
  virtual absl::Status Load(const std::string& /*state*/) { return absl::OkStatus(); }
};

}  // namespace muster

#endif  // MUSTER_SERVER_PARTICIPATION_POLICY_H_
