// What the round engine reports. The progress line, rounds.jsonl, metrics and the live page are listeners.
#ifndef MUSTER_SERVER_ROUNDS_EVENTS_H_
#define MUSTER_SERVER_ROUNDS_EVENTS_H_

#include <cstdint>
#include <string>
#include <variant>
#include <vector>

#include "core/parameters.h"
#include "server/rounds/client_pool.h"
#include "server/rounds/round_record.h"

namespace muster {

struct RunStarted {
  std::string name;
  int64_t first_round = 0;  // > 0 for a resumed run
  int64_t rounds = 0;       // of the whole run
  int64_t clients = 0;
  int64_t parameters = 0;
  Totals totals = {};  // so far
};
struct RoundStarted {
  int64_t round = 0;
  int64_t clients = 0;  // cohort size
  std::string reason;
  std::vector<ClientId> cohort = {};  // ascending
};
struct ClientFinished {
  int64_t round = 0;
  ClientId client = 0;
  bool accepted = false;
  ClientMetrics metrics;
  int64_t num_samples = 0;  // that its update claims
  int64_t upload_bytes = 0;
  int64_t download_bytes = 0;
  std::string codec = {};      // form of the update (CodecName); "" if there is none
  double update_norm = 0;      // Euclidean; 0 if it was not accepted, nobody wants it, or it is too large
  double fold_seconds = 0;     // to verify the update and add it
  ClientFailure failure = {};  // if it was not accepted
};
struct RoundCommitted {
  RoundRecord record;
  ConstParameters model = {};  // after the round; valid during the call
};
struct RunFinished {
  int64_t rounds = 0;  // committed, over the whole run
  std::string why;     // "rounds", "accuracy", "loss", "upload_bytes", "participation", "stopped"
};

using Event = std::variant<RunStarted, RoundStarted, ClientFinished, RoundCommitted, RunFinished>;

class RoundListener {
 public:
  virtual ~RoundListener() = default;
  // Called from one thread at a time, in the order things happened. Must not block for long.
  virtual void On(const Event& event) = 0;
  // Whether ClientFinished::update_norm is worth decoding every update once more.
  virtual bool WantsUpdateNorms() const { return false; }
};

}  // namespace muster

#endif  // MUSTER_SERVER_ROUNDS_EVENTS_H_
