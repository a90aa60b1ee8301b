// Compression with memory: what a compressor loses is not forgotten. An ErrorFeedback turns a client's update
// into a message and the mean message of a round into the mean update.
//
// Lost and refused messages. A client keeps its old memory next to the new one until it knows what became of
// its message. Taken: the new memory. Lost or refused: Refused() on the old memory. Then nothing a client
// produced is ever lost: for ef14 the sum of the applied messages plus the residual is the sum of the
// updates; for the ef21 family, diana and marina the client's and the server's idea of the client's estimate
// stay equal, and what was lost is part of the next difference.
#ifndef MUSTER_COMPRESSION_ERROR_FEEDBACK_H_
#define MUSTER_COMPRESSION_ERROR_FEEDBACK_H_

#include <span>
#include <string>
#include <vector>

#include "compression/compressor.h"
#include "core/state.h"

namespace muster {

// Stateless and thread-safe: what is remembered is the caller's, in a State, empty at first.
class ErrorFeedback {
 public:
  using Interface = ErrorFeedback;
  static constexpr char kKind[] = "error feedback";
  static constexpr char kList[] = "error_feedback";
  struct Context {
    const Compressor* compressor = nullptr;
    const Layout* layout = nullptr;
  };  // both outlive it

  virtual ~ErrorFeedback() = default;

  // Client half: the message for `update` (layout.size elements). `memory` is what this client remembers; on
  // success it becomes what the client must remember if the server takes the message, on failure it is as it
  // was. INVALID_ARGUMENT as Compressor::Compress, or for a memory of another model.
  virtual absl::StatusOr<Payload> Encode(std::span<const float> update, const RandomKey& key,
                                         State& memory) const = 0;
  // The compressor whose payload of the update is the message, where nothing is remembered; else nullptr.
  virtual const Compressor* Memoryless() const { return nullptr; }
  // What the client must remember when the server did not take the message for `update`: `memory` is what it
  // remembered before Encode. By default that.
  virtual absl::Status Refused(std::span<const float> update, State& memory) const;
  // Server half: turns the mean message of a round into the mean update. `share` = messages folded / clients
  // of the federation. `memory` is the server's, kept with the committed round. By default the mean message
  // is the update.
  virtual absl::Status Combine(std::vector<float>& mean, double share, State& memory) const;
  // Whether messages must all count the same, because the server's memory is a plain mean over clients.
  virtual bool NeedsUniformWeights() const { return false; }
};

// memory.vectors[name] with `size` elements: zeros if it was not there. INVALID_ARGUMENT if it has another
// size.
absl::StatusOr<std::vector<float>*> Remembered(State& memory, const std::string& name, int64_t size);

// The client half of methods that send differences to an estimate g, memory.vectors["estimate"]: c = C(x -
// g), g += rate * c. On failure `memory` is as it was.
absl::StatusOr<Payload> EncodeDifference(const ErrorFeedback::Context& context, std::span<const float> x,
                                         const RandomKey& key, State& memory, double rate = 1);
// The server half of methods whose clients send differences to an estimate: g += share * mean message, mean =
// g. The server's g is the mean of the estimates over all clients, present or not.
absl::Status AddToEstimate(std::vector<float>& mean, double share, State& memory);

// INVALID_ARGUMENT unless the compressor suits: a scaled-up one (unbiased with omega >= 1) makes the memory
// of a biased method grow without bound; diana and marina need an unbiased one.
absl::Status CheckNotAmplifying(const ErrorFeedback::Context& context, const std::string& method);
absl::StatusOr<double> OmegaOf(const ErrorFeedback::Context& context, const std::string& method);

}  // namespace muster

#endif  // MUSTER_COMPRESSION_ERROR_FEEDBACK_H_
