// The record of one committed round: what rounds.jsonl, the journal, the report and every listener see.
#ifndef MUSTER_SERVER_ROUNDS_ROUND_RECORD_H_
#define MUSTER_SERVER_ROUNDS_ROUND_RECORD_H_

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "core/status.h"
#include "server/participation/policy.h"
#include "server/rounds/client_pool.h"
#include "server/rounds/evaluator.h"

namespace muster {

// Sums over the run so far.
struct Totals {
  int64_t client_trainings = 0;  // tasks given out
  int64_t uploads = 0;           // updates received (accepted or refused)
  int64_t upload_bytes = 0;
  int64_t download_bytes = 0;
  int64_t samples_trained = 0;  // samples of accepted updates' clients
};

struct RoundRecord {
  int64_t round = 0;                 // 0-based
  std::string reason;                // the policy's, e.g. "fixed"
  std::vector<std::string> changes;  // settings changed from outside that hold from this round on
  std::vector<ClientId> cohort;      // asked, ascending
  int64_t accepted = 0;
  std::vector<ClientFailure> failures;  // ascending by client
  std::optional<double> train_loss;     // mean of accepted clients' training losses, weighted by samples
  int64_t upload_bytes = 0;             // of this round
  int64_t download_bytes = 0;
  double learning_rate_factor = 1;
  double update_norm = 0;            // of the aggregate
  Numbers numbers;                   // what the server optimiser reports: group weights, a step size
  std::optional<double> trust_loss;  // of the model the round started from
  std::optional<SearchRecord> search;
  std::optional<int64_t> saved_bytes;  // the policy's estimate, over the run so far
  std::optional<Evaluation> test;
  std::vector<ClientEvaluation> clients;  // empty unless evaluated per client
  // By phase: select, train, apply, evaluate; and commit, total, which listeners see but the journal cannot.
  std::map<std::string, double> seconds;
  Totals totals;  // after this round
};

// One JSON object on one line. `seconds` is the only part that differs between two runs of one configuration.
std::string ToJson(const RoundRecord& record);
absl::StatusOr<RoundRecord> RoundRecordFromJson(const std::string& json);

}  // namespace muster

#endif  // MUSTER_SERVER_ROUNDS_ROUND_RECORD_H_
