// What a client of a simulation does instead of taking part honestly.
#ifndef MUSTER_SIMULATION_ADVERSARY_H_
#define MUSTER_SIMULATION_ADVERSARY_H_

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "core/parameters.h"
#include "core/random.h"
#include "core/registry.h"
#include "core/state.h"

namespace muster {

// What the colluders of one kind in one round know of each other: their honest updates, coordinate by
// coordinate.
struct Collusion {
  int64_t members = 0;  // of the round's cohort
  std::vector<float> mean;
  std::vector<float> deviation;  // standard, of these very updates (divided by `members`)
};

// What one client knows when it lies.
struct Scene {
  uint64_t seed = 0;  // the federation's
  int64_t round = 0;
  int64_t client = 0;
  int64_t cohort = 0;                    // clients that were asked in this round
  ConstParameters model;                 // the global model
  const Collusion* collusion = nullptr;  // not null if Colludes()
};

// When a client answers, on a clock that shows 0 when the task was given out.
struct Arrival {
  bool vanishes = false;  // it never does
  double seconds = 0;
};

// Stateless and thread-safe: what a client remembers is in its State. An adversary trains as everybody does,
// so that all that travels beside its update looks as it should, and then falsifies the update, before it is
// compressed.
class Adversary {
 public:
  using Interface = Adversary;
  static constexpr char kKind[] = "adversary";
  static constexpr char kList[] = "adversaries";
  struct Context {
    int64_t num_classes = 0;  // of the data; 0: regression
  };

  virtual ~Adversary() = default;

  // The class it learns instead of each class, [num_classes]; empty: as the data say.
  virtual std::span<const int64_t> Relabel() const { return {}; }
  // Whether Falsify needs scene.collusion.
  virtual bool Colludes() const { return false; }
  // `update` (local - global, the model's size) becomes what is sent. `memory` is what this client put there
  // in the last round it was heard in; empty at first.
  virtual void Falsify(const Scene& /*scene*/, std::span<float> /*update*/, State& /*memory*/) const {}
  virtual Arrival Arrive(uint64_t /*seed*/, int64_t /*round*/, int64_t /*client*/) const { return {}; }
};

// What the options of all adversaries have in common.
struct AdversaryOptions {
  double fraction = 0;
};

// The registration of an adversary with options struct S.
template <typename S = AdversaryOptions>
Plugin<S> AdversaryPlugin(std::string name, std::string summary, std::string source = "") {
  return Plugin<S>(std::move(name), std::move(summary), std::move(source))
      .Required("fraction", static_cast<double S::*>(&S::fraction), "share of the clients that do this",
                Between(0, 1));
}

// One draw of a client's own, for this round.
inline Random Lies(uint64_t seed, int64_t round, int64_t client) {
  return Random({.seed = seed,
                 .purpose = Purpose::kLies,
                 .round = static_cast<uint64_t>(round),
                 .client = static_cast<uint64_t>(client)});
}

}  // namespace muster

#endif  // MUSTER_SIMULATION_ADVERSARY_H_
