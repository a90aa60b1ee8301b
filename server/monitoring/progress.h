// What a person at the terminal sees of a run.
#ifndef MUSTER_SERVER_MONITORING_PROGRESS_H_
#define MUSTER_SERVER_MONITORING_PROGRESS_H_

#include <functional>
#include <optional>
#include <ostream>
#include <string>

#include "server/rounds/events.h"

namespace muster {

enum class ProgressMode {
  kAuto,   // a live line on a terminal, plain lines elsewhere
  kQuiet,  // nothing
  kJson,   // every committed round as a JSON line on `json`
};

// Where progress goes, and what the terminal and the clock say.
struct ProgressOptions {
  ProgressMode mode = ProgressMode::kAuto;
  std::ostream* text = nullptr;  // of kAuto
  std::ostream* json = nullptr;  // of kJson
  bool terminal = false;         // whether `text` is one that redraws
  std::function<int()> width;    // columns of the terminal; asked before every drawing, for it may be resized
  std::function<double()> now;   // seconds of a steady clock
};
// stderr as it is, stdout for JSON, the steady clock.
ProgressOptions StandardProgress(ProgressMode mode);

// On a terminal one line that redraws at most ten times a second:
//   fmnist  round 12/100 [=>        ]  7/10 clients  train 0.5213  test 0.6012 acc 78.40%  up 12.3 MB  45.1/s
//   ETA 3m20s
// Elsewhere a line for an evaluated round, at most one a second, and the last. Rounds count from 1 here.
class Progress final : public RoundListener {
 public:
  explicit Progress(ProgressOptions options);

  void On(const Event& event) override;

 private:
  void Handle(const RunStarted& event);
  void Handle(const RoundStarted& event);
  void Handle(const ClientFinished& event);
  void Handle(const RoundCommitted& event);
  void Handle(const RunFinished& event);

  void Redraw(bool now);        // the live line; throttled unless `now`
  void PrintRound();            // a plain line
  std::string Clients() const;  // "10 clients (probe)", "7/10 clients" during a round
  std::string Speed() const;    // trainings per second and time to go
  double Elapsed() const { return options_.now() - start_; }

  const ProgressOptions options_;
  double start_ = 0;
  double drawn_ = 0;  // when the last line was written
  RunStarted run_;
  int64_t committed_ = 0;  // rounds, over the whole run
  bool in_round_ = false;
  RoundStarted round_;     // the last one started
  int64_t answered_ = 0;   // clients of this round
  int64_t trainings_ = 0;  // of this process
  int64_t failures_ = 0;   // of this process
  std::optional<double> train_loss_;
  std::optional<Evaluation> test_;
  Totals totals_;
  bool unprinted_ = false;  // a committed round has had no plain line yet
};

}  // namespace muster

#endif  // MUSTER_SERVER_MONITORING_PROGRESS_H_
