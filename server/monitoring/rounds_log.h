// rounds.jsonl of a run directory: one JSON object a line, one line a committed round.
#ifndef MUSTER_SERVER_MONITORING_ROUNDS_LOG_H_
#define MUSTER_SERVER_MONITORING_ROUNDS_LOG_H_

#include <fstream>
#include <string>
#include <vector>

#include "core/status.h"
#include "server/rounds/events.h"

namespace muster {

// Appends every committed round and flushes it. The file follows the journal: when a run starts at round n,
// the first n lines stay if they are whole, anything behind them (a line that a crash tore, rounds that were
// never committed) is cut off, and what is missing is written again from the journal's records.
class RoundsLog final : public RoundListener {
 public:
  // `committed`: Journal::Records() of the run so far; empty for a new run.
  explicit RoundsLog(const std::string& directory, std::vector<std::string> committed = {});

  void On(const Event& event) override;
  // The first thing that went wrong (disk full, a record that is nowhere); from then on nothing is written.
  const absl::Status& status() const { return status_; }
  const std::string& path() const { return path_; }

 private:
  absl::Status Start(int64_t first_round);
  absl::Status Append(const std::string& line);

  const std::string path_;
  std::vector<std::string> committed_;
  std::ofstream out_;
  absl::Status status_;
};

}  // namespace muster

#endif  // MUSTER_SERVER_MONITORING_ROUNDS_LOG_H_
