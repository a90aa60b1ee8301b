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
#include "server/rounds/client_pool.h"

namespace muster {

class Selector {
 public:
  using Interface = Selector;
  static constexpr char kKind[] = "selector";
  static constexpr char kList[] = "selectors";
  struct Context {};

  virtual ~Selector() = default;
  // `count` distinct clients of `candidates` (ascending by id, count <= candidates.size()), in the order
  // drawn. Const: trying a selection out (ISP's search) cannot move counters. All chance comes from `random`.
  virtual absl::StatusOr<std::vector<ClientId>> Select(int64_t count, std::span<const ClientInfo> candidates,
                                                       Random& random) const = 0;
  // Told after every committed round who took part (ascending). Stateful selectors override the three.
  virtual void Observe(int64_t /*round*/, std::span<const ClientId> /*cohort*/) {}
  virtual std::string Save() const { return ""; }
  virtual absl::Status Load(const std::string& /*state*/) { return absl::OkStatus(); }
};

}  // namespace muster

#endif  // MUSTER_SERVER_SELECTION_SELECTOR_H_
