#include "server/rounds/round_engine.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <memory>
#include <utility>
#include <variant>

#include "absl/strings/str_cat.h"
#include "core/random.h"
#include "server/aggregation/aggregator.h"

namespace muster {
namespace {

constexpr char kFinishedKey[] = "finished";  // a fact of the journal: why the run ended
constexpr char kStopped[] = "stopped";

using Clock = std::chrono::steady_clock;
double SecondsSince(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

double Norm(std::span<const float> x) {
  double sum = 0;
  for (const float value : x) sum += static_cast<double>(value) * static_cast<double>(value);
  return std::sqrt(sum);
}

bool IsMultiple(int64_t rounds, int64_t every) { return every > 0 && rounds % every == 0; }

}  // namespace

struct RoundEngine::Round {
  // What is remembered of an accepted update, at its client's place in the cohort.
  struct Answer {
    bool given = false;
    bool accepted = false;
    int64_t samples = 0;
    double train_loss = 0;
  };

  Decision decision;
  std::vector<ClientInfo> cohort;                   // ascending by id
  std::shared_ptr<const std::vector<float>> start;  // the model the round starts from
  std::unique_ptr<Aggregator> aggregator;
  std::vector<Answer> answers;  // one per client of the cohort
  // For candidates; only if the policy asked to keep updates.
  std::vector<Update> kept;  // ascending by client
  std::unique_ptr<ServerOptimizer> optimizer_before;
  RoundRecord record;
};

RoundEngine::RoundEngine(EngineOptions options, EngineParts parts)
    : options_(std::move(options)), parts_(std::move(parts)) {}

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
  if (!state) return finished;
  MUSTER_ASSIGN_OR_RETURN(const std::vector<std::string> records, parts_.journal->Records());
  if (records.empty()) return InternalError("the journal has a state but no records");
  MUSTER_ASSIGN_OR_RETURN(const RoundRecord last, RoundRecordFromJson(records.back()));
  state_ = *std::move(state);
  totals_ = last.totals;
  MUSTER_RETURN_IF_ERROR(parts_.policy->Load(state_.policy));
  MUSTER_RETURN_IF_ERROR(parts_.selector->Load(state_.selector));
  MUSTER_RETURN_IF_ERROR(parts_.server_optimizer->Load(std::move(state_.server_optimizer)));
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
  const std::span<const ClientInfo> available = parts_.pool->Available();
  if (available.empty()) return absl::UnavailableError("no client is available");
  const auto available_count = static_cast<int64_t>(available.size());

  const auto trust_loss = [this]() -> absl::StatusOr<double> {
    if (!parts_.has_trust_set) return absl::FailedPreconditionError("the federation has no trust set");
    return parts_.evaluator->TrustLoss(state_.model);
  };
  MUSTER_ASSIGN_OR_RETURN(
      round.decision,
      parts_.policy->Next({.round = record.round, .available = available_count, .trust_loss = trust_loss}));
  record.reason = round.decision.reason;
  record.trust_loss = parts_.policy->last_trust_loss();

  const bool pinned = !options_.pinned_cohorts.empty();
  if (pinned) {
    record.cohort = options_.pinned_cohorts[static_cast<size_t>(record.round)];
  } else {
    Random random({.seed = options_.seed,
                   .purpose = Purpose::kSelection,
                   .round = static_cast<uint64_t>(record.round)});
    const int64_t count = std::clamp<int64_t>(round.decision.clients, 1, available_count);
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
  Emit(RoundStarted{
      .round = record.round, .clients = static_cast<int64_t>(record.cohort.size()), .reason = record.reason});
  return absl::OkStatus();
}

absl::Status RoundEngine::Train(Round& round) {
  RoundRecord& record = round.record;
  record.learning_rate_factor = parts_.schedule->Factor(record.round);
  MUSTER_ASSIGN_OR_RETURN(round.aggregator,
                          Registry<Aggregator>::Get().Create(
                              options_.aggregator, {.layout = parts_.layout,
                                                    .cohort = round.cohort,
                                                    .uniform_weights = round.decision.uniform_weights}));
  // Moved, not copied: until Apply the model of the round in flight is `start`.
  round.start = std::make_shared<const std::vector<float>>(std::move(state_.model));
  round.answers.resize(round.cohort.size());
  record.totals = totals_;
  absl::Status broken;  // the pool broke its contract

  const auto sink = [&](Outcome outcome) {
    auto* update = std::get_if<Update>(&outcome);
    const ClientId client = update != nullptr ? update->client : std::get<ClientFailure>(outcome).client;
    const auto found = std::lower_bound(record.cohort.begin(), record.cohort.end(), client);
    const auto index = static_cast<size_t>(found - record.cohort.begin());
    if (found == record.cohort.end() || *found != client || round.answers[index].given) {
      broken.Update(
          InternalError(absl::StrCat("client pool: an answer of client ", client, " is not expected")));
      return;
    }
    Round::Answer& answer = round.answers[index];
    answer.given = true;
    ClientFinished event{.round = record.round, .client = client, .accepted = false, .metrics = {}};
    if (update != nullptr) {
      event.metrics = update->metrics;
      ++record.totals.uploads;
      record.upload_bytes += update->payload.size();
      record.download_bytes += update->download_bytes;
      const absl::Status added = round.aggregator->Add(*update);
      if (added.ok()) {
        event.accepted = true;
        ++record.accepted;
        record.totals.samples_trained += update->num_samples;
        answer = {.given = true,
                  .accepted = true,
                  .samples = update->num_samples,
                  .train_loss = update->metrics.train_loss};
        if (round.decision.keep_updates) round.kept.push_back(std::move(*update));
      } else {
        record.failures.push_back({.client = client,
                                   .stage = "verify",
                                   .code = absl::StatusCodeToString(added.code()),
                                   .message = Message(added),
                                   .download_bytes = update->download_bytes});
      }
    } else {
      auto& failure = std::get<ClientFailure>(outcome);
      record.download_bytes += failure.download_bytes;
      record.failures.push_back(std::move(failure));
    }
    Emit(event);
  };
  // A policy that sets epochs means them, also where the configuration counts steps.
  const bool own_epochs = round.decision.epochs > 0;
  const Task task{.round = record.round,
                  .seed = options_.seed,
                  .model = round.start,
                  .epochs = own_epochs ? round.decision.epochs : options_.epochs,
                  .steps = own_epochs ? 0 : options_.steps,
                  .learning_rate_factor = record.learning_rate_factor};
  // Never cancelled: a stop request lets the round in flight finish.
  MUSTER_RETURN_IF_ERROR(parts_.pool->Run(task, record.cohort, sink, [] { return false; }));
  MUSTER_RETURN_IF_ERROR(broken);

  // Answers came in any order; what is recorded is in the order of clients.
  std::sort(record.failures.begin(), record.failures.end(),
            [](const ClientFailure& a, const ClientFailure& b) { return a.client < b.client; });
  std::sort(round.kept.begin(), round.kept.end(),
            [](const Update& a, const Update& b) { return a.client < b.client; });
  double loss_sum = 0, samples = 0;
  for (size_t i = 0; i < round.answers.size(); ++i) {
    const Round::Answer& answer = round.answers[i];
    if (!answer.given) {
      return InternalError(absl::StrCat("client pool: no answer of client ", record.cohort[i]));
    }
    // A loss is a client's claim: one that is no number must not hide those of the others.
    if (!answer.accepted || !std::isfinite(answer.train_loss)) continue;
    loss_sum += answer.train_loss * static_cast<double>(answer.samples);
    samples += static_cast<double>(answer.samples);
  }
  if (samples > 0) record.train_loss = loss_sum / samples;
  record.totals.client_trainings += static_cast<int64_t>(record.cohort.size());
  record.totals.upload_bytes += record.upload_bytes;
  record.totals.download_bytes += record.download_bytes;
  return absl::OkStatus();
}

absl::Status RoundEngine::Apply(Round& round) {
  RoundRecord& record = round.record;
  if (record.accepted == 0) {
    const ClientFailure& first = record.failures.front();  // no update and no failure: Train has refused that
    return absl::UnavailableError(absl::StrCat("none of the ", record.cohort.size(),
                                               " clients returned a usable update; first: client ",
                                               first.client, ": ", first.stage, ": ", first.message));
  }
  absl::StatusOr<Aggregate> aggregate = std::move(*round.aggregator).Finish();
  if (absl::IsFailedPrecondition(aggregate.status()))
    return absl::UnavailableError(aggregate.status().message());
  MUSTER_RETURN_IF_ERROR(aggregate.status());
  round.aggregator.reset();
  record.update_norm = Norm(aggregate->delta);
  if (round.decision.keep_updates) round.optimizer_before = parts_.server_optimizer->Clone();
  state_.model = *round.start;
  MUSTER_RETURN_IF_ERROR(parts_.server_optimizer->Step(aggregate->delta, state_.model));
  return Observe(round);
}

absl::Status RoundEngine::Observe(Round& round) {
  const auto trust_loss = [this](ConstParameters model) -> absl::StatusOr<double> {
    if (!parts_.has_trust_set) return absl::FailedPreconditionError("the federation has no trust set");
    return parts_.evaluator->TrustLoss(model);
  };
  const auto candidate = [this, &round](std::span<const size_t> subset) {
    return CandidateModel(round, subset);
  };
  KeptUpdates kept{.clients = {}, .candidate = candidate};
  for (size_t i = 0; round.decision.keep_updates && i < round.cohort.size(); ++i) {
    if (round.answers[i].accepted) kept.clients.push_back(round.cohort[i]);
  }
  MUSTER_ASSIGN_OR_RETURN(round.record.search,
                          parts_.policy->Observe({.round = round.record.round,
                                                  .cohort = round.cohort,
                                                  .accepted = round.record.accepted,
                                                  .kept = round.decision.keep_updates ? &kept : nullptr,
                                                  .selector = parts_.selector,
                                                  .seed = options_.seed,
                                                  .trust_loss = trust_loss}));
  round.kept.clear();
  round.optimizer_before.reset();
  return absl::OkStatus();
}

absl::StatusOr<std::vector<float>> RoundEngine::CandidateModel(const Round& round,
                                                               std::span<const size_t> subset) const {
  std::vector<size_t> chosen(subset.begin(), subset.end());
  std::sort(chosen.begin(), chosen.end());
  if (std::adjacent_find(chosen.begin(), chosen.end()) != chosen.end() ||
      (!chosen.empty() && chosen.back() >= round.kept.size())) {
    return InternalError("candidate: the subset must name distinct kept updates");
  }
  std::vector<ClientInfo> cohort;  // as if only they had been asked
  for (const size_t index : chosen) {
    cohort.push_back(*FindClient(round.cohort, round.kept[index].client));
  }
  MUSTER_ASSIGN_OR_RETURN(
      const std::unique_ptr<Aggregator> aggregator,
      Registry<Aggregator>::Get().Create(
          options_.aggregator,
          {.layout = parts_.layout, .cohort = cohort, .uniform_weights = round.decision.uniform_weights}));
  for (const size_t index : chosen) MUSTER_RETURN_IF_ERROR(aggregator->Add(round.kept[index]));
  MUSTER_ASSIGN_OR_RETURN(const Aggregate aggregate, std::move(*aggregator).Finish());
  std::vector<float> model = *round.start;
  MUSTER_RETURN_IF_ERROR(round.optimizer_before->Clone()->Step(aggregate.delta, model));
  return model;
}

absl::Status RoundEngine::Evaluate(Round& round) {
  RoundRecord& record = round.record;
  const int64_t rounds = record.round + 1;
  // After the last round too, also where the uploads make it the last.
  if (IsMultiple(rounds, options_.evaluate_every) || rounds >= options_.rounds ||
      ReachedUploadBytes(record)) {
    MUSTER_ASSIGN_OR_RETURN(record.test, parts_.evaluator->EvaluateTest(state_.model));
  }
  if (IsMultiple(rounds, options_.evaluate_clients_every)) {
    MUSTER_ASSIGN_OR_RETURN(record.clients, parts_.evaluator->EvaluateClients(state_.model));
  }
  return absl::OkStatus();
}

absl::Status RoundEngine::Commit(Round& round) {
  const RoundRecord& record = round.record;
  parts_.selector->Observe(record.round, record.cohort);
  state_.rounds = record.round + 1;
  if (parts_.journal != nullptr) {
    state_.server_optimizer = parts_.server_optimizer->Save();
    state_.policy = parts_.policy->Save();
    state_.selector = parts_.selector->Save();
    absl::Status committed = parts_.journal->Commit(ToJson(record), state_, *parts_.layout);
    state_.server_optimizer.clear();
    if (!committed.ok()) {
      state_.rounds = record.round;
      return committed;
    }
  }
  totals_ = record.totals;
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
  if (record.round + 1 >= options_.rounds) return "rounds";
  return std::nullopt;
}

void RoundEngine::Emit(const Event& event) {
  for (RoundListener* listener : parts_.listeners) listener->On(event);
}

}  // namespace muster
