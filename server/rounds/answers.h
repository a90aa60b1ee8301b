// The answers of one round's cohort: checked, folded into the aggregate, and remembered for the record.
#ifndef MUSTER_SERVER_ROUNDS_ANSWERS_H_
#define MUSTER_SERVER_ROUNDS_ANSWERS_H_

#include <map>
#include <memory>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "core/exact_sum.h"
#include "core/parameters.h"
#include "core/status.h"
#include "server/aggregation/aggregator.h"
#include "server/rounds/events.h"
#include "server/rounds/round_record.h"

namespace muster {

// What the updates of a round bring along, beside their payloads.
struct ExtraRules {
  std::set<std::string> required;      // extra vectors; an update without one of them is refused
  std::set<std::string> scalars = {};  // numbers, likewise: one value each, above 0 and at most 2^20
  bool optimizer_state = false;        // further vectors named "optimizer/..." are welcome
};

// The Euclidean norm of an encoded update; 0 if it cannot be decoded.
double UpdateNorm(const Payload& update, const Layout& layout);

// Memory: the aggregator's, one exact sum per extra vector, a few numbers per client. With `keep` also the
// updates, as they came: up to 256 MiB, those beyond lie in nameless files (in TMPDIR, gone with the
// process). Not thread-safe.
class Answers {
 public:
  // `cohort` is ascending by id. `record` outlives this object and must have its cohort; its counts, bytes
  // and failures grow with every answer.
  Answers(std::vector<ClientInfo> cohort, std::unique_ptr<Aggregator> aggregator, const Layout& layout,
          ExtraRules rules, bool keep, RoundRecord& record);

  // Takes one client's answer. What became of it is also told by `event`. INTERNAL for a client that is not
  // of the cohort or has answered already (the pool broke its contract).
  absl::Status Take(Outcome outcome, ClientFinished& event);
  // Adds sums that a pool has made of updates which it folded (Folding::add).
  absl::Status AddSums(std::span<const int64_t> sums);
  // Whether a pool may fold updates itself: nothing of a single one is needed here. How many sums they make
  // then, else 0.
  int64_t sums() const;
  // After the last answer: sorts what came in any order, fills in the record's training loss. INTERNAL if a
  // client has not answered.
  absl::Status Close();
  // The aggregate with extras and reports; `clients` is the federation's. FAILED_PRECONDITION if nothing was
  // folded.
  absl::StatusOr<Aggregate> Finish(int64_t clients);

  const std::vector<ClientInfo>& cohort() const { return cohort_; }
  // The accepted ones, ascending by id, after Close.
  std::vector<ClientInfo> accepted() const;
  // Their updates, in the same order, if asked to keep them.
  const std::vector<Update>& kept() const { return kept_; }
  void Forget() { kept_.clear(); }
  // Fills in the deviation of every report from `aggregate` (this round's, untouched), if updates are kept.
  absl::Status MeasureDeviations(Aggregate& aggregate) const;

 private:
  struct Answer {
    bool given = false;
    bool accepted = false;
    int64_t samples = 0;
    double weight = 0;
    ClientMetrics metrics;
    Numbers numbers;
  };
  absl::Status Fold(const Update& update);
  absl::Status Keep(Update update);
  absl::Status CheckNumbers(const Numbers& numbers) const;
  std::map<std::string, double> MeanScalars() const;

  const std::vector<ClientInfo> cohort_;
  std::unique_ptr<Aggregator> aggregator_;
  const Layout& layout_;
  const ExtraRules rules_;
  const bool keep_;
  RoundRecord& record_;
  std::vector<Answer> answers_;  // one per client of the cohort
  std::map<std::string, ExactSum> extras_;
  std::vector<Update> kept_;
  int64_t kept_bytes_ = 0;  // of them, in memory
};

}  // namespace muster

#endif  // MUSTER_SERVER_ROUNDS_ANSWERS_H_
