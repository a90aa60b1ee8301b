// What the round engine reports. The progress line, rounds.jsonl, metrics and the live page are listeners.
#ifndef MUSTER_SERVER_ROUNDS_EVENTS_H_
#define MUSTER_SERVER_ROUNDS_EVENTS_H_

#include <cstdint>
#include <string>
#include <variant>

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
};
struct ClientFinished {
  int64_t round = 0;
  ClientId client = 0;
  bool accepted = false;
  ClientMetrics metrics;
};
struct RoundCommitted {
  RoundRecord record;
  ConstParameters model = {};  // after the round; valid during the call
};
struct RunFinished {
  int64_t rounds = 0;  // committed, over the whole run
  std::string why;     // "rounds", "accuracy", "loss", "upload_bytes", "stopped"
};

using Event = std::variant<RunStarted, RoundStarted, ClientFinished, RoundCommitted, RunFinished>;

class RoundListener {
 public:
  virtual ~RoundListener() = default;
  // Called from one thread at a time, in the order things happened. Must not block for long.
  virtual void On(const Event& event) = 0;
};

}  // namespace muster

#endif  // MUSTER_SERVER_ROUNDS_EVENTS_H_
