#include "server/service/round_in_flight.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "absl/strings/str_cat.h"

namespace muster {
namespace {

constexpr int kMaxExtras = 16;
constexpr size_t kMaxNameBytes = 64;
constexpr size_t kMaxHeaderBytes = size_t{1} << 20;

bool IsAnnounced(const v1::UploadHeader& header, int64_t size, const std::string& sha256) {
  return header.content_sha256() == sha256 && UploadSize(header) == size;
}

v1::Offer WithoutBytes(v1::Offer offer) {
  offer.mutable_model()->clear_data();
  for (auto& [name, vector] : *offer.mutable_vectors()) vector.clear_data();
  return offer;
}

int64_t InlineBytes(const v1::Offer& offer) {
  size_t bytes = offer.model().data().size();
  for (const auto& [name, vector] : offer.vectors()) bytes += vector.data().size();
  return static_cast<int64_t>(bytes);
}

}  // namespace

const char* ActivityName(Activity activity) {
  switch (activity) {
    case Activity::kAway:
      return "gone";
    case Activity::kOffered:
      return "offered";
    case Activity::kTraining:
      return "training";
    case Activity::kReady:
    case Activity::kUploading:
      return "uploading";
    case Activity::kAnswered:
      return "done";
  }
  return "";
}

v1::Settled Accepted(int64_t round) {
  v1::Settled settled;
  settled.set_round(round);
  settled.set_accepted(true);
  return settled;
}

v1::Settled Refused(int64_t round, const absl::Status& why) {
  v1::Settled settled;
  settled.set_round(round);
  settled.set_code(absl::StatusCodeToString(why.code()));
  settled.set_message(Message(why));
  return settled;
}

RoundInFlight::RoundInFlight(v1::Offer offer, std::span<const ClientId> cohort, const RoundRules& rules,
                             double now)
    : offer_(WithoutBytes(offer)),
      whole_(std::move(offer)),
      inline_bytes_(InlineBytes(whole_)),
      rules_(rules),
      started_(now) {
  for (const ClientId client : cohort) members_[client].away_since = now;
  open_ = static_cast<int64_t>(members_.size());
}

void RoundInFlight::Arrive(ClientId client, std::shared_ptr<ClientLink> link, int64_t max_inline_bytes,
                           double now) {
  Member& member = members_.at(client);
  member.link = std::move(link);
  if (member.activity == Activity::kAnswered) return;
  member.activity = Activity::kOffered;
  v1::ServerMessage message;
  // Once: the session of a client that comes back may have broken under the bytes.
  const bool whole = inline_bytes_ > 0 && inline_bytes_ <= max_inline_bytes && !member.offered;
  *message.mutable_offer() = whole ? whole_ : offer_;
  if (whole) member.download_bytes += inline_bytes_;
  member.offered = true;
  if (rules_.deadline_seconds > 0) {
    message.mutable_offer()->set_deadline_seconds(
        std::max(0.001, rules_.deadline_seconds - (now - started_)));
  }
  member.link->Send(std::move(message));
}

void RoundInFlight::Vanish(ClientId client, double now) {
  Member& member = members_.at(client);
  member.link = nullptr;
  member.away_since = now;
  if (member.activity == Activity::kAnswered) return;
  StopUpload(client, member, now);
  member.activity = Activity::kAway;
}

void RoundInFlight::Accept(ClientId client) {
  Member& member = members_.at(client);
  if (member.activity == Activity::kOffered) member.activity = Activity::kTraining;
}

void RoundInFlight::Ready(ClientId client, const v1::Ready& ready, double now) {
  Member& member = members_.at(client);
  if (member.activity == Activity::kAnswered) {
    return TellFate(client);
  }
  if (ready.size() > rules_.max_update_bytes) {
    return Fail(client, "upload",
                absl::ResourceExhaustedError(absl::StrCat("an update of ", ready.size(), " bytes; at most ",
                                                          rules_.max_update_bytes, " are taken")),
                now);
  }
  if (ready.size() <= 0 || ready.content_sha256().size() != 32) {
    return Fail(client, "upload", InvalidInput("an update is announced without a size or without its hash"),
                now);
  }
  Announce(client, member, ready.size(), ready.content_sha256(), now);
  if (member.activity == Activity::kUploading) return SendPermit(member);
  if (member.activity != Activity::kReady) waiting_.push_back(client);
  member.activity = Activity::kReady;
  GrantPermits(now);
}

void RoundInFlight::TellFate(ClientId client) {
  const auto settled = settled_.find(client);
  if (settled != settled_.end()) Settle(client, v1::Settled(settled->second));
}

void RoundInFlight::Announce(ClientId client, Member& member, int64_t size, const std::string& sha256,
                             double now) {
  if (member.announced_size == size && member.announced_sha256 == sha256) return;
  StopUpload(client, member, now);
  member.upload = nullptr;
  member.announced_size = size;
  member.announced_sha256 = sha256;
}

void RoundInFlight::SendPermit(Member& member) const {
  v1::ServerMessage message;
  message.mutable_permit()->set_round(round());
  member.link->Send(std::move(message));
}

void RoundInFlight::GrantPermits(double now) {
  while (permits_out_ < rules_.upload_permits && !waiting_.empty()) {
    Member& member = members_.at(waiting_.front());
    waiting_.pop_front();
    ++permits_out_;
    member.activity = Activity::kUploading;
    member.progress_at = now;
    member.progress = member.upload ? member.upload->received() : 0;
    SendPermit(member);
  }
}

void RoundInFlight::StopUpload(ClientId client, Member& member, double now) {
  if (member.upload) member.upload->Revoke();
  if (member.activity == Activity::kReady) {
    std::erase(waiting_, client);
    member.activity = Activity::kTraining;
  }
  if (member.activity != Activity::kUploading) return;
  --permits_out_;
  member.activity = Activity::kTraining;
  GrantPermits(now);
}

void RoundInFlight::Answered(ClientId client, Member& member,
                             std::variant<ClientFailure, SpooledUpdate> outcome, double now) {
  StopUpload(client, member, now);
  member.activity = Activity::kAnswered;
  member.upload = nullptr;
  --open_;
  answers_.push_back({client, std::move(outcome)});
}

void RoundInFlight::Complete(ClientId client, SpooledUpdate update, double now) {
  Member& member = members_.at(client);
  if (member.activity == Activity::kAnswered) return;
  member.complete = true;
  member.announced_size = UploadSize(update.header);
  member.announced_sha256 = update.header.content_sha256();
  Answered(client, member, std::move(update), now);
}

void RoundInFlight::Fail(ClientId client, const std::string& stage, const absl::Status& why, double now) {
  Member& member = members_.at(client);
  if (member.activity == Activity::kAnswered) return;
  Answered(
      client, member,
      ClientFailure{client, stage, absl::StatusCodeToString(why.code()), Message(why), member.download_bytes},
      now);
  const v1::Settled refused = Refused(round(), why);
  if (stage == "upload") return Settle(client, refused);
  settled_[client] = refused;  // for a client that comes with an update after all
  const bool own_word = stage != "deadline" && stage != "enough";
  if (own_word || member.link == nullptr) return;
  v1::ServerMessage message;
  message.mutable_cancel()->set_round(round());
  message.mutable_cancel()->set_reason(Message(why));
  member.link->Send(std::move(message));
}

void RoundInFlight::FailOpen(const std::string& stage, const absl::Status& why, double now) {
  for (auto& [client, member] : members_) Fail(client, stage, why, now);
}

void RoundInFlight::Advance(double now) {
  if (open_ > 0 && rules_.deadline_seconds > 0 && now - started_ >= rules_.deadline_seconds) {
    FailOpen("deadline",
             absl::DeadlineExceededError(absl::StrCat("no update within ", rules_.deadline_seconds, " s")),
             now);
  }
  for (auto& [client, member] : members_) {
    if (member.activity == Activity::kAway && now - member.away_since >= rules_.grace_seconds) {
      Fail(client, "gone",
           absl::UnavailableError(
               absl::StrCat("vanished and did not come back within ", rules_.grace_seconds, " s")),
           now);
    }
    if (member.activity != Activity::kUploading) continue;
    const int64_t received = member.upload ? member.upload->received() : 0;
    if (received - member.progress >= kProgressBytes) {
      member.progress = received;
      member.progress_at = now;
    }
    if (now - member.progress_at < rules_.patience_seconds) continue;
    if (++member.stalls >= kMaxStalls) {
      Fail(client, "upload",
           absl::DeadlineExceededError(absl::StrCat("the upload stalled ", member.stalls, " times, at byte ",
                                                    received, " of ", member.announced_size)),
           now);
      continue;
    }
    // Others first; it goes on where it stopped when its turn comes again.
    if (member.upload) member.upload->Revoke();
    --permits_out_;
    member.activity = Activity::kReady;
    waiting_.push_back(client);
    GrantPermits(now);
  }
}

absl::Status RoundInFlight::CheckUpload(const v1::UploadHeader& header) const {
  if (header.ByteSizeLong() > kMaxHeaderBytes) return InvalidInput("the upload's header is too large");
  if (header.content_sha256().size() != 32) return InvalidInput("the upload's hash does not have 32 bytes");
  if (header.extras_size() > kMaxExtras) return InvalidInput("the upload has too many extra payloads");
  int64_t left = rules_.max_update_bytes - header.payload_size();
  if (header.payload_size() <= 0) return InvalidInput("the upload has no payload");
  for (const v1::Part& part : header.extras()) {
    if (part.name().empty() || part.name().size() > kMaxNameBytes || part.size() <= 0) {
      return InvalidInput("an extra payload has no valid name or size");
    }
    left = part.size() > left ? -1 : left - part.size();
    if (left < 0) break;
  }
  if (left < 0) {
    return absl::ResourceExhaustedError(
        absl::StrCat("the update is larger than the ", rules_.max_update_bytes, " bytes that are taken"));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::shared_ptr<IncomingUpdate>> RoundInFlight::Incoming(Member& member,
                                                                        const v1::UploadHeader& header,
                                                                        const UpdateSpool& spool) {
  if (!IsAnnounced(header, member.announced_size, member.announced_sha256)) {
    return InvalidInput("the upload's size or hash is not what Ready announced");
  }
  if (!member.upload) {
    MUSTER_ASSIGN_OR_RETURN(member.upload, spool.Begin(header));
  }
  return member.upload;
}

absl::StatusOr<std::shared_ptr<IncomingUpdate>> RoundInFlight::Upload(const v1::UploadHeader& header,
                                                                      const UpdateSpool& spool) {
  Member& member = members_.at(header.client());
  MUSTER_RETURN_IF_ERROR(CheckUpload(header));
  if (member.complete && IsAnnounced(header, member.announced_size, member.announced_sha256)) return nullptr;
  if (member.activity == Activity::kAnswered)
    return absl::NotFoundError("the round has this client's answer already");
  if (member.activity != Activity::kUploading) {
    return absl::UnavailableError("this client has no permit to upload; say Ready and wait for it");
  }
  return Incoming(member, header, spool);
}

absl::StatusOr<std::shared_ptr<IncomingUpdate>> RoundInFlight::Submit(const v1::UploadHeader& header,
                                                                      int64_t size, const UpdateSpool& spool,
                                                                      double now) {
  const ClientId client = header.client();
  Member& member = members_.at(client);
  if (member.activity == Activity::kAnswered) {
    TellFate(client);
    return nullptr;
  }
  MUSTER_RETURN_IF_ERROR(CheckUpload(header));
  if (header.offset() != 0 || UploadSize(header) != size) {
    return InvalidInput(
        absl::StrCat(size, " bytes were submitted, which are not those that their header describes"));
  }
  StopUpload(client, member, now);
  Announce(client, member, size, header.content_sha256(), now);
  return Incoming(member, header, spool);
}

absl::StatusOr<int64_t> RoundInFlight::UploadOffset(const v1::UploadHeader& header,
                                                    const UpdateSpool& spool) {
  Member& member = members_.at(header.client());
  MUSTER_RETURN_IF_ERROR(CheckUpload(header));
  if (member.complete && IsAnnounced(header, member.announced_size, member.announced_sha256))
    return UploadSize(header);
  if (member.activity == Activity::kAnswered)
    return absl::NotFoundError("the round has this client's answer already");
  MUSTER_ASSIGN_OR_RETURN(const std::shared_ptr<IncomingUpdate> incoming, Incoming(member, header, spool));
  return incoming->received();
}

void RoundInFlight::Damaged(ClientId client, const absl::Status& why, double now) {
  if (++members_.at(client).damaged >= kMaxDamaged) Fail(client, "upload", why, now);
}

std::optional<Answer> RoundInFlight::NextAnswer() {
  if (answers_.empty()) return std::nullopt;
  Answer answer = std::move(answers_.front());
  answers_.pop_front();
  return answer;
}

void RoundInFlight::Settle(ClientId client, const v1::Settled& settled) {
  settled_[client] = settled;
  const std::shared_ptr<ClientLink>& link = members_.at(client).link;
  if (link == nullptr) return;
  v1::ServerMessage message;
  *message.mutable_settled() = settled;
  link->Send(std::move(message));
}

}  // namespace muster
