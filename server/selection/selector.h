// WHICH clients take part.
#ifndef MUSTER_SERVER_SELECTION_SELECTOR_H_
#define MUSTER_SERVER_SELECTION_SELECTOR_H_

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "core/random.h"
#include "core/registry.h"
#include "core/status.h"
#include "server/aggregation/aggregator.h"
#include "server/rounds/client_pool.h"

namespace muster {

// What a selector would like to know. Clients may refuse, and then are treated by a rule that the selector
// states.
struct SelectorNeeds {
  std::vector<std::string> statistics = {};  // numbers with every update (core/statistics.h)
  bool labels = false;                       // ClientInfo::labels, told once, when a client joins
  bool deviations = false;                   // ClientReport::deviation, which the server works out
};

// A round whose updates were applied.
struct SelectorRound {
  int64_t round = 0;
  std::span<const ClientInfo> cohort;     // who was asked, ascending by id
  std::span<const ClientReport> reports;  // of those whose update was accepted, ascending by id
};

class Selector {
 public:
  using Interface = Selector;
  static constexpr char kKind[] = "selector";
  static constexpr char kList[] = "selectors";
  struct Context {
    uint64_t seed = 0;  // the federation's
  };

  virtual ~Selector() = default;
  virtual SelectorNeeds Needs() const { return {}; }
  // `count` distinct clients of `candidates` (ascending by id, count <= candidates.size()), in the order
  // drawn; fewer only where the selector knows that the others are away. Const: trying a selection out (ISP's
  // search) cannot move counters. All chance comes from `random`.
  virtual absl::StatusOr<std::vector<ClientId>> Select(int64_t count, std::span<const ClientInfo> candidates,
                                                       Random& random) const = 0;
  // Told of every round before it is committed; the search for the number of clients, if there is one, comes
  // after it. Stateful selectors override the three. Load refuses what Save did not write.
  virtual void Observe(const SelectorRound& /*round*/) {}
  virtual std::string Save() const { return ""; }
  virtual absl::Status Load(const std::string& /*state*/) { return absl::OkStatus(); }
};

}  // namespace muster

#endif  // MUSTER_SERVER_SELECTION_SELECTOR_H_
