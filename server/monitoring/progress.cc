#include "server/monitoring/progress.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <iostream>
#include <limits>
#include <utility>

#include "absl/strings/str_cat.h"
#include "server/monitoring/units.h"

namespace muster {
namespace {

constexpr double kRedrawSeconds = 0.1;
constexpr double kLineSeconds = 1;
constexpr int kBarColumns = 10;

// `text` as far as it fits into `columns`. Counts UTF-8 characters, taking each as one column wide, and drops
// control characters: a run's name must not steer the terminal.
std::string Fit(const std::string& text, int columns) {
  std::string out;
  int used = 0;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte < 0x20 || byte == 0x7f) continue;
    if ((byte & 0xc0) != 0x80 && ++used > columns) break;
    out += c;
  }
  return out;
}

std::string Bar(int64_t done, int64_t all) {
  const int64_t filled = all > 0 ? std::min<int64_t>(kBarColumns, done * kBarColumns / all) : 0;
  std::string bar(static_cast<size_t>(filled), '=');
  if (filled < kBarColumns) bar += '>';
  bar.resize(kBarColumns, ' ');
  return absl::StrCat("[", bar, "]");
}

std::string Plural(int64_t count, const char* word) {
  return absl::StrCat(FormatCount(count), " ", word, count == 1 ? "" : "s");
}

}  // namespace

ProgressOptions StandardProgress(ProgressMode mode) {
  ProgressOptions options;
  options.mode = mode;
  options.text = &std::cerr;
  options.json = &std::cout;
  options.terminal = ::isatty(STDERR_FILENO) != 0;
  options.width = [] {
    winsize size{};
    return ::ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? static_cast<int>(size.ws_col)
                                                                             : 80;
  };
  options.now = [] {
    return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
  };
  return options;
}

Progress::Progress(ProgressOptions options) : options_(std::move(options)) {}

void Progress::On(const Event& event) {
  if (options_.mode == ProgressMode::kQuiet) return;
  if (options_.mode == ProgressMode::kJson) {
    if (const auto* committed = std::get_if<RoundCommitted>(&event)) {
      *options_.json << ToJson(committed->record) << '\n' << std::flush;
    }
    return;
  }
  std::visit([this](const auto& e) { Handle(e); }, event);
}

void Progress::Handle(const RunStarted& event) {
  run_ = event;
  start_ = options_.now();
  drawn_ = -std::numeric_limits<double>::infinity();
  committed_ = event.first_round;
  totals_ = event.totals;
  if (options_.terminal) return Redraw(/*now=*/true);
  std::string line =
      absl::StrCat(Fit(event.name, std::numeric_limits<int>::max()), ": ", Plural(event.clients, "client"),
                   ", ", Plural(event.parameters, "parameter"), ", ", Plural(event.rounds, "round"));
  if (event.first_round > 0) absl::StrAppend(&line, ", resumed after round ", event.first_round);
  *options_.text << line << std::endl;
}

void Progress::Handle(const RoundStarted& event) {
  round_ = event;
  in_round_ = true;
  answered_ = 0;
  Redraw(/*now=*/false);
}

void Progress::Handle(const ClientFinished& event) {
  ++answered_;
  ++trainings_;
  if (!event.accepted) ++failures_;
  Redraw(/*now=*/false);
}

void Progress::Handle(const RoundCommitted& event) {
  const RoundRecord& record = event.record;
  in_round_ = false;
  committed_ = record.round + 1;
  round_ = {record.round, static_cast<int64_t>(record.cohort.size()), record.reason};
  totals_ = record.totals;
  if (record.train_loss) train_loss_ = record.train_loss;
  if (record.test) test_ = record.test;
  unprinted_ = true;
  Redraw(/*now=*/false);
  if (!options_.terminal && record.test && options_.now() - drawn_ >= kLineSeconds) PrintRound();
}

void Progress::Handle(const RunFinished& event) {
  committed_ = event.rounds;
  in_round_ = false;
  if (options_.terminal) {
    Redraw(/*now=*/true);
    *options_.text << std::endl;
  } else if (unprinted_) {
    PrintRound();
  }
}

void Progress::Redraw(bool now) {
  if (!options_.terminal) return;
  const double time = options_.now();
  if (!now && time - drawn_ < kRedrawSeconds) return;
  drawn_ = time;
  const int64_t shown = in_round_ ? round_.round + 1 : committed_;
  std::string line =
      absl::StrCat(run_.name, "  round ", shown, "/", run_.rounds, " ", Bar(committed_, run_.rounds));
  if (in_round_ || round_.clients > 0) absl::StrAppend(&line, "  ", Clients());
  if (train_loss_) absl::StrAppend(&line, "  train ", FormatLoss(*train_loss_));
  if (test_) {
    absl::StrAppend(&line, "  test ", FormatLoss(test_->loss));
    if (!test_->class_recall.empty()) absl::StrAppend(&line, " acc ", FormatShare(test_->accuracy));
  }
  absl::StrAppend(&line, "  up ", FormatBytes(static_cast<double>(totals_.upload_bytes)), Speed());
  if (failures_ > 0) absl::StrAppend(&line, "  ", FormatCount(failures_), " failed");
  // The last column stays empty: some terminals wrap when it is written.
  *options_.text << '\r' << Fit(line, std::max(1, options_.width() - 1)) << "\x1b[K" << std::flush;
}

void Progress::PrintRound() {
  unprinted_ = false;
  drawn_ = options_.now();
  std::string line = absl::StrCat("round ", committed_, "/", run_.rounds, ": ", Clients());
  if (train_loss_) absl::StrAppend(&line, "  train loss ", FormatLoss(*train_loss_));
  if (test_) {
    absl::StrAppend(&line, "  test loss ", FormatLoss(test_->loss));
    if (!test_->class_recall.empty()) absl::StrAppend(&line, "  accuracy ", FormatShare(test_->accuracy));
  }
  absl::StrAppend(&line, "  up ", FormatBytes(static_cast<double>(totals_.upload_bytes)), Speed());
  if (failures_ > 0) absl::StrAppend(&line, "  ", FormatCount(failures_), " failed");
  *options_.text << line << std::endl;
}

std::string Progress::Clients() const {
  std::string text = in_round_ ? absl::StrCat(answered_, "/", Plural(round_.clients, "client"))
                               : Plural(round_.clients, "client");
  if (!round_.reason.empty() && round_.reason != "fixed") absl::StrAppend(&text, " (", round_.reason, ")");
  return text;
}

std::string Progress::Speed() const {
  const double elapsed = Elapsed();
  if (elapsed <= 0 || trainings_ == 0) return "";
  std::string text = absl::StrCat("  ", FormatRate(static_cast<double>(trainings_) / elapsed), "/s");
  const int64_t done = committed_ - run_.first_round;
  const int64_t left = run_.rounds - committed_;
  if (done > 0 && left > 0) {
    absl::StrAppend(&text, "  ETA ",
                    FormatSeconds(elapsed / static_cast<double>(done) * static_cast<double>(left)));
  }
  return text;
}

}  // namespace muster
