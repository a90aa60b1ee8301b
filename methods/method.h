// What a federated method does at the client and at the server, beside training and averaging: FedProx's
// pull, SCAFFOLD's control variates, FedDyn's regulariser, FedNova's normalisation. Torch-free: models are
// flat float32 vectors. Which local optimiser makes the steps, which rule aggregates and which server
// optimiser applies the result is others' business; a method composes with all that make sense.
//
//   server  Broadcast(memory)  -> vectors that go to the cohort with the task
//   client  Start(job, memory) -> LocalMethod: Correct() the gradient of every step, Finish(): what travels
//           with the update, and what the client shall remember if the update is accepted
//   server  Combine(round, memory): turns the round's aggregate into what the server optimiser steps along
#ifndef MUSTER_METHODS_METHOD_H_
#define MUSTER_METHODS_METHOD_H_

#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "core/parameters.h"
#include "core/registry.h"
#include "core/state.h"
#include "core/status.h"

namespace muster {

// Names of what methods send, in either direction, begin with it.
inline constexpr char kMethodPrefix[] = "method/";

// The client half in one job. Keeps what it needs of the model's size; one thread.
class LocalMethod {
 public:
  // What travels with the update, to be added to.
  struct Work {
    int64_t steps = 0;                                  // that were made, at least 1
    int64_t gradients = 0;                              // that were computed, each corrected where corrects()
    std::span<float> delta;                             // local - global; may be changed
    std::map<std::string, std::vector<float>>& extras;  // named by Extras(), of the model's size
    std::map<std::string, std::vector<double>>& numbers;  // named by Scalars()
  };

  virtual ~LocalMethod() = default;
  // Whether Correct has anything to do. If not, steps are those of plain training, bit for bit.
  virtual bool corrects() const { return true; }
  // Adds to the gradient of elements first .. first + gradient.size() - 1 of the model, which has `values`
  // there now; before the local optimiser sees it, for every gradient that it asks for. Trainable elements
  // only.
  virtual void Correct(int64_t first, std::span<const float> values, std::span<float> gradient) = 0;
  // After the last step. `memory` is the client's from before and becomes what it remembers if the update is
  // accepted.
  virtual absl::Status Finish(Work& work, State& memory) = 0;
};

// Stateless and thread-safe: what is remembered is the caller's, in a State, empty at first.
class Method {
 public:
  using Interface = Method;
  static constexpr char kKind[] = "method";
  static constexpr char kList[] = "methods";
  struct Context {
    const Layout* layout = nullptr;  // outlives the method
    PluginConfig optimizer = {};     // the local one as configured; the client half's
  };
  // What the client half is told.
  struct Job {
    ConstParameters model;  // x, the model the round starts from; outlives the job
    // What the server sent.
    const std::map<std::string, std::shared_ptr<const std::vector<float>>>& vectors;
    double learning_rate_factor = 1;
  };
  // What the server half is given of a round, from the accepted updates.
  struct Round {
    std::vector<float>& delta;  // [layout.size]: the aggregate; becomes what the server optimiser steps along
    const std::map<std::string, std::vector<float>>& extras;  // the plain mean of each
    const std::map<std::string, double>& scalars;             // the mean of each, weighed as the updates were
    double share = 1;                                         // updates / clients of the federation
    // Numbers worth seeing in the round's record, by name.
    std::map<std::string, std::vector<double>>& report;
  };

  virtual ~Method() = default;

  // nullptr where the client half does nothing. INVALID_ARGUMENT names a vector that is missing or of a wrong
  // size, or a memory of another model.
  virtual absl::StatusOr<std::unique_ptr<LocalMethod>> Start(const Job& job, const State& memory) const = 0;

  // Vectors for the next cohort, of any size.
  virtual std::map<std::string, std::vector<float>> Broadcast(const State& /*memory*/) const { return {}; }
  // Names of vectors of the model's size that every update must bring; others are refused.
  virtual std::vector<std::string> Extras() const { return {}; }
  // Names of numbers that every update must bring: one value each, above 0 and at most 2^20.
  virtual std::vector<std::string> Scalars() const { return {}; }
  // `memory` is the server's, kept with the committed round. On failure it is as it was.
  virtual absl::Status Combine(Round& round, State& memory) const = 0;

  // Whether Combine takes the aggregate for the weighted mean of the updates. Then aggregators that are not
  // (the robust ones) are refused: what travels beside an update is averaged plainly, and one liar could move
  // it as far as it likes.
  virtual bool NeedsMean() const { return false; }
  // Whether the server half adds aggregates up over rounds. Then each must be the mean change of the round's
  // own clients, and error feedback that makes of it a mean over all clients (ef21, diana, marina) is
  // refused.
  virtual bool AddsUpRounds() const { return false; }
  // Whether updates must all count the same, because the server's memory is a plain mean over clients.
  virtual bool NeedsUniformWeights() const { return false; }
};

// state.vectors[name] with `size` elements, or zeros if it is not there. INVALID_ARGUMENT if it has another
// size.
absl::StatusOr<std::vector<float>> VectorOrZeros(const State& state, const std::string& name, int64_t size);

// What the server sent by that name, `size` elements. INVALID_ARGUMENT if it did not, or not as many.
absl::StatusOr<std::span<const float>> Received(const Method::Job& job, const std::string& name,
                                                int64_t size);

// Calls visit(first, count) for every tensor that is trained. Buffers (batch-norm statistics) are averaged
// like parameters, but no method scales or shifts them.
template <typename Visit>
void ForEachTrainable(const Layout& layout, Visit visit) {
  for (const Layout::Entry& entry : layout.entries) {
    if (entry.trainable) visit(static_cast<size_t>(entry.offset), static_cast<size_t>(entry.size()));
  }
}

}  // namespace muster

#endif  // MUSTER_METHODS_METHOD_H_
