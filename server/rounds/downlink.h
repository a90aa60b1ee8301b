// The model's way down in fewer bytes: clients hold a shadow of the global model and are sent compressed
// differences.
#ifndef MUSTER_SERVER_ROUNDS_DOWNLINK_H_
#define MUSTER_SERVER_ROUNDS_DOWNLINK_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "compression/compressor.h"
#include "core/parameters.h"
#include "core/state.h"
#include "core/status.h"
#include "server/rounds/client_pool.h"

namespace muster {

// In round t the clients train from w_t, not from the global model x_t:
//
//   w_0 = x_0;   w_t = w_{t-1} + C(x_t - w_{t-1})
//
// What the compressor loses stays in x - w and is sent later: the server's error feedback (EF21-P,
// Gruntkowska et al. 2022, arXiv:2209.15218). Every client's w is the same. One that was away gets the
// differences it missed, or w whole, whichever is fewer bytes; differences are kept as long as together they
// are smaller than the model. Not thread-safe.
class Downlink {
 public:
  // Both outlive it.
  Downlink(const Compressor& compressor, const Layout& layout) : compressor_(compressor), layout_(layout) {}

  // From w_{round-1} to w_round, given x_round; rounds in order. Twice with the same state gives the same
  // bits.
  absl::Status Advance(int64_t round, uint64_t seed, ConstParameters model);
  // Puts w and the way there into the task.
  void FillIn(Task& task) const;

  State Save() const;
  absl::Status Load(State state);

 private:
  const Compressor& compressor_;
  const Layout& layout_;
  int64_t version_ = -1;                              // t of w_t; -1: none yet
  std::shared_ptr<const std::vector<float>> shadow_;  // w_t
  std::vector<ModelDelta> deltas_;                    // ascending by version, the last one leads to w_t
};

// Bytes that a client with version `held` (-1: none) must be sent to have the task's model: the differences
// it missed if they are all there and smaller, else the whole model.
int64_t DownloadBytes(const Task& task, int64_t held, const Layout& layout);

}  // namespace muster

#endif  // MUSTER_SERVER_ROUNDS_DOWNLINK_H_
