#include "server/monitoring/rounds_log.h"

#include <cerrno>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/file.h"

namespace muster {
namespace {

// The length of the longest start of `text` that is whole lines with the records of rounds 0, 1, ...; at most
// `rounds` of them. Their number goes to `kept`.
size_t WholeLines(const std::string& text, int64_t rounds, int64_t& kept) {
  size_t begin = 0;
  for (kept = 0; kept < rounds; ++kept) {
    const size_t end = text.find('\n', begin);
    if (end == std::string::npos) break;
    const auto record = RoundRecordFromJson(text.substr(begin, end - begin));
    if (!record.ok() || record->round != kept) break;
    begin = end + 1;
  }
  return begin;
}

}  // namespace

RoundsLog::RoundsLog(const std::string& directory, std::vector<std::string> committed)
    : path_(absl::StrCat(directory, "/rounds.jsonl")), committed_(std::move(committed)) {}

void RoundsLog::On(const Event& event) {
  if (!status_.ok()) return;
  if (const auto* started = std::get_if<RunStarted>(&event)) {
    status_ = Start(started->first_round);
  } else if (const auto* round = std::get_if<RoundCommitted>(&event)) {
    status_ = Append(ToJson(round->record));
  }
}

absl::Status RoundsLog::Start(int64_t first_round) {
  std::string text;
  int64_t kept = 0;
  if (first_round > 0) {
    absl::StatusOr<std::string> old = ReadFile(path_);
    if (!old.ok() && !absl::IsNotFound(old.status())) return old.status();
    if (old.ok()) text = *std::move(old);
    text.resize(WholeLines(text, first_round, kept));
  }
  for (; kept < first_round; ++kept) {
    if (kept >= static_cast<int64_t>(committed_.size())) {
      return InternalError(
          absl::StrCat(path_, ": the record of round ", kept, " is neither here nor in the journal"));
    }
    absl::StrAppend(&text, committed_[static_cast<size_t>(kept)], "\n");
  }
  committed_.clear();
  MUSTER_RETURN_IF_ERROR(WriteFileAtomic(path_, text));
  out_.close();
  out_.clear();
  out_.open(path_, std::ios::binary | std::ios::app);
  return out_ ? absl::OkStatus()
              : InternalError(absl::StrCat(path_, ": cannot open: ", std::strerror(errno)));
}

absl::Status RoundsLog::Append(const std::string& line) {
  if (!out_.is_open()) MUSTER_RETURN_IF_ERROR(Start(0));
  out_ << line << '\n' << std::flush;
  return out_ ? absl::OkStatus()
              : InternalError(absl::StrCat(path_, ": cannot write: ", std::strerror(errno)));
}

}  // namespace muster
