// How a run is watched: its log, its metrics, its live page.
#ifndef MUSTER_APP_MONITORING_H_
#define MUSTER_APP_MONITORING_H_

#include <functional>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "app/run_flags.h"
#include "core/log.h"
#include "core/status.h"
#include "muster/v1/experiment.pb.h"
#include "server/journal/journal.h"
#include "server/monitoring/event_log.h"
#include "server/monitoring/http_server.h"
#include "server/monitoring/monitoring_endpoint.h"
#include "simulation/simulated_federation.h"

namespace muster {

class Monitoring {
 public:
  // Serves from now on what `flags` ask for, and says where. All that is given outlives it. INVALID_ARGUMENT
  // for an address that cannot be had, or a token that is too short.
  static absl::StatusOr<std::unique_ptr<Monitoring>> Start(const MonitoringFlags& flags,
                                                           const v1::Experiment& config,
                                                           const std::string& dir,
                                                           std::span<const RoundRecord> committed,
                                                           SimulatedFederation& federation, Log& log,
                                                           bool failures_are_news);
  ~Monitoring();

  void AddTo(std::vector<RoundListener*>& listeners);
  // Readers of the page are told how the run ended.
  void Ended(const absl::Status& status);
  // Of clients that connect: how many are in which state, and what single ones do. Until the end of this
  // object.
  void SetClients(std::function<Connections()> connections, std::function<Moment()> moment);

 private:
  Monitoring(Log& log, bool failures_are_news) : log_(log), events_(log, failures_are_news) {}

  Log& log_;
  EventLog events_;
  std::unique_ptr<MonitoringEndpoint> endpoint_;  // nullptr: nothing is served
};

// Serves what `text` gives at http://ADDRESS/metrics and says so in the log; nullptr for the address "".
// INVALID_ARGUMENT for one that cannot be had.
absl::StatusOr<std::unique_ptr<HttpServer>> ServeMetrics(const std::string& address,
                                                         std::function<std::string()> text, Log& log);

// A change of the running federation, in terms of the configuration it runs by.
absl::StatusOr<LiveChange> ParseChange(const v1::Experiment& config,
                                       const std::map<std::string, std::string>& set);

// What the engine does at the moment, as far as people are told.
std::string PhaseOf(SimulatedFederation& federation);

// The records of the rounds that the journal has.
absl::StatusOr<std::vector<RoundRecord>> CommittedRounds(Journal& journal);

}  // namespace muster

#endif  // MUSTER_APP_MONITORING_H_
