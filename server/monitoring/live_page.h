// The live page of a run: what its readers are shown while it goes on. What they get is the state as JSON,
// first whole, then whatever has changed; no reader's memory grows, however slow it is.
#ifndef MUSTER_SERVER_MONITORING_LIVE_PAGE_H_
#define MUSTER_SERVER_MONITORING_LIVE_PAGE_H_

#include <chrono>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "core/log.h"
#include "core/mutex.h"
#include "server/monitoring/thinned_series.h"
#include "server/rounds/events.h"

namespace muster {

// What only those who run the rounds can tell of this moment.
struct Moment {
  std::string phase;                              // "train", "paused", ...; "" if unknown
  std::map<std::string, int64_t> connected = {};  // clients by state; empty where clients do not connect
  std::map<ClientId, std::string> clients = {};   // what single clients do; may be cut short
};

// Where a reader is. One made anew has seen nothing.
class PageCursor {
 private:
  friend class LivePage;
  int64_t version = -1;  // of all but the moment
  int64_t run = -1, search = -1, failures = -1;
  SeriesCursor rounds, tests;
  int64_t log = -1;    // lines seen
  std::string moment;  // as it was sent
  std::chrono::steady_clock::time_point sent = {};
};

// Thread-safe. On() takes a lock for microseconds and never waits for a reader.
class LivePage final : public RoundListener {
 public:
  // `committed`: the records of the rounds that an earlier process committed.
  LivePage(std::string version, bool steerable, std::span<const RoundRecord> committed = {});

  void On(const Event& event) override;
  // The run has ended with an error; `why` is one line.
  void Failed(const std::string& why);
  // A line of the log; its last 200 are kept.
  void Add(const LogEvent& event);
  // Asked from readers' threads, at most twice a second. nullptr: there is nobody to ask any more.
  void SetMoment(std::function<Moment()> moment);

  // JSON of what has changed since `cursor`, which is moved on; "" if nothing has. From a new cursor: the
  // whole state.
  std::string Changes(PageCursor& cursor) const;
  // The same, when there is something: waits for it, for 10 seconds at most (then ""), and gives no reader
  // more than five messages a second. nullopt after Close, once the last changes were given.
  std::optional<std::string> Next(PageCursor& cursor) const;
  // Ends Next for everyone.
  void Close();

 private:
  struct RoundInFlight {
    int64_t round = -1;
    std::string reason;
    std::vector<ClientId> cohort;
    std::map<ClientId, bool> answered;  // whether accepted
    int64_t accepted = 0, failed = 0;
    bool committed = false;
  };
  struct Failure {
    int64_t round = 0;
    ClientFailure failure;
  };
  struct LogLineShown {
    double time = 0;  // since the epoch
    Severity severity = Severity::kInfo;
    std::string text;
  };

  void Handle(const RunStarted& event) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Handle(const RoundStarted& event) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Handle(const ClientFinished& event) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Handle(const RoundCommitted& event) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Handle(const RunFinished& event) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void AddRecord(const RoundRecord& record) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void AddFailure(int64_t round, const ClientFailure& failure) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Changed() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  std::string MomentJson() const;  // takes the lock for a while
  Moment AskMoment() const;

  const std::string muster_version_;
  const bool steerable_;
  mutable Mutex mutex_;
  mutable CondVar changed_, closing_;
  int64_t version_ ABSL_GUARDED_BY(mutex_) = 0;
  bool closed_ ABSL_GUARDED_BY(mutex_) = false;

  int64_t run_version_ ABSL_GUARDED_BY(mutex_) = 0;
  RunStarted run_ ABSL_GUARDED_BY(mutex_);
  std::string finished_ ABSL_GUARDED_BY(mutex_);  // why; "" before
  std::string failed_ ABSL_GUARDED_BY(mutex_);    // likewise
  RoundInFlight round_ ABSL_GUARDED_BY(mutex_);
  Totals totals_ ABSL_GUARDED_BY(mutex_);
  int64_t committed_rounds_ ABSL_GUARDED_BY(mutex_) = 0;
  // round, bytes uploaded so far, training loss, clients asked, clients accepted
  ThinnedSeries rounds_ ABSL_GUARDED_BY(mutex_);
  // round, bytes uploaded so far, loss, accuracy
  ThinnedSeries tests_ ABSL_GUARDED_BY(mutex_);
  int64_t search_version_ ABSL_GUARDED_BY(mutex_) = 0;
  int64_t search_round_ ABSL_GUARDED_BY(mutex_) = 0;
  std::optional<SearchRecord> search_ ABSL_GUARDED_BY(mutex_);
  int64_t failures_version_ ABSL_GUARDED_BY(mutex_) = 0;
  int64_t failures_total_ ABSL_GUARDED_BY(mutex_) = 0;
  std::deque<Failure> failures_ ABSL_GUARDED_BY(mutex_);  // the newest first
  int64_t log_lines_ ABSL_GUARDED_BY(mutex_) = 0;         // ever
  std::deque<LogLineShown> log_ ABSL_GUARDED_BY(mutex_);

  mutable Mutex moment_mutex_;
  std::function<Moment()> moment_ ABSL_GUARDED_BY(moment_mutex_);
  mutable Moment asked_ ABSL_GUARDED_BY(moment_mutex_);
  mutable std::chrono::steady_clock::time_point asked_at_ ABSL_GUARDED_BY(moment_mutex_);
};

}  // namespace muster

#endif  // MUSTER_SERVER_MONITORING_LIVE_PAGE_H_
