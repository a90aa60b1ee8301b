#include "server/rounds/round_engine.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <memory>
#include <nlohmann/json.hpp>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "compression/codec_table.h"
#include "compression/compressor.h"
#include "compression/kernels.h"
#include "core/random.h"
#include "server/aggregation/aggregator.h"
#include "server/rounds/round_in_progress.h"

namespace muster {
namespace {

constexpr char kFinishedKey[] = "finished";  // a fact of the journal: why the run ended
constexpr char kStopped[] = "stopped";
constexpr char kChangesKey[] = "changes";  // a fact of the journal: live changes so far
constexpr char kPlanKey[] = "plan";        // a fact of the journal: the cohort of the round in flight
// Parts of the engine's state.
constexpr char kServerOptimizer[] = "server_optimizer";
constexpr char kFeedback[] = "feedback";  // error feedback's server half
constexpr char kMethod[] = "method";      // the method's
constexpr char kDownlink[] = "downlink";
constexpr char kLabels[] = "labels";    // of label histograms,
constexpr char kCounted[] = "counted";  // bytes that are in the uploads
constexpr char kClients[] = "clients";  // the mean of the clients' optimiser state

using Clock = std::chrono::steady_clock;
double SecondsSince(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

double Norm(std::span<const float> x) { return std::sqrt(SumOfSquares(x)); }

// Of the selector, with what the server optimiser asks clients.
SelectorNeeds Needs(const EngineParts& parts) {
  SelectorNeeds needs = parts.selector->Needs();
  std::vector<std::string>& asked = needs.statistics;
  for (std::string& name : parts.server_optimizer->Statistics()) {
    if (std::find(asked.begin(), asked.end(), name) == asked.end()) asked.push_back(std::move(name));
  }
  return needs;
}

bool IsMultiple(int64_t rounds, int64_t every) { return every > 0 && rounds % every == 0; }

}  // namespace

std::string_view PhaseName(Phase phase) {
  switch (phase) {
    case Phase::kIdle:
      return "waiting";
    case Phase::kSelect:
      return "select";
    case Phase::kTrain:
      return "train";
    case Phase::kApply:
      return "apply";
    case Phase::kEvaluate:
      return "evaluate";
    case Phase::kCommit:
      return "commit";
    case Phase::kFinished:
      return "finished";
  }
  return "";
}

RoundEngine::RoundEngine(EngineOptions options, EngineParts parts)
    : options_(std::move(options)), parts_(std::move(parts)), needs_(Needs(parts_)) {}

absl::StatusOr<std::vector<float>> RoundEngine::Run(std::vector<float> model) {
  if (static_cast<int64_t>(model.size()) != parts_.layout->size) {
    return InternalError(
        absl::StrCat("initial model has ", model.size(), " elements, its layout ", parts_.layout->size));
  }
  MUSTER_RETURN_IF_ERROR(CheckPins());
  state_.model = std::move(model);
  MUSTER_ASSIGN_OR_RETURN(std::optional<std::string> why, Resume());
  Emit(RunStarted{.name = options_.name,
                  .first_round = state_.rounds,
                  .rounds = options_.rounds,
                  .clients = static_cast<int64_t>(parts_.pool->Available().size()),
                  .parameters = parts_.layout->size,
                  .totals = totals_});
  while (!why) {
    if (stop_requested_.load(std::memory_order_relaxed)) {
      why = kStopped;
      break;
    }
    MUSTER_ASSIGN_OR_RETURN(const bool go_on, WaitForRound());
    if (!go_on) continue;
    absl::StatusOr<RoundRecord> record = RunRound();
    if (!record.ok()) {
      phase_ = Phase::kIdle;
      return Annotate(record.status(), absl::StrCat("round ", state_.rounds));
    }
    why = ShouldStop(*record);
    Emit(RoundCommitted{.record = *std::move(record), .model = state_.model});
  }
  if (parts_.journal != nullptr) MUSTER_RETURN_IF_ERROR(parts_.journal->Put(kFinishedKey, *why));
  phase_ = Phase::kFinished;
  Emit(RunFinished{.rounds = state_.rounds, .why = *why});
  return std::move(state_.model);
}

absl::StatusOr<bool> RoundEngine::WaitForRound() {
  phase_ = Phase::kIdle;
  const auto stop = [this] { return stop_requested_.load(std::memory_order_relaxed); };
  while (paused() && !stop()) std::this_thread::sleep_for(std::chrono::milliseconds(20));
  if (stop()) return false;
  const absl::Status ready = parts_.pool->WaitUntilReady(stop);
  if (absl::IsCancelled(ready)) return false;
  MUSTER_RETURN_IF_ERROR(ready);
  return true;
}

absl::StatusOr<std::unique_ptr<ParticipationPolicy>> RoundEngine::MakePolicy(
    const PluginConfig& config) const {
  return Registry<ParticipationPolicy>::Get().Create(config, {.clients = options_.clients,
                                                              .rounds = options_.rounds,
                                                              .has_trust_set = parts_.has_trust_set,
                                                              .model_bytes = ModelBytes(*parts_.layout)});
}

absl::Status RoundEngine::RequestChange(LiveChange change) {
  if (change.deadline_seconds && !(*change.deadline_seconds >= 0)) {
    return InvalidInput("federation.deadline_seconds: must be at least 0 (0: none)");
  }
  if (change.learning_rate_factor && !(*change.learning_rate_factor > 0)) {
    return InvalidInput("training.learning_rate_factor: must be above 0");
  }
  if (change.participation) {
    const absl::Status made = MakePolicy(*change.participation).status();
    if (!made.ok()) return Annotate(made, "federation.participation");
  }
  const MutexLock lock(&mutex_);
  requested_.push_back(std::move(change));
  return absl::OkStatus();
}

absl::Status RoundEngine::ApplyChange(const LiveChange& change) {
  if (change.deadline_seconds) options_.deadline_seconds = *change.deadline_seconds;
  if (change.learning_rate_factor) rate_factor_ = *change.learning_rate_factor;
  if (!change.participation) return absl::OkStatus();
  MUSTER_ASSIGN_OR_RETURN(changed_policy_, MakePolicy(*change.participation));
  parts_.policy = changed_policy_.get();
  return absl::OkStatus();
}

absl::Status RoundEngine::TakeChanges(RoundRecord& record) {
  const size_t known = changes_.size();
  {
    const MutexLock lock(&mutex_);
    for (LiveChange& change : requested_) {
      change.round = record.round;
      changes_.push_back(std::move(change));
    }
    requested_.clear();
  }
  if (changes_.size() > known && parts_.journal != nullptr) {
    MUSTER_RETURN_IF_ERROR(parts_.journal->Put(kChangesKey, ToJson(changes_)));
  }
  // Those of a round that a crash cut off were known already and hold from this round on, too.
  for (const LiveChange& change : changes_) {
    if (change.round != record.round) continue;
    MUSTER_RETURN_IF_ERROR(ApplyChange(change));
    for (std::string& line : Describe(change)) record.changes.push_back(std::move(line));
  }
  return absl::OkStatus();
}

absl::Status RoundEngine::CheckPins() const {
  const std::vector<std::vector<ClientId>>& pins = options_.pinned_cohorts;
  if (!pins.empty() && static_cast<int64_t>(pins.size()) < options_.rounds) {
    return InvalidInput(absl::StrCat("pinned cohorts: ", pins.size(), " rounds are given, the run has ",
                                     options_.rounds, "; pin every round or lower federation.rounds"));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::optional<std::string>> RoundEngine::Resume() {
  if (parts_.journal == nullptr) return std::nullopt;
  MUSTER_ASSIGN_OR_RETURN(std::optional<std::string> finished, parts_.journal->Get(kFinishedKey));
  if (finished == kStopped) finished.reset();
  MUSTER_ASSIGN_OR_RETURN(std::optional<EngineState> state, parts_.journal->Load(*parts_.layout));
  MUSTER_ASSIGN_OR_RETURN(const std::optional<std::string> changes, parts_.journal->Get(kChangesKey));
  if (changes) {
    MUSTER_ASSIGN_OR_RETURN(changes_, LiveChangesFromJson(*changes));
  }
  if (!state) return finished;
  for (const LiveChange& change : changes_) {
    if (change.round < state->rounds) MUSTER_RETURN_IF_ERROR(ApplyChange(change));
  }
  MUSTER_ASSIGN_OR_RETURN(const std::vector<std::string> records, parts_.journal->Records());
  if (records.empty()) return InternalError("the journal has a state but no records");
  MUSTER_ASSIGN_OR_RETURN(const RoundRecord last, RoundRecordFromJson(records.back()));
  state_ = *std::move(state);
  totals_ = last.totals;
  MUSTER_RETURN_IF_ERROR(parts_.policy->Load(state_.policy));
  MUSTER_RETURN_IF_ERROR(parts_.selector->Load(state_.selector));
  MUSTER_RETURN_IF_ERROR(parts_.server_optimizer->Load(std::move(state_.parts[kServerOptimizer])));
  state_.parts.erase(kServerOptimizer);
  if (parts_.downlink != nullptr) MUSTER_RETURN_IF_ERROR(parts_.downlink->Load(state_.parts[kDownlink]));
  // A crash may have come between the last round and the word that the run is finished.
  return finished ? finished : ShouldStop(last);
}

absl::StatusOr<RoundRecord> RoundEngine::RunRound() {
  struct Step {
    Phase phase;
    const char* name;
    absl::Status (RoundEngine::*run)(Round&);
  };
  static constexpr Step kSteps[] = {
      {Phase::kSelect, "select", &RoundEngine::Select},
      {Phase::kTrain, "train", &RoundEngine::Train},
      {Phase::kApply, "apply", &RoundEngine::Apply},
      {Phase::kEvaluate, "evaluate", &RoundEngine::Evaluate},
      {Phase::kCommit, "commit", &RoundEngine::Commit},
  };
  Round round;
  round.record.round = state_.rounds;
  const Clock::time_point start = Clock::now();
  for (const Step& step : kSteps) {
    phase_ = step.phase;
    const Clock::time_point step_start = Clock::now();
    // The committed record cannot know how long its own commit takes: the total ends before it.
    if (step.phase == Phase::kCommit) round.record.seconds["total"] = SecondsSince(start);
    MUSTER_RETURN_IF_ERROR((this->*step.run)(round));
    round.record.seconds[step.name] = SecondsSince(step_start);
  }
  return std::move(round.record);
}

absl::Status RoundEngine::Select(Round& round) {
  RoundRecord& record = round.record;
  MUSTER_RETURN_IF_ERROR(TakeChanges(record));
  const std::span<const ClientInfo> available = parts_.pool->Available();
  if (available.empty()) return absl::UnavailableError("no client is available");
  const auto available_count = static_cast<int64_t>(available.size());
  CountLabels(available, record);

  const auto trust_loss = [this]() -> absl::StatusOr<double> {
    if (!parts_.has_trust_set) return absl::FailedPreconditionError("the federation has no trust set");
    return parts_.evaluator->TrustLoss(state_.model);
  };
  MUSTER_ASSIGN_OR_RETURN(
      round.decision,
      parts_.policy->Next({.round = record.round, .available = available_count, .trust_loss = trust_loss}));
  if (round.decision.remember_updates) MUSTER_RETURN_IF_ERROR(CheckUpdatesAlone());
  record.reason = round.decision.reason;
  record.trust_loss = parts_.policy->last_trust_loss();

  MUSTER_ASSIGN_OR_RETURN(const bool planned, RecallPlan(round));
  if (!planned) {
    MUSTER_RETURN_IF_ERROR(ChooseCohort(round, available));
    MUSTER_RETURN_IF_ERROR(WritePlan(round));
  }
  Emit(RoundStarted{.round = record.round,
                    .clients = static_cast<int64_t>(record.cohort.size()),
                    .reason = record.reason,
                    .cohort = record.cohort});
  return absl::OkStatus();
}

// Label histograms travel once, when a client joins, 8 bytes a class: the most that were there at one time.
void RoundEngine::CountLabels(std::span<const ClientInfo> available, RoundRecord& record) {
  if (!needs_.labels) return;
  int64_t bytes = 0;
  for (const ClientInfo& client : available) {
    if (client.labels) bytes += static_cast<int64_t>(client.labels->size() * sizeof(int64_t));
  }
  double& counted = state_.parts[kLabels].numbers[kCounted];
  record.upload_bytes += std::max<int64_t>(bytes - static_cast<int64_t>(counted), 0);
  counted = std::max(counted, static_cast<double>(bytes));
}

absl::Status RoundEngine::ChooseCohort(Round& round, std::span<const ClientInfo> available) {
  RoundRecord& record = round.record;
  const auto available_count = static_cast<int64_t>(available.size());
  const bool pinned = !options_.pinned_cohorts.empty();
  if (pinned) {
    record.cohort = options_.pinned_cohorts[static_cast<size_t>(record.round)];
  } else {
    Random random({.seed = options_.seed,
                   .purpose = Purpose::kSelection,
                   .round = static_cast<uint64_t>(record.round)});
    const auto asked = static_cast<int64_t>(
        std::ceil(static_cast<double>(round.decision.clients) * (1 + options_.over_select)));
    const int64_t count = std::clamp<int64_t>(asked, 1, available_count);
    MUSTER_ASSIGN_OR_RETURN(record.cohort, parts_.selector->Select(count, available, random));
  }
  std::sort(record.cohort.begin(), record.cohort.end());
  const auto bad = [pinned](const std::string& what) {
    return pinned ? InvalidInput("the pinned cohort " + what) : InternalError("the selected cohort " + what);
  };
  if (record.cohort.empty()) return bad("is empty");
  for (const ClientId id : record.cohort) {
    const ClientInfo* found = FindClient(available, id);
    if (found == nullptr) {
      return bad(absl::StrCat("names client ", id, ", which is not in the federation or not available"));
    }
    if (!round.cohort.empty() && round.cohort.back().id == id)
      return bad(absl::StrCat("names client ", id, " twice"));
    round.cohort.push_back(*found);
  }
  return absl::OkStatus();
}

// A cohort is written down before anybody hears of it: a round that a crash cut off is done again with the
// same clients, whoever is there by then.
absl::Status RoundEngine::WritePlan(const Round& round) {
  if (parts_.journal == nullptr) return absl::OkStatus();
  nlohmann::json clients = nlohmann::json::array();
  for (const ClientInfo& client : round.cohort) {
    nlohmann::json& entry = clients.emplace_back(nlohmann::json::array({client.id, client.num_samples}));
    if (client.labels) entry.push_back(*client.labels);
  }
  return parts_.journal->Put(
      kPlanKey, nlohmann::json({{"round", round.record.round}, {"clients", std::move(clients)}}).dump());
}

absl::StatusOr<bool> RoundEngine::RecallPlan(Round& round) {
  if (parts_.journal == nullptr) return false;
  MUSTER_ASSIGN_OR_RETURN(const std::optional<std::string> text, parts_.journal->Get(kPlanKey));
  if (!text) return false;
  const nlohmann::json plan = nlohmann::json::parse(*text, nullptr, /*allow_exceptions=*/false);
  try {
    if (plan.at("round").get<int64_t>() != round.record.round) return false;
    for (const nlohmann::json& entry : plan.at("clients")) {
      ClientInfo& client = round.cohort.emplace_back();
      client.id = entry.at(0).get<ClientId>();
      client.num_samples = entry.at(1).get<int64_t>();
      if (entry.size() > 2) {
        client.labels = std::make_shared<const std::vector<int64_t>>(entry[2].get<std::vector<int64_t>>());
      }
      round.record.cohort.push_back(client.id);
    }
  } catch (const nlohmann::json::exception& error) {
    return InternalError(
        absl::StrCat("the journal's plan of the round in flight is damaged: ", error.what()));
  }
  return !round.cohort.empty();
}

absl::Status RoundEngine::Train(Round& round) {
  RoundRecord& record = round.record;
  record.learning_rate_factor = parts_.schedule->Factor(record.round) * rate_factor_;
  record.totals = totals_;
  MUSTER_ASSIGN_OR_RETURN(round.answers, MakeAnswers(round, round.cohort, KeepsUpdates(round), record));
  // Moved, not copied: until Apply the model of the round in flight is `start`.
  round.start = std::make_shared<std::vector<float>>(std::move(state_.model));
  if (parts_.downlink != nullptr) {
    MUSTER_RETURN_IF_ERROR(parts_.downlink->Advance(record.round, options_.seed, *round.start));
  }
  const bool norms = std::any_of(parts_.listeners.begin(), parts_.listeners.end(),
                                 [](const RoundListener* listener) { return listener->WantsUpdateNorms(); });
  absl::Status broken;  // the pool broke its contract
  const auto sink = [&](Outcome outcome) -> absl::Status {
    ClientFinished event;
    event.round = record.round;
    double norm = 0;
    if (const auto* update = std::get_if<Update>(&outcome); update != nullptr) {
      event.codec = CodecName(update->payload);
      if (norms) norm = update->folded ? update->folded->norm : UpdateNorm(update->payload, *parts_.layout);
    }
    const Clock::time_point start = Clock::now();
    if (absl::Status taken = round.answers->Take(std::move(outcome), event); !taken.ok()) {
      broken.Update(taken);
      return taken;
    }
    event.fold_seconds += SecondsSince(start);
    if (event.accepted) event.update_norm = norm;
    Emit(event);
    return event.accepted ? absl::OkStatus()
                          : absl::Status(CodeNamed(event.failure.code), event.failure.message);
  };
  // Never cancelled: a stop request lets the round in flight finish.
  Task task = MakeTask(round);
  task.folding = MakeFolding(round, norms);
  MUSTER_RETURN_IF_ERROR(parts_.pool->Run(task, record.cohort, sink, [] { return false; }));
  MUSTER_RETURN_IF_ERROR(broken);
  MUSTER_RETURN_IF_ERROR(round.answers->Close());
  record.totals.client_trainings += static_cast<int64_t>(record.cohort.size());
  record.totals.upload_bytes += record.upload_bytes;
  record.totals.download_bytes += record.download_bytes;
  return absl::OkStatus();
}

const ServerOptimizer& RoundEngine::OptimizerBefore(const Round& round) const {
  return round.optimizer_before ? *round.optimizer_before : *parts_.server_optimizer;
}

Aggregator::Context RoundEngine::AggregatorContext(const Round& round,
                                                   const std::vector<ClientInfo>& cohort) const {
  return {.layout = parts_.layout,
          .cohort = cohort,
          .uniform_weights = round.decision.uniform_weights ||
                             (parts_.feedback != nullptr && parts_.feedback->NeedsUniformWeights()) ||
                             (parts_.method != nullptr && parts_.method->NeedsUniformWeights()),
          .weights = OptimizerBefore(round).Weights(cohort)};
}

std::shared_ptr<const Folding> RoundEngine::MakeFolding(const Round& round, bool norms) const {
  Answers& answers = *round.answers;
  if (answers.sums() == 0) return nullptr;
  const Aggregator::Context context = AggregatorContext(round, round.cohort);
  auto folding = std::make_shared<Folding>();
  folding->aggregator = options_.aggregator;
  for (const ClientInfo& client : round.cohort) folding->cohort.push_back({client.id, client.num_samples});
  folding->uniform_weights = context.uniform_weights;
  folding->weights = context.weights;
  folding->norms = norms;
  folding->sums = answers.sums();
  folding->add = [&answers](std::span<const int64_t> sums) { return answers.AddSums(sums); };
  return folding;
}

absl::StatusOr<std::unique_ptr<Answers>> RoundEngine::MakeAnswers(const Round& round,
                                                                  const std::vector<ClientInfo>& cohort,
                                                                  bool keep, RoundRecord& record) const {
  MUSTER_ASSIGN_OR_RETURN(
      std::unique_ptr<Aggregator> aggregator,
      Registry<Aggregator>::Get().Create(options_.aggregator, AggregatorContext(round, cohort)));
  ExtraRules rules{.required = {}, .scalars = {}, .optimizer_state = options_.average_state};
  for (const std::string& name : OptimizerBefore(round).Extras()) rules.required.insert(name);
  if (parts_.method != nullptr) {
    for (const std::string& name : parts_.method->Extras()) rules.required.insert(name);
    for (const std::string& name : parts_.method->Scalars()) rules.scalars.insert(name);
  }
  return std::make_unique<Answers>(cohort, std::move(aggregator), *parts_.layout, std::move(rules), keep,
                                   record);
}

Task RoundEngine::MakeTask(const Round& round) const {
  // A policy that sets epochs means them, also where the configuration counts steps.
  const bool own_epochs = round.decision.epochs > 0;
  Task task{.round = round.record.round,
            .seed = options_.seed,
            .model = round.start,
            .epochs = own_epochs ? round.decision.epochs : options_.epochs,
            .steps = own_epochs ? 0 : options_.steps,
            .learning_rate_factor = round.record.learning_rate_factor,
            .vectors = {},
            .model_version = -1,
            .deltas = {},
            .deadline_seconds = options_.deadline_seconds,
            .enough = options_.over_select > 0 ? round.decision.clients : 0,
            .statistics = needs_.statistics};
  // NOLINTNEXTLINE(performance-unnecessary-value-param): they are moved
  const auto add = [&task](std::map<std::string, std::vector<float>> vectors) {
    for (auto& [name, values] : vectors) {
      task.vectors[name] = std::make_shared<const std::vector<float>>(std::move(values));
    }
  };
  add(parts_.server_optimizer->Broadcast());
  if (parts_.method != nullptr) {
    const auto memory = state_.parts.find(kMethod);
    add(parts_.method->Broadcast(memory != state_.parts.end() ? memory->second : State()));
  }
  if (const auto clients = state_.parts.find(kClients); clients != state_.parts.end()) {
    add(clients->second.vectors);
  }
  if (parts_.downlink != nullptr) parts_.downlink->FillIn(task);
  return task;
}

absl::Status RoundEngine::Apply(Round& round) {
  RoundRecord& record = round.record;
  if (record.accepted == 0) {
    const ClientFailure& first = record.failures.front();  // no update and no failure: Train has refused that
    return absl::UnavailableError(absl::StrCat("none of the ", record.cohort.size(),
                                               " clients returned a usable update; first: client ",
                                               first.client, ": ", first.stage, ": ", first.message));
  }
  if (record.accepted < options_.quorum) {
    return absl::UnavailableError(absl::StrCat("only ", record.accepted, " of the ", record.cohort.size(),
                                               " clients returned a usable update, federation.quorum is ",
                                               options_.quorum));
  }
  absl::StatusOr<Aggregate> aggregate = round.answers->Finish(options_.clients);
  if (absl::IsFailedPrecondition(aggregate.status()))
    return absl::UnavailableError(aggregate.status().message());
  MUSTER_RETURN_IF_ERROR(aggregate.status());
  if (needs_.deviations) MUSTER_RETURN_IF_ERROR(round.answers->MeasureDeviations(*aggregate));
  State& feedback = state_.parts[kFeedback];
  State& method = state_.parts[kMethod];
  if (round.decision.keep_updates) {
    round.feedback_before = feedback;
    round.method_before = method;
  }
  Numbers report;
  MUSTER_RETURN_IF_ERROR(Combine(*aggregate, feedback, method, report));
  record.update_norm = Norm(aggregate->delta);
  if (round.decision.keep_updates) {
    round.optimizer_before = parts_.server_optimizer->Clone();
    state_.model = *round.start;
  } else {
    // Nobody needs the old model any more; a large one is not held twice.
    state_.model = round.start.use_count() == 1 ? std::move(*round.start) : *round.start;
  }
  MUSTER_RETURN_IF_ERROR(parts_.server_optimizer->Step(*aggregate, state_.model));
  record.numbers = parts_.server_optimizer->Report();
  record.numbers.merge(report);
  parts_.selector->Observe({.round = record.round, .cohort = round.cohort, .reports = aggregate->reports});
  KeepClientState(*std::move(aggregate));
  return Observe(round);
}

absl::Status RoundEngine::Combine(Aggregate& aggregate, State& feedback, State& method,
                                  Numbers& report) const {
  if (parts_.feedback != nullptr) {
    MUSTER_RETURN_IF_ERROR(parts_.feedback->Combine(aggregate.delta, aggregate.share, feedback));
  }
  if (parts_.method == nullptr) return absl::OkStatus();
  Method::Round round{.delta = aggregate.delta,
                      .extras = aggregate.extras,
                      .scalars = aggregate.scalars,
                      .share = aggregate.share,
                      .report = report};
  return parts_.method->Combine(round, method);
}

// NOLINTNEXTLINE(performance-unnecessary-value-param): its extras are moved
void RoundEngine::KeepClientState(Aggregate aggregate) {
  if (!options_.average_state) return;
  State state;
  for (auto& [name, mean] : aggregate.extras) {
    if (name.starts_with("optimizer/")) state.vectors[name] = std::move(mean);
  }
  state_.parts[kClients] = std::move(state);
}

absl::Status RoundEngine::Evaluate(Round& round) {
  RoundRecord& record = round.record;
  const int64_t rounds = record.round + 1;
  // After the last round too, also where the uploads make it the last.
  if (IsMultiple(rounds, options_.evaluate_every) || rounds >= options_.rounds ||
      ReachedUploadBytes(record) || parts_.policy->IsDone()) {
    MUSTER_ASSIGN_OR_RETURN(record.test, parts_.evaluator->EvaluateTest(state_.model));
  }
  if (IsMultiple(rounds, options_.evaluate_clients_every)) {
    MUSTER_ASSIGN_OR_RETURN(record.clients, parts_.evaluator->EvaluateClients(state_.model));
  }
  return absl::OkStatus();
}

absl::Status RoundEngine::Commit(Round& round) {
  const RoundRecord& record = round.record;
  state_.rounds = record.round + 1;
  if (parts_.journal != nullptr) {
    state_.parts[kServerOptimizer] = parts_.server_optimizer->Save();
    if (parts_.downlink != nullptr) state_.parts[kDownlink] = parts_.downlink->Save();
    state_.policy = parts_.policy->Save();
    state_.selector = parts_.selector->Save();
    absl::Status committed = parts_.journal->Commit(ToJson(record), state_, *parts_.layout);
    state_.parts.erase(kServerOptimizer);
    if (!committed.ok()) {
      state_.rounds = record.round;
      return committed;
    }
  }
  totals_ = record.totals;
  parts_.pool->Committed(record.round);
  return absl::OkStatus();
}

bool RoundEngine::ReachedUploadBytes(const RoundRecord& record) const {
  return options_.stop_upload_bytes > 0 && record.totals.upload_bytes >= options_.stop_upload_bytes;
}

std::optional<std::string> RoundEngine::ShouldStop(const RoundRecord& record) const {
  if (record.test) {
    if (options_.stop_accuracy > 0 && record.test->accuracy >= options_.stop_accuracy) return "accuracy";
    if (options_.stop_loss > 0 && record.test->loss <= options_.stop_loss) return "loss";
  }
  if (ReachedUploadBytes(record)) return "upload_bytes";
  if (parts_.policy->IsDone()) return "participation";
  if (record.round + 1 >= options_.rounds) return "rounds";
  return std::nullopt;
}

void RoundEngine::Emit(const Event& event) {
  for (RoundListener* listener : parts_.listeners) listener->On(event);
}

}  // namespace muster
