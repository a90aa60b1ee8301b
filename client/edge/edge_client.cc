#include "client/edge/edge_client.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cmath>
#include <filesystem>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "client/edge/backoff.h"
#include "client/edge/connection.h"
#include "client/edge/explain.h"
#include "client/edge/mailbox.h"
#include "client/edge/task.h"
#include "client/edge/transfer.h"
#include "core/hash.h"
#include "core/transport/chunk.h"

namespace muster {
namespace edge {
namespace {

using Clock = Connection::Clock;

constexpr int64_t kLeastChunkBytes = 4 << 10;
constexpr double kFatePeriods = 2;  // of heartbeats
constexpr char kUnknownTask[] = "NOT_FOUND";

Clock::time_point After(double seconds) {
  return Clock::now() + std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(seconds));
}

// What the jobs report.
struct Downloaded {
  grpc::Status status;
};
struct Trained {
  std::optional<v1::Failed> failure;
};
struct Uploaded {
  grpc::Status status;
};
using Report = std::variant<Downloaded, Trained, Uploaded>;
struct JobEnd {
  int64_t job = 0;
  Report report;
};
using Happening = std::variant<StreamEvent, JobEnd>;

// Where the client is with its task. Transfers live within a session: when it is lost, a download waits for
// the offer to be repeated, an upload for a new permit. Training goes on.
enum class Phase {
  kIdle,
  kDownloading,
  kTraining,
  // From here on the update is spooled.
  kReady,  // told the coordinator (or will, when the session is back), waits for the permit
  kUploading,
  kUploaded,  // waits to be settled
};

// A folder that one process uses at a time.
class FolderLock {
 public:
  FolderLock() = default;
  ~FolderLock() {
    if (file_ >= 0) ::close(file_);
  }
  FolderLock(const FolderLock&) = delete;
  FolderLock& operator=(const FolderLock&) = delete;

  absl::Status Take(const std::string& folder) {
    std::error_code error;
    std::filesystem::create_directories(folder, error);
    file_ = ::open((folder + "/lock").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (file_ < 0) {
      return InvalidInput(absl::StrCat("state folder '", folder, "': cannot be written to; choose another"));
    }
    if (::flock(file_, LOCK_EX | LOCK_NB) != 0) {
      return InvalidInput(absl::StrCat("state folder '", folder,
                                       "': another client uses it; give every client a folder of its own"));
    }
    return absl::OkStatus();
  }

 private:
  int file_ = -1;
};

// Everything but Stop belongs to Run's thread. One job (download, training, upload) at a time runs in a
// thread of its own: a download or a training has `task_` to itself, an upload reads its update.
class Client final : public EdgeClient {
 public:
  Client(Trainer& trainer, const ErrorFeedback& feedback, EdgeOptions options)
      : trainer_(trainer),
        feedback_(feedback),
        options_(std::move(options)),
        connection_(
            options_, [this] { return Join(); },
            [this](StreamEvent event) { mailbox_.Push(std::move(event)); }),
        retry_(options_.state_dir, options_.first_backoff_seconds, options_.most_backoff_seconds) {}
  ~Client() override { StopJob(); }

  absl::Status TakeFolder() { return lock_.Take(options_.state_dir); }

  absl::Status Run() override {
    while (!connection_.outcome() && failure_to_enter_.ok()) {
      if (stop_.load()) {
        connection_.Leave();
        StopJob();
        return absl::OkStatus();
      }
      if (auto happening = mailbox_.Wait(NextTimer())) {
        std::visit([this](auto& what) { On(what); }, *happening);
      }
      connection_.Tick();
      Tick();
    }
    StopJob();
    return failure_to_enter_.ok() ? *connection_.outcome() : failure_to_enter_;
  }

  void Stop() override {
    stop_.store(true);
    mailbox_.Wake();
  }

 private:
  Clock::time_point NextTimer() const {
    Clock::time_point next = connection_.next_timer();
    if (transfer_) next = std::min(next, stalled_at_);
    if (retry_at_) next = std::min(next, *retry_at_);
    if (fate_at_) next = std::min(next, *fate_at_);
    return std::min(next, progress_at_);
  }

  void Tick() {
    const auto now = Clock::now();
    if (transfer_ && now >= stalled_at_) {
      if (transfer_->moved() == moved_) transfer_->Cancel();
      moved_ = transfer_->moved();
      stalled_at_ = After(options_.stall_seconds);
    }
    if (retry_at_ && now >= *retry_at_) {
      retry_at_.reset();
      if (phase_ == Phase::kDownloading) StartDownload();
      if (phase_ == Phase::kReady) SendReady();
    }
    if (fate_at_ && now >= *fate_at_) End(false, "the coordinator does not say what became of the update");
    if (now >= progress_at_) {
      SendProgress();
      progress_at_ = After(connection_.heartbeat_seconds());
    }
  }

  // --- The session ---

  v1::Join Join() const {
    v1::Join join;
    join.set_num_samples(trainer_.num_samples());
    const std::vector<int64_t> histogram = trainer_.label_histogram();
    join.mutable_label_histogram()->Assign(histogram.begin(), histogram.end());
    join.set_layout_fingerprint(trainer_.layout().fingerprint);
    return join;
  }

  void On(StreamEvent& event) {
    const bool was_joined = connection_.joined();
    const auto message = connection_.Hear(std::move(event));
    if (was_joined && !connection_.joined()) SessionLost();
    if (!message) return;
    switch (message->message_case()) {
      case v1::ServerMessage::kWelcome:
        return Welcomed(message->welcome());
      case v1::ServerMessage::kOffer:
        return Offered(message->offer());
      case v1::ServerMessage::kPermit:
        if (phase_ == Phase::kReady && message->permit().round() == round_) StartUpload();
        return;
      case v1::ServerMessage::kCancel:
        if (phase_ != Phase::kIdle && message->cancel().round() == round_)
          End(false, message->cancel().reason());
        return;
      case v1::ServerMessage::kSettled:
        return Settled(message->settled());
      default:
        return;  // of a later version
    }
  }

  void SessionLost() {
    if (transfer_) transfer_->Cancel();
    offered_ = false;
    next_offer_.reset();
    retry_at_.reset();
    fate_at_.reset();
  }

  void Welcomed(const v1::Welcome& welcome) {
    failure_to_enter_ = Enter(welcome);
    if (!failure_to_enter_.ok()) return;
    max_inline_bytes_ = std::min(welcome.max_inline_bytes(), static_cast<int64_t>(kMaxInlineBytes));
    chunk_bytes_ =
        std::clamp(welcome.max_chunk_bytes(), kLeastChunkBytes, static_cast<int64_t>(kMaxChunkBytes));
    if (phase_ == Phase::kUploaded)
      phase_ = Phase::kReady;  // a coordinator that restarted says whether it has it
    if (phase_ == Phase::kReady) SendReady();
  }

  // Takes up the place that the coordinator gave, with what an earlier process left there.
  absl::Status Enter(const v1::Welcome& welcome) {
    if (task_ && federation_ == welcome.federation() && number_ == welcome.client()) return absl::OkStatus();
    StopJob();  // it was for a federation that is no more
    cancelled_.store(false);
    phase_ = Phase::kIdle;
    failure_.reset();
    federation_ = welcome.federation();
    number_ = welcome.client();
    // A peer's words are no file names; their hash is.
    const std::string name = Sha256Hex(absl::StrCat(federation_, "/", number_)).substr(0, 16);
    task_.reset();
    MUSTER_ASSIGN_OR_RETURN(task_, TaskFolder::Open(options_.state_dir + "/" + name, federation_, number_));
    if (task_->update()) {
      phase_ = Phase::kReady;
      round_ = task_->update()->header.round();
    }
    return absl::OkStatus();
  }

  // --- The task ---

  void Offered(const v1::Offer& offer) {
    if (const absl::Status status = CheckOffer(offer, trainer_.layout()); !status.ok()) {
      return Decline(offer.round(), Message(status));
    }
    if (phase_ == Phase::kIdle && !cancelled_.load()) return Begin(offer);
    if (phase_ == Phase::kIdle || offer.round() != round_) {
      // What is at hand is of no use any more, unless it is spooled and may have been taken: then its fate
      // comes first.
      next_offer_ = offer;
      if (phase_ == Phase::kDownloading || phase_ == Phase::kTraining) End(false, "another round began");
      if (phase_ >= Phase::kReady && unknown_)
        return End(false, "the coordinator does not know the task any more");
      if (phase_ >= Phase::kReady) fate_at_ = After(kFatePeriods * connection_.heartbeat_seconds());
      return;
    }
    Accept(offer);
    if (phase_ == Phase::kDownloading && !job_running_) StartDownload();
    if (phase_ == Phase::kReady) SendReady();
  }

  void Decline(int64_t round, const std::string& why) {
    v1::ClientMessage message;
    message.mutable_decline()->set_round(round);
    message.mutable_decline()->set_reason(why);
    connection_.Send(message);
    Tell(Warning{absl::StrCat("round ", round + 1, " declined: ", why)});
  }

  void Begin(const v1::Offer& offer) {
    round_ = offer.round();
    Accept(offer);
    if (failure_ && failure_->round() == round_) return SendFailure();  // the same task would fail again
    phase_ = Phase::kDownloading;
    StartDownload();
  }

  void Accept(const v1::Offer& offer) {
    offer_ = offer;
    offered_ = true;
    unknown_ = false;
    v1::ClientMessage message;
    message.mutable_accept()->set_round(round_);
    connection_.Send(message);
  }

  void StartDownload() {
    StartTransfer();
    StartJob([this, offer = offer_]() -> Report { return Downloaded{task_->Download(*transfer_, offer)}; });
  }

  void On(const Downloaded& download) {
    if (download.status.ok()) {
      retry_.Reset();
      return StartTraining();
    }
    if (!offered_) return;  // the session was lost: goes on when the task is offered again
    const auto code = download.status.error_code();
    if (IsPermanent(download.status) || code == grpc::StatusCode::NOT_FOUND ||
        code == grpc::StatusCode::RESOURCE_EXHAUSTED) {
      return Fail(Failure(round_, "download", CodeName(code), download.status.error_message()));
    }
    retry_at_ = After(retry_.NextSeconds());
  }

  void StartTraining() {
    phase_ = Phase::kTraining;
    steps_.store(0);
    told_steps_ = 0;
    const TaskFolder::Watch watch = {[this] { return cancelled_.load(); },
                                     [this](int64_t steps, double train_loss) {
                                       train_loss_.store(train_loss);
                                       steps_.store(steps);
                                     }};
    StartJob([this, watch, offer = offer_]() -> Report {
      return Trained{task_->Train(trainer_, feedback_, offer, watch)};
    });
  }

  void On(const Trained& trained) {
    if (trained.failure) return Fail(*trained.failure);
    const auto size = static_cast<int64_t>(task_->update()->bytes->bytes().size());
    if (connection_.joined() && size <= max_inline_bytes_) return Submit();
    phase_ = Phase::kReady;
    SendReady();
  }

  void SendProgress() {
    if (phase_ != Phase::kTraining || steps_.load() == told_steps_) return;
    v1::ClientMessage message;
    v1::Progress& progress = *message.mutable_progress();
    progress.set_round(round_);
    progress.set_steps(told_steps_ = steps_.load());
    progress.set_train_loss(train_loss_.load());
    connection_.Send(message);
  }

  void Fail(const v1::Failed& failure) {
    failure_ = failure;
    SendFailure();
    End(false, absl::StrCat(failure.stage(), ": ", failure.message()));
  }
  void SendFailure() {
    v1::ClientMessage message;
    *message.mutable_failed() = *failure_;
    connection_.Send(message);
  }

  void SendReady() {
    const FinishedUpdate& update = *task_->update();
    v1::ClientMessage message;
    v1::Ready& ready = *message.mutable_ready();
    ready.set_round(round_);
    ready.set_size(static_cast<int64_t>(update.bytes->bytes().size()));
    ready.set_content_sha256(update.header.content_sha256());
    connection_.Send(message);
  }

  // If the session breaks under it, Ready follows in the next one.
  void Submit() {
    const FinishedUpdate& update = *task_->update();
    v1::ClientMessage message;
    *message.mutable_submit()->mutable_header() = update.header;
    message.mutable_submit()->set_data(std::string(update.bytes->bytes()));
    connection_.Send(message);
    phase_ = Phase::kUploaded;
  }

  void StartUpload() {
    phase_ = Phase::kUploading;
    StartTransfer();
    StartJob([this, chunk = chunk_bytes_]() -> Report {
      return Uploaded{transfer_->Upload(task_->update()->header, task_->update()->bytes->bytes(), chunk)};
    });
  }

  void On(const Uploaded& upload) {
    if (upload.status.ok()) {
      retry_.Reset();
      phase_ = Phase::kUploaded;
      return;
    }
    phase_ = Phase::kReady;
    if (!connection_.joined()) return;
    const auto code = upload.status.error_code();
    if (code == grpc::StatusCode::NOT_FOUND || code == grpc::StatusCode::INVALID_ARGUMENT ||
        code == grpc::StatusCode::RESOURCE_EXHAUSTED) {
      return End(false, absl::StrCat("upload: ", CodeName(code), ": ", upload.status.error_message()));
    }
    // A link that breaks or stalls within a chunk may carry a smaller one.
    chunk_bytes_ = std::max(kLeastChunkBytes, chunk_bytes_ / 2);
    retry_at_ = After(retry_.NextSeconds());
  }

  void Settled(const v1::Settled& settled) {
    if (phase_ == Phase::kIdle || settled.round() != round_) return;
    if (!settled.accepted() && settled.code() == kUnknownTask && phase_ >= Phase::kReady) {
      // A coordinator that has restarted may not have come to the round yet: the next offer tells.
      phase_ = Phase::kReady;
      unknown_ = true;
      if (next_offer_) Offered(v1::Offer(*next_offer_));
      return;
    }
    End(settled.accepted(),
        settled.code().empty() ? settled.message() : absl::StrCat(settled.code(), ": ", settled.message()));
  }

  // The task is over, for better or worse.
  void End(bool accepted, const std::string& why) {
    RoundEnded ended;
    ended.round = round_;
    ended.accepted = accepted;
    ended.why = why;
    if (phase_ >= Phase::kReady) {
      if (const absl::Status status = task_->Remember(accepted); !status.ok()) {
        Tell(Warning{absl::StrCat("what the training remembers cannot be kept: ", Message(status))});
      }
      const v1::UploadHeader& header = task_->update()->header;
      ended.num_samples = header.num_samples();
      ended.steps = header.steps();
      ended.train_loss = header.train_loss();
      ended.seconds = header.seconds();
      ended.upload_bytes = static_cast<int64_t>(task_->update()->bytes->bytes().size());
    }
    phase_ = Phase::kIdle;
    retry_at_.reset();
    fate_at_.reset();
    Tell(ended);
    if (!job_running_) return Forget();
    cancelled_.store(true);  // Forget follows when the job has ended
    if (transfer_) transfer_->Cancel();
  }

  void Forget() {
    task_->Clear();
    cancelled_.store(false);
    const auto offer = std::exchange(next_offer_, std::nullopt);
    if (offer) Begin(*offer);
  }

  // --- The job ---

  template <typename Work>
  void StartJob(Work work) {
    if (job_.joinable()) job_.join();  // it has said its last word
    retry_at_.reset();
    job_running_ = true;
    job_ = std::thread([this, id = ++job_id_, work] { mailbox_.Push(JobEnd{id, work()}); });
  }
  void StartTransfer() {
    transfer_ = std::make_unique<Transfer>(connection_.transfers());
    moved_ = 0;
    stalled_at_ = After(options_.stall_seconds);
  }
  void On(JobEnd& end) {
    if (end.job != job_id_ || !job_running_) return;
    job_running_ = false;
    transfer_.reset();
    if (cancelled_.load()) return Forget();  // the task was over before
    std::visit([this](const auto& report) { On(report); }, end.report);
  }
  // What the job would still report is dropped.
  void StopJob() {
    const bool over = cancelled_.exchange(true) && job_running_;
    if (transfer_) transfer_->Cancel();
    if (job_.joinable()) job_.join();
    job_running_ = false;
    transfer_.reset();
    if (over) task_->Clear();  // its task was settled before
  }

  void Tell(const EdgeEvent& event) const {
    if (options_.on_event) options_.on_event(event);
  }

  Trainer& trainer_;
  const ErrorFeedback& feedback_;
  const EdgeOptions options_;
  FolderLock lock_;
  Mailbox<Happening> mailbox_;
  Connection connection_;
  std::atomic<bool> stop_{false};
  absl::Status failure_to_enter_;

  // The task.
  std::string federation_;
  int64_t number_ = -1;
  std::unique_ptr<TaskFolder> task_;  // from the first Welcome on
  Phase phase_ = Phase::kIdle;
  int64_t round_ = -1;
  v1::Offer offer_;
  bool unknown_ = false;  // the coordinator said that it does not know the spooled update's task
  bool offered_ = false;  // since the last welcome
  std::optional<v1::Offer> next_offer_;        // waits for what is at hand to be out of the way
  std::optional<v1::Failed> failure_;          // of the last task, if it failed
  std::optional<Clock::time_point> fate_at_;   // how long next_offer_ waits for the last update's fate
  std::optional<Clock::time_point> retry_at_;  // when a broken transfer is tried again
  Clock::time_point progress_at_;
  Backoff retry_;
  int64_t chunk_bytes_ = kLeastChunkBytes;
  int64_t max_inline_bytes_ = 0;

  // The job.
  std::thread job_;
  int64_t job_id_ = 0;
  bool job_running_ = false;
  std::atomic<bool> cancelled_{false};  // the task is over, and the job that still runs is to end
  std::unique_ptr<Transfer> transfer_;  // while the job transfers
  int64_t moved_ = 0;
  Clock::time_point stalled_at_;
  std::atomic<int64_t> steps_{0};
  std::atomic<double> train_loss_{0};
  int64_t told_steps_ = 0;
};

}  // namespace
}  // namespace edge

absl::StatusOr<std::unique_ptr<EdgeClient>> EdgeClient::Create(Trainer& trainer,
                                                               const ErrorFeedback& feedback,
                                                               EdgeOptions options) {
  MUSTER_RETURN_IF_ERROR(edge::CheckAddress(options.coordinator));
  if (options.state_dir.empty()) return InvalidInput("the client needs a state folder");
  auto client = std::make_unique<edge::Client>(trainer, feedback, std::move(options));
  MUSTER_RETURN_IF_ERROR(client->TakeFolder());
  return client;
}

std::string Describe(const EdgeEvent& event) {
  struct Words {
    std::string operator()(const Joined& joined) const {
      return absl::StrCat("joined ", joined.name, " as client ", joined.client);
    }
    std::string operator()(const Disconnected& lost) const {
      return absl::StrFormat("%s; trying again in %.1f s", lost.why, lost.retry_seconds);
    }
    std::string operator()(const RoundEnded& round) const {
      std::string words =
          absl::StrCat("round ", round.round + 1, ": ", round.accepted ? "accepted" : "not taken");
      if (!round.accepted && !round.why.empty()) absl::StrAppend(&words, " (", round.why, ")");
      if (round.num_samples == 0) return words;
      absl::StrAppendFormat(&words, "  %d samples  %d steps", round.num_samples, round.steps);
      if (!std::isnan(round.train_loss)) absl::StrAppendFormat(&words, "  train loss %.4f", round.train_loss);
      absl::StrAppendFormat(&words, "  %.1f s  up %d bytes", round.seconds, round.upload_bytes);
      return words;
    }
    std::string operator()(const Warning& warning) const { return absl::StrCat("warning: ", warning.text); }
  };
  return std::visit(Words(), event);
}

}  // namespace muster
