// The files of a run directory that other programs read: written when a run starts (data.json) and ends
// (summary.json), read back for reports and comparisons. Rounds count from 0 in all of them.
#ifndef MUSTER_SERVER_MONITORING_RUN_FILES_H_
#define MUSTER_SERVER_MONITORING_RUN_FILES_H_

#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "core/status.h"
#include "server/rounds/round_record.h"

namespace muster {

// What is learnt from and who holds it: DIR/data.json.
struct DataSummary {
  // Clients with between `from` and `to` samples, both included.
  struct Bin {
    int64_t from = 0;
    int64_t to = 0;
    int64_t clients = 0;
  };

  std::string dataset;
  int64_t train_samples = 0;
  int64_t test_samples = 0;
  std::vector<std::string> classes;                // names; empty for regression
  int64_t clients = 0;                             // of the federation
  std::vector<int64_t> client_samples;             // training samples by client
  std::vector<std::vector<int64_t>> label_counts;  // [client][class]; empty for regression
  std::vector<Bin> samples_histogram;              // filled by Thin()

  // What goes into the file: fills `clients` and `samples_histogram` (at most 20 bins) from `client_samples`;
  // of a federation of more than 2000 clients only the first 200 stay in `client_samples` and `label_counts`.
  void Thin();
};

// The global model on the test set after one round.
struct RoundMetrics {
  int64_t round = 0;
  double loss = 0;
  double accuracy = 0;  // 0 for regression, likewise macro_f1
  double macro_f1 = 0;
};

// What came out: DIR/summary.json.
struct RunSummary {
  std::string name;
  uint64_t seed = 0;
  std::string finish_reason;          // RunFinished::why
  int64_t rounds = 0;                 // committed
  std::optional<RoundMetrics> final;  // of the last evaluation
  std::optional<RoundMetrics> best;   // highest accuracy; lowest loss for regression. The first of equals
  Totals totals;
  std::vector<int64_t> participants;                        // clients asked, by round
  std::map<std::string, std::vector<int64_t>> adversaries;  // of a simulation: which clients did what
  double training_seconds = 0;                              // of rounds, from choosing clients to the commit
  double wall_seconds = 0;  // of this process and of the earlier ones a resumed run had
  std::string model_sha256;
  int64_t parameters = 0;
  std::string muster_version;
  std::string libtorch_version;
};

// The part of a summary that follows from the rounds: `rounds`, `final`, `best`, `totals`, `participants` and
// `training_seconds`.
RunSummary Summarize(std::span<const RoundRecord> rounds);

// A run directory as it is read back. A run that is not finished (or was cut off) has no summary.
struct Run {
  std::string directory;
  std::string config;  // the text of config.yaml
  std::optional<RunSummary> summary;
  std::optional<DataSummary> data;
  std::vector<RoundRecord> rounds;

  std::string name() const;  // the summary's, else the directory's last part
};

// Both replace the file at once, whole or not at all.
absl::Status WriteDataSummary(const std::string& directory, DataSummary data);
absl::Status WriteRunSummary(const std::string& directory, const RunSummary& summary);

// NOT_FOUND if there is no such file; INVALID_ARGUMENT "PATH: key 'rounds': ..." for one that is damaged.
absl::StatusOr<DataSummary> ReadDataSummary(const std::string& directory);
absl::StatusOr<RunSummary> ReadRunSummary(const std::string& directory);
// The records of DIR/rounds.jsonl; errors name the line. With `may_be_torn` (a run that is still writing, or
// was killed while it did) a last line without its end is left out.
absl::StatusOr<std::vector<RoundRecord>> ReadRounds(const std::string& directory, bool may_be_torn);
// NOT_FOUND if `directory` is no run directory (it has no config.yaml). summary.json, data.json and
// rounds.jsonl may be absent, but not damaged.
absl::StatusOr<Run> ReadRun(const std::string& directory);

}  // namespace muster

#endif  // MUSTER_SERVER_MONITORING_RUN_FILES_H_
