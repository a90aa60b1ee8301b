#include "server/monitoring/live_page.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>
#include <utility>

#include "absl/strings/str_cat.h"

namespace muster {
namespace {

using Json = nlohmann::ordered_json;
using Clock = std::chrono::steady_clock;

constexpr size_t kMostPoints = 1024;  // of a curve
constexpr size_t kMostFailures = 40;
constexpr size_t kMostLogLines = 200;
constexpr size_t kMostCandidates = 256;
constexpr size_t kMostClients = 240;     // shown one by one
constexpr size_t kMostQuote = 300;       // bytes of a peer's words
constexpr double kMessageSeconds = 0.2;  // between two messages to a reader
constexpr double kMomentSeconds = 0.5;   // between two questions
constexpr double kSilentSeconds = 10;

constexpr double kNone = std::numeric_limits<double>::quiet_NaN();

double SecondsSince(Clock::time_point time) {
  return std::chrono::duration<double>(Clock::now() - time).count();
}
double Now() {
  return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
}

// null for what is no number.
Json Number(double value) { return std::isfinite(value) ? Json(value) : Json(nullptr); }

Json Row(const ThinnedSeries::Point& point) {
  Json row = Json::array();
  for (const double value : point) row.push_back(Number(value));
  return row;
}

Json NewPoints(const ThinnedSeries& series, SeriesCursor& cursor) {
  const size_t first = series.FirstNewTo(cursor);
  Json rows = Json::array();
  for (size_t i = first; i < series.points().size(); ++i) rows.push_back(Row(series.points()[i]));
  cursor = series.End();
  return {{"from", first}, {"points", rows}, {"last", Row(series.last())}};
}

// A peer may have sent half a character.
std::string Dump(const Json& json) {
  return json.dump(-1, ' ', /*ensure_ascii=*/false, Json::error_handler_t::replace);
}

}  // namespace

LivePage::LivePage(std::string version, bool steerable, std::span<const RoundRecord> committed)
    : muster_version_(std::move(version)), steerable_(steerable), rounds_(kMostPoints), tests_(kMostPoints) {
  const MutexLock lock(&mutex_);
  for (const RoundRecord& record : committed) {
    AddRecord(record);
    for (const ClientFailure& failure : record.failures) AddFailure(record.round, failure);
  }
}

void LivePage::On(const Event& event) {
  const MutexLock lock(&mutex_);
  std::visit([this](const auto& e) ABSL_NO_THREAD_SAFETY_ANALYSIS { Handle(e); }, event);
  Changed();
}

void LivePage::Changed() {
  ++version_;
  changed_.NotifyAll();
}

void LivePage::Handle(const RunStarted& event) {
  run_ = event;
  totals_ = event.totals;
  committed_rounds_ = event.first_round;
  ++run_version_;
}

void LivePage::Handle(const RoundStarted& event) {
  round_ = {.round = event.round, .reason = event.reason, .cohort = event.cohort, .answered = {}};
}

void LivePage::Handle(const ClientFinished& event) {
  // Of a large cohort nobody sees who has answered.
  if (round_.cohort.size() <= kMostClients) round_.answered[event.client] = event.accepted;
  ++(event.accepted ? round_.accepted : round_.failed);
  if (!event.accepted) AddFailure(event.round, event.failure);
}

void LivePage::Handle(const RoundCommitted& event) {
  AddRecord(event.record);
  round_.committed = true;
}

void LivePage::Handle(const RunFinished& event) {
  finished_ = event.why;
  ++run_version_;
}

void LivePage::AddRecord(const RoundRecord& record) {
  totals_ = record.totals;
  committed_rounds_ = record.round + 1;
  const auto number = static_cast<double>(record.round + 1);
  const auto bytes = static_cast<double>(record.totals.upload_bytes);
  rounds_.Add({number, bytes, record.train_loss.value_or(kNone), static_cast<double>(record.cohort.size()),
               static_cast<double>(record.accepted)});
  if (record.test) {
    tests_.Add({number, bytes, record.test->loss,
                record.test->class_recall.empty() ? kNone : record.test->accuracy});
  }
  if (record.search) {
    search_ = record.search;
    search_round_ = record.round;
    ++search_version_;
  }
}

void LivePage::AddFailure(int64_t round, const ClientFailure& failure) {
  ++failures_total_;
  ++failures_version_;
  failures_.push_front({round, failure});
  failures_.front().failure.message.resize(std::min(failure.message.size(), kMostQuote));
  if (failures_.size() > kMostFailures) failures_.pop_back();
}

void LivePage::Failed(const std::string& why) {
  const MutexLock lock(&mutex_);
  failed_ = why;
  ++run_version_;
  Changed();
}

void LivePage::Add(const LogEvent& event) {
  std::string text = ToTextLine({.name = "",
                                 .message = event.message.substr(0, kMostQuote),
                                 .round = event.round,
                                 .client = event.client});
  text.pop_back();  // the end of the line
  const MutexLock lock(&mutex_);
  ++log_lines_;
  log_.push_back({Now(), event.severity, std::move(text)});
  if (log_.size() > kMostLogLines) log_.pop_front();
  Changed();
}

void LivePage::SetMoment(std::function<Moment()> moment) {
  const MutexLock lock(&moment_mutex_);
  moment_ = std::move(moment);
}

Moment LivePage::AskMoment() const {
  const MutexLock lock(&moment_mutex_);
  if (moment_ && SecondsSince(asked_at_) >= kMomentSeconds) {
    asked_ = moment_();
    asked_at_ = Clock::now();
  }
  return asked_;
}

std::string LivePage::MomentJson() const {
  const Moment moment = AskMoment();
  const MutexLock lock(&mutex_);
  const RoundInFlight& round = round_;
  std::map<std::string, int64_t> states;
  Json clients = Json::array();
  if (round.cohort.size() <= kMostClients) {
    for (const ClientId client : round.cohort) {
      std::string state = "training";
      if (const auto known = moment.clients.find(client); known != moment.clients.end()) {
        state = known->second == "idle" || known->second == "done" ? "waiting" : known->second;
      }
      if (const auto answer = round.answered.find(client); answer != round.answered.end())
        state = answer->second ? "accepted" : "failed";
      ++states[state];
      clients.push_back(Json::array({client, state}));
    }
  } else {
    states = {{"accepted", round.accepted}, {"failed", round.failed}};
    const auto asked = static_cast<int64_t>(round.cohort.size());
    states["training"] = asked - round.accepted - round.failed;
  }
  const bool in_flight = round.round >= 0 && !round.committed && failed_.empty();
  std::string phase = moment.phase;
  if (!finished_.empty() || !failed_.empty()) {
    phase = finished_.empty() ? "failed" : "finished";
  } else if (phase.empty()) {
    phase = in_flight ? "train" : "waiting";
  }
  return Dump({{"phase", phase},
               {"committed", committed_rounds_},
               {"round", round.round < 0 ? Json(nullptr) : Json(round.round + 1)},
               {"in_flight", in_flight},
               {"reason", round.reason},
               {"asked", round.cohort.size()},
               {"accepted", round.accepted},
               {"failed", round.failed},
               {"states", states},
               {"clients", clients},
               {"connected", moment.connected.empty() ? Json(nullptr) : Json(moment.connected)},
               {"upload_bytes", totals_.upload_bytes},
               {"download_bytes", totals_.download_bytes},
               {"trainings", totals_.client_trainings}});
}

std::string LivePage::Changes(PageCursor& cursor) const {
  std::string moment = MomentJson();
  Json json = Json::object();
  if (cursor.version < 0) json["whole"] = true;
  {
    const MutexLock lock(&mutex_);
    cursor.version = version_;
    if (cursor.run != run_version_) {
      cursor.run = run_version_;
      json["run"] = {
          {"name", run_.name},       {"version", muster_version_},    {"rounds", run_.rounds},
          {"clients", run_.clients}, {"parameters", run_.parameters}, {"first_round", run_.first_round},
          {"finished", finished_},   {"steerable", steerable_}};
    }
    if (rounds_.IsNewTo(cursor.rounds)) json["rounds"] = NewPoints(rounds_, cursor.rounds);
    if (tests_.IsNewTo(cursor.tests)) json["tests"] = NewPoints(tests_, cursor.tests);
    if (search_ && cursor.search != search_version_) {
      cursor.search = search_version_;
      Json candidates = Json::array();
      for (const Candidate& candidate : search_->candidates) {
        if (candidates.size() < kMostCandidates)
          candidates.push_back(Json::array({candidate.clients, Number(candidate.loss)}));
      }
      json["search"] = {{"round", search_round_ + 1}, {"reference", Number(search_->reference_loss)},
                        {"candidates", candidates},   {"found", search_->found},
                        {"chosen", search_->chosen},  {"previous", search_->previous}};
    }
    if (cursor.failures != failures_version_) {
      cursor.failures = failures_version_;
      Json last = Json::array();
      for (const Failure& f : failures_) {
        last.push_back({{"round", f.round + 1},
                        {"client", f.failure.client},
                        {"stage", f.failure.stage},
                        {"code", f.failure.code},
                        {"message", f.failure.message}});
      }
      json["failures"] = {{"total", failures_total_}, {"last", last}};
    }
    if (cursor.log != log_lines_) {
      const int64_t oldest = log_lines_ - static_cast<int64_t>(log_.size());
      const int64_t first = std::max(cursor.log, oldest);
      Json lines = Json::array();
      for (int64_t i = first; i < log_lines_; ++i) {
        const LogLineShown& line = log_[static_cast<size_t>(i - oldest)];
        lines.push_back(Json::array({line.time, SeverityName(line.severity), line.text}));
      }
      json["log"] = std::move(lines);
      cursor.log = log_lines_;
    }
  }
  if (moment != cursor.moment) {
    json["now"] = Json::parse(moment);
    cursor.moment = std::move(moment);
  }
  return json.empty() ? "" : Dump(json);
}

std::optional<std::string> LivePage::Next(PageCursor& cursor) const {
  const Clock::time_point start = Clock::now();
  while (true) {
    bool closed = false;
    {
      const MutexLock lock(&mutex_);
      while (!closed_) {
        const double early = kMessageSeconds - SecondsSince(cursor.sent);
        if (early > 0) {
          closing_.WaitFor(&mutex_, early);  // events in the meantime wake nobody
        } else if (cursor.version == version_) {
          // The moment changes without a word: it is looked at now and then.
          changed_.WaitFor(&mutex_, kMomentSeconds);
          break;
        } else {
          break;
        }
      }
      closed = closed_;
    }
    std::string message = Changes(cursor);
    if (!message.empty()) {
      cursor.sent = Clock::now();
      return message;
    }
    if (closed) return std::nullopt;
    if (SecondsSince(start) >= kSilentSeconds) return "";
  }
}

void LivePage::Close() {
  SetMoment(nullptr);
  const MutexLock lock(&mutex_);
  closed_ = true;
  changed_.NotifyAll();
  closing_.NotifyAll();
}

}  // namespace muster
