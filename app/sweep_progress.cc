#include "app/sweep_progress.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "server/monitoring/units.h"

namespace muster {
namespace {

constexpr double kSecondsBetweenDrawings = 0.1;
constexpr char kClearLine[] = "\r\x1b[K";

}  // namespace

SweepProgress::SweepProgress(ProgressOptions options, int64_t cells, int64_t finished)
    : options_(std::move(options)),
      cells_(cells),
      before_(finished),
      start_(options_.now()),
      finished_(finished) {}

void SweepProgress::At(const std::string& name, int64_t round, int64_t rounds) {
  const MutexLock lock(&mutex_);
  running_[name] = {round, rounds};
  Redraw(/*now=*/false);
}

void SweepProgress::Left(const std::string& name) {
  const MutexLock lock(&mutex_);
  running_.erase(name);
}

void SweepProgress::Finished(const std::string& name, const std::string& result) {
  const MutexLock lock(&mutex_);
  running_.erase(name);
  ++finished_;
  if (options_.mode == ProgressMode::kQuiet) return;
  *options_.text << (options_.terminal ? kClearLine : "")
                 << absl::StrCat("cell ", finished_, "/", cells_, "  ", name, ": ", result, TimeToGo(), "\n")
                 << std::flush;
  Redraw(/*now=*/true);
}

std::string SweepProgress::TimeToGo() const {
  const int64_t done = finished_ - before_;
  if (done == 0 || finished_ == cells_) return "";
  const double each = (options_.now() - start_) / static_cast<double>(done);
  return absl::StrCat("  ETA ", FormatSeconds(each * static_cast<double>(cells_ - finished_)));
}

void SweepProgress::Redraw(bool now) {
  if (options_.mode == ProgressMode::kQuiet || !options_.terminal) return;
  const double time = options_.now();
  if (!now && time - drawn_ < kSecondsBetweenDrawings) return;
  drawn_ = time;
  std::string line = absl::StrCat(finished_, "/", cells_, " cells", TimeToGo());
  for (const auto& [name, at] : running_) {
    absl::StrAppend(&line, "  | ", name, " ", at.first, "/", at.second);
  }
  *options_.text << kClearLine << line.substr(0, static_cast<size_t>(std::max(20, options_.width() - 1)))
                 << std::flush;
}

}  // namespace muster
