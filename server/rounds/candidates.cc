// The engine's part of a search for the number of clients: what a round would have come to with other
// cohorts.
#include <algorithm>

#include "absl/strings/str_cat.h"
#include "compression/compressor.h"
#include "server/aggregation/aggregator.h"
#include "server/rounds/round_in_progress.h"

namespace muster {
namespace {

// A part of the engine's state, by client: what a policy wants remembered.
constexpr char kLastUpdates[] = "last_updates";

}  // namespace

absl::Status RoundEngine::Observe(Round& round) {
  const auto trust_loss = [this](ConstParameters model) -> absl::StatusOr<double> {
    if (!parts_.has_trust_set) return absl::FailedPreconditionError("the federation has no trust set");
    return parts_.evaluator->TrustLoss(model);
  };
  const auto candidate = [this, &round](std::span<const size_t> subset) {
    return CandidateModel(round, subset);
  };
  KeptUpdates kept{.clients = {}, .candidate = candidate};
  if (round.decision.remember_updates) MUSTER_RETURN_IF_ERROR(RememberUpdates(round));
  if (round.decision.keep_updates) {
    const std::span<const ClientInfo> available = parts_.pool->Available();
    round.candidates = round.decision.remember_updates
                           ? std::vector<ClientInfo>(available.begin(), available.end())
                           : round.answers->accepted();
    kept.clients = round.candidates;
  }
  MUSTER_ASSIGN_OR_RETURN(round.record.search,
                          parts_.policy->Observe({.round = round.record.round,
                                                  .cohort = round.cohort,
                                                  .accepted = round.record.accepted,
                                                  .uploads = round.record.totals.uploads - totals_.uploads,
                                                  .upload_bytes = round.record.upload_bytes,
                                                  .kept = round.decision.keep_updates ? &kept : nullptr,
                                                  .selector = parts_.selector,
                                                  .seed = options_.seed,
                                                  .trust_loss = trust_loss}));
  round.record.saved_bytes = parts_.policy->saved_bytes();
  round.answers->Forget();
  round.optimizer_before.reset();
  return absl::OkStatus();
}

bool RoundEngine::KeepsUpdates(const Round& round) const {
  return round.decision.keep_updates || round.decision.remember_updates || needs_.deviations;
}

absl::Status RoundEngine::CheckUpdatesAlone() const {
  const bool more =
      !parts_.server_optimizer->Extras().empty() ||
      (parts_.method != nullptr && !(parts_.method->Extras().empty() && parts_.method->Scalars().empty()));
  return more ? InvalidInput(
                    "federation.participation: stale candidates are made of updates alone, and the training "
                    "method or the server optimizer wants more of them; use candidates: fresh")
              : absl::OkStatus();
}

absl::Status RoundEngine::RememberUpdates(const Round& round) {
  State& last = state_.parts[kLastUpdates];
  for (const Update& update : round.answers->kept()) {
    MUSTER_ASSIGN_OR_RETURN(last.vectors[absl::StrCat(update.client)],
                            DecodePayload(update.payload, *parts_.layout));
  }
  return absl::OkStatus();
}

Update RoundEngine::RememberedUpdate(const ClientInfo& client) const {
  Update update{.client = client.id,
                .num_samples = client.num_samples,
                .payload = {.bytes = PayloadHeader(kIdentityCodec, *parts_.layout)},
                .metrics = {}};
  const State& last = state_.parts.at(kLastUpdates);
  if (const auto known = last.vectors.find(absl::StrCat(client.id)); known != last.vectors.end()) {
    update.payload.bytes.append(reinterpret_cast<const char*>(known->second.data()),
                                known->second.size() * sizeof(float));
  } else {
    update.payload.bytes.append(static_cast<size_t>(parts_.layout->size) * sizeof(float), '\0');
  }
  return update;
}

absl::StatusOr<std::vector<float>> RoundEngine::CandidateModel(const Round& round,
                                                               std::span<const size_t> subset) const {
  std::vector<size_t> chosen(subset.begin(), subset.end());
  std::sort(chosen.begin(), chosen.end());
  if (std::adjacent_find(chosen.begin(), chosen.end()) != chosen.end() ||
      (!chosen.empty() && chosen.back() >= round.candidates.size())) {
    return InternalError("candidate: the subset must name distinct kept updates");
  }
  // A round of its own, as if only they had been asked.
  std::vector<ClientInfo> cohort;
  for (const size_t index : chosen) cohort.push_back(round.candidates[index]);
  RoundRecord record;
  MUSTER_ASSIGN_OR_RETURN(const std::unique_ptr<Answers> answers,
                          MakeAnswers(round, cohort, /*keep=*/false, record));
  for (const size_t index : chosen) {
    ClientFinished event;
    MUSTER_RETURN_IF_ERROR(answers->Take(round.decision.remember_updates
                                             ? RememberedUpdate(round.candidates[index])
                                             : round.answers->kept()[index],
                                         event));
  }
  if (!record.failures.empty()) return InternalError(record.failures.front().message);
  MUSTER_ASSIGN_OR_RETURN(Aggregate aggregate, answers->Finish(options_.clients));
  State feedback = round.feedback_before, method = round.method_before;
  Numbers report;
  MUSTER_RETURN_IF_ERROR(Combine(aggregate, feedback, method, report));
  std::vector<float> model = *round.start;
  MUSTER_RETURN_IF_ERROR(round.optimizer_before->Clone()->Step(aggregate, model));
  return model;
}

}  // namespace muster
