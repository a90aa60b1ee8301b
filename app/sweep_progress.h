// What a person at the terminal sees of a sweep.
#ifndef MUSTER_APP_SWEEP_PROGRESS_H_
#define MUSTER_APP_SWEEP_PROGRESS_H_

#include <cstdint>
#include <map>
#include <string>

#include "core/mutex.h"
#include "server/monitoring/progress.h"

namespace muster {

// A line for every finished cell, and on a terminal one that redraws with those that are running.
// Thread-safe.
class SweepProgress {
 public:
  // `finished` of the `cells` are there from an earlier run.
  SweepProgress(ProgressOptions options, int64_t cells, int64_t finished);

  // The cell `name` has committed `round` of `rounds` rounds; 0: it begins.
  void At(const std::string& name, int64_t round, int64_t rounds);
  void Finished(const std::string& name, const std::string& result);
  // The cell was stopped before its end.
  void Left(const std::string& name);

 private:
  void Redraw(bool now) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  std::string TimeToGo() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const ProgressOptions options_;
  const int64_t cells_;
  const int64_t before_;  // finished by an earlier run
  const double start_;
  Mutex mutex_;
  int64_t finished_ ABSL_GUARDED_BY(mutex_);
  double drawn_ ABSL_GUARDED_BY(mutex_) = 0;
  std::map<std::string, std::pair<int64_t, int64_t>> running_ ABSL_GUARDED_BY(mutex_);  // round of rounds
};

}  // namespace muster

#endif  // MUSTER_APP_SWEEP_PROGRESS_H_
