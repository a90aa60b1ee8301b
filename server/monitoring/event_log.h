// The rounds of a run as events of the log.
#ifndef MUSTER_SERVER_MONITORING_EVENT_LOG_H_
#define MUSTER_SERVER_MONITORING_EVENT_LOG_H_

#include "core/log.h"
#include "server/rounds/events.h"

namespace muster {

// run_started, round_started (debug), client_finished (debug), client_failed (warning), participation_search,
// settings_changed, round_committed, run_finished.
class EventLog final : public RoundListener {
 public:
  // `log` outlives it. `failures_are_news`: people are told of every failed client, beside the progress
  // line's count.
  EventLog(Log& log, bool failures_are_news) : log_(log), failures_are_news_(failures_are_news) {}

  void On(const Event& event) override;

 private:
  void Committed(const RoundRecord& record);

  Log& log_;
  const bool failures_are_news_;
};

}  // namespace muster

#endif  // MUSTER_SERVER_MONITORING_EVENT_LOG_H_
