#include "server/monitoring/event_log.h"

#include "absl/strings/str_cat.h"
#include "server/monitoring/units.h"

namespace muster {

void EventLog::On(const Event& event) {
  if (const auto* client = std::get_if<ClientFinished>(&event)) {
    if (client->accepted) {
      return log_.Write(
          {.severity = Severity::kDebug,
           .name = "client_finished",
           .message = absl::StrCat("accepted, ", FormatBytes(static_cast<double>(client->upload_bytes)),
                                   ", trained in ", FormatSeconds(client->metrics.seconds)),
           .round = client->round,
           .client = client->client});
    }
    const ClientFailure& failure = client->failure;
    log_.Write({.severity = Severity::kWarning,
                .name = "client_failed",
                .message = absl::StrCat(failure.stage, ": ", failure.code, ": ", failure.message),
                .round = client->round,
                .client = client->client,
                .in_progress_line = !failures_are_news_});
  } else if (const auto* round = std::get_if<RoundStarted>(&event)) {
    log_.Write({.severity = Severity::kDebug,
                .name = "round_started",
                .message = absl::StrCat(round->clients, " clients asked (", round->reason, ")"),
                .round = round->round});
  } else if (const auto* committed = std::get_if<RoundCommitted>(&event)) {
    Committed(committed->record);
  } else if (const auto* started = std::get_if<RunStarted>(&event)) {
    log_.Write(
        {.name = "run_started",
         .message = absl::StrCat(
             started->name, ": ",
             started->clients > 0 ? absl::StrCat(FormatCount(started->clients), " clients, ") : "",
             FormatCount(started->parameters), " parameters, ", started->rounds, " rounds",
             started->first_round > 0 ? absl::StrCat(", resumed after round ", started->first_round) : ""),
         .in_progress_line = true});
  } else {
    const auto& finished = std::get<RunFinished>(event);
    log_.Write({.name = "run_finished",
                .message = absl::StrCat(finished.rounds, " rounds, ended by: ", finished.why),
                .in_progress_line = true});
  }
}

void EventLog::Committed(const RoundRecord& record) {
  for (const std::string& change : record.changes) {
    log_.Write({.name = "settings_changed", .message = change, .round = record.round});
  }
  if (record.search) {
    log_.Write(
        {.name = "participation_search",
         .message = absl::StrCat(record.search->candidates.size(), " sizes tried; ", record.search->chosen,
                                 " clients from the next round on, ", record.search->previous, " before"),
         .round = record.round,
         .in_progress_line = true});
  }
  std::string message = absl::StrCat(record.accepted, " of ", record.cohort.size(), " updates accepted");
  if (record.train_loss) absl::StrAppend(&message, ", train loss ", FormatLoss(*record.train_loss));
  if (record.test) {
    absl::StrAppend(&message, ", test loss ", FormatLoss(record.test->loss));
    if (!record.test->class_recall.empty())
      absl::StrAppend(&message, ", accuracy ", FormatShare(record.test->accuracy));
  }
  log_.Write(
      {.name = "round_committed", .message = message, .round = record.round, .in_progress_line = true});
}

}  // namespace muster
