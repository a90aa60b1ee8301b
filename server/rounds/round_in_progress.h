// What one round of the engine works on. Internal to the engine.
#ifndef MUSTER_SERVER_ROUNDS_ROUND_IN_PROGRESS_H_
#define MUSTER_SERVER_ROUNDS_ROUND_IN_PROGRESS_H_

#include <memory>
#include <vector>

#include "server/rounds/round_engine.h"

namespace muster {

struct RoundEngine::Round {
  Decision decision;
  std::vector<ClientInfo> cohort;             // ascending by id
  std::shared_ptr<std::vector<float>> start;  // the model the round starts from
  std::unique_ptr<Answers> answers;
  // For candidates; only if the policy asked to keep updates.
  std::vector<ClientInfo> candidates;  // KeptUpdates::clients
  std::unique_ptr<ServerOptimizer> optimizer_before;
  State feedback_before;
  State method_before;
  RoundRecord record;
};

}  // namespace muster

#endif  // MUSTER_SERVER_ROUNDS_ROUND_IN_PROGRESS_H_
