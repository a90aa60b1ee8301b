// The state machine of a federation: select, train, fold, apply, evaluate, commit; round after round. It
// knows no transport, no threads and no files: clients are behind ClientPool, LibTorch behind Evaluator,
// durability behind Journal.
#ifndef MUSTER_SERVER_ROUNDS_ROUND_ENGINE_H_
#define MUSTER_SERVER_ROUNDS_ROUND_ENGINE_H_

#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "compression/error_feedback.h"
#include "core/mutex.h"
#include "core/parameters.h"
#include "core/registry.h"
#include "core/status.h"
#include "methods/method.h"
#include "server/journal/journal.h"
#include "server/optimization/server_optimizer.h"
#include "server/participation/policy.h"
#include "server/rounds/answers.h"
#include "server/rounds/client_pool.h"
#include "server/rounds/downlink.h"
#include "server/rounds/evaluator.h"
#include "server/rounds/events.h"
#include "server/rounds/live_change.h"
#include "server/schedules/schedule.h"
#include "server/selection/selector.h"

namespace muster {

struct EngineOptions {
  std::string name;
  uint64_t seed = 0;
  int64_t rounds = 1;
  int64_t epochs = 1;  // local, unless the policy says otherwise
  int64_t steps = 0;
  PluginConfig aggregator;      // made anew for every round
  int64_t clients = 1;          // of the federation
  int64_t quorum = 1;           // fewer accepted updates end the run
  double over_select = 0;       // ask this share of clients more than needed; the first to answer count
  double deadline_seconds = 0;  // of a round's training; 0: none
  bool average_state = false;   // clients send their optimiser's state; its mean goes to the next cohort
  int64_t evaluate_every = 1;
  int64_t evaluate_clients_every = 0;  // 0: never
  double stop_accuracy = 0;            // 0: never; likewise below
  double stop_loss = 0;
  int64_t stop_upload_bytes = 0;
  std::vector<std::vector<ClientId>> pinned_cohorts = {};  // empty: selected; else one per round
};

// The parts an engine is put together from; all outlive it.
struct EngineParts {
  const Layout* layout = nullptr;
  ClientPool* pool = nullptr;
  Evaluator* evaluator = nullptr;
  bool has_trust_set = false;
  ParticipationPolicy* policy = nullptr;
  Selector* selector = nullptr;
  ServerOptimizer* server_optimizer = nullptr;
  const ErrorFeedback* feedback = nullptr;  // its server half; nullptr: messages are updates
  const Method* method = nullptr;           // its server half; nullptr: none
  Downlink* downlink = nullptr;             // nullptr: clients are sent the model as it is
  Schedule* schedule = nullptr;
  Journal* journal = nullptr;  // nullptr: nothing is durable
  std::vector<RoundListener*> listeners;
};

enum class Phase { kIdle, kSelect, kTrain, kApply, kEvaluate, kCommit, kFinished };
// "waiting", "select", "train", "apply", "evaluate", "commit", "finished".
std::string_view PhaseName(Phase phase);

class RoundEngine {
 public:
  RoundEngine(EngineOptions options, EngineParts parts);

  // Runs to the end from `model` (round 0) or, if the journal has committed rounds, from its last state.
  // Returns the final model. UNAVAILABLE if no update of a round could be used; the message tells the first
  // failure. CANCELLED never: a stop request ends the run after a committed round with OK and finish reason
  // "stopped". A journal of a finished run gives its model at once (one that was stopped goes on). May be
  // called once.
  absl::StatusOr<std::vector<float>> Run(std::vector<float> model);

  // Asks for an end after the round in flight is committed. Safe from any thread and from signal handlers.
  void RequestStop() { stop_requested_.store(true, std::memory_order_relaxed); }

  // No further round starts until Unpause; the one in flight is finished. From any thread.
  void Pause() { paused_.store(true, std::memory_order_relaxed); }
  void Unpause() { paused_.store(false, std::memory_order_relaxed); }
  bool paused() const { return paused_.load(std::memory_order_relaxed); }
  // Takes effect, and is journalled, when the next round starts; shows in its record. INVALID_ARGUMENT says
  // what is wrong with it. From any thread.
  absl::Status RequestChange(LiveChange change);

  // From the thread of Run (so from listeners) or after it.
  int64_t rounds_committed() const { return state_.rounds; }
  const Totals& totals() const { return totals_; }
  // From any thread.
  Phase phase() const { return phase_.load(std::memory_order_relaxed); }

 private:
  struct Round;  // what one round works on

  absl::Status CheckPins() const;
  // Takes over the journal's last state. Returns why the run needs no further round, if so.
  absl::StatusOr<std::optional<std::string>> Resume();
  absl::StatusOr<RoundRecord> RunRound();
  // The phases, in order. An error leaves the round uncommitted and ends the run.
  absl::Status Select(Round& round);
  absl::Status ChooseCohort(Round& round, std::span<const ClientInfo> available);
  void CountLabels(std::span<const ClientInfo> available, RoundRecord& record);
  absl::Status WritePlan(const Round& round);
  // Whether the journal has this round's cohort from before a crash; it is the round's then.
  absl::StatusOr<bool> RecallPlan(Round& round);
  absl::Status Train(Round& round);
  // The server optimiser as it was when the round began.
  const ServerOptimizer& OptimizerBefore(const Round& round) const;
  Aggregator::Context AggregatorContext(const Round& round, const std::vector<ClientInfo>& cohort) const;
  // nullptr: the round needs every single update.
  std::shared_ptr<const Folding> MakeFolding(const Round& round, bool norms) const;
  absl::StatusOr<std::unique_ptr<Answers>> MakeAnswers(const Round& round,
                                                       const std::vector<ClientInfo>& cohort, bool keep,
                                                       RoundRecord& record) const;
  Task MakeTask(const Round& round) const;
  absl::Status Apply(Round& round);
  // From the aggregate to what the server optimiser steps along, by the server halves of error feedback and
  // method with these memories.
  absl::Status Combine(Aggregate& aggregate, State& feedback, State& method, Numbers& report) const;
  void KeepClientState(Aggregate aggregate);
  absl::Status Evaluate(Round& round);
  absl::Status Commit(Round& round);

  // Participation policy's part of Apply: shows it the round, with candidates of kept updates.
  absl::Status Observe(Round& round);
  absl::StatusOr<std::vector<float>> CandidateModel(const Round& round, std::span<const size_t> subset) const;
  bool KeepsUpdates(const Round& round) const;
  // Every client's last update, for policies that make candidates of old ones: 4 bytes an element and client.
  absl::Status CheckUpdatesAlone() const;
  absl::Status RememberUpdates(const Round& round);
  Update RememberedUpdate(const ClientInfo& client) const;
  bool ReachedUploadBytes(const RoundRecord& record) const;
  // Why the run ends after this round, if it does.
  std::optional<std::string> ShouldStop(const RoundRecord& record) const;
  void Emit(const Event& event);

  // Waits while paused and until the pool is ready. Whether to go on with a round (false: stop was
  // requested).
  absl::StatusOr<bool> WaitForRound();
  // What was requested since the last round, from now on.
  absl::Status TakeChanges(RoundRecord& record);
  absl::Status ApplyChange(const LiveChange& change);
  absl::StatusOr<std::unique_ptr<ParticipationPolicy>> MakePolicy(const PluginConfig& config) const;

  EngineOptions options_;
  EngineParts parts_;
  const SelectorNeeds needs_;
  std::atomic<bool> stop_requested_{false};
  std::atomic<bool> paused_{false};
  std::unique_ptr<ParticipationPolicy> changed_policy_;  // takes the place of the configured one
  double rate_factor_ = 1;                               // on the schedule's
  std::vector<LiveChange> changes_;                      // that hold, in order
  Mutex mutex_;
  std::vector<LiveChange> requested_ ABSL_GUARDED_BY(mutex_);
  std::atomic<Phase> phase_{Phase::kIdle};
  EngineState state_;
  Totals totals_;
};

}  // namespace muster

#endif  // MUSTER_SERVER_ROUNDS_ROUND_ENGINE_H_
