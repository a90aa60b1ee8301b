// How long to wait before the next try: exponential, bounded, jittered, so that clients that lost the same
// coordinator do not all come back in the same instant.
#ifndef MUSTER_CLIENT_EDGE_BACKOFF_H_
#define MUSTER_CLIENT_EDGE_BACKOFF_H_

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <string_view>

#include "core/hash.h"
#include "core/random.h"

namespace muster::edge {

class Backoff {
 public:
  // `identity` tells clients apart: each has its own jitter. Delays grow from `first` to `most` seconds.
  Backoff(std::string_view identity, double first_seconds, double most_seconds)
      : first_(first_seconds), most_(most_seconds) {
    const std::string digest = Sha256(identity);
    std::memcpy(&key_, digest.data(), sizeof key_);
  }

  // min(first * 2^n, most) seconds, times a factor drawn from [0.5, 1).
  double NextSeconds() {
    const double bound =
        std::min(most_, std::ldexp(first_, static_cast<int>(std::min<uint64_t>(failures_, 60))));
    Random random({.purpose = Purpose::kBackoff, .round = failures_++, .client = key_});
    return bound * (0.5 + 0.5 * random.Uniform());
  }
  // The try went well: the next delay is a first one again.
  void Reset() { failures_ = 0; }
  uint64_t failures() const { return failures_; }

 private:
  const double first_;
  const double most_;
  uint64_t key_ = 0;
  uint64_t failures_ = 0;
};

}  // namespace muster::edge

#endif  // MUSTER_CLIENT_EDGE_BACKOFF_H_
