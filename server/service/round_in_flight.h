// The bookkeeping of one round: what every client of the cohort is doing, who may upload, and which answers
// wait to be given to the engine.
#ifndef MUSTER_SERVER_SERVICE_ROUND_IN_FLIGHT_H_
#define MUSTER_SERVER_SERVICE_ROUND_IN_FLIGHT_H_

#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <variant>

#include "core/status.h"
#include "muster/v1/federation.pb.h"
#include "server/rounds/client_pool.h"
#include "server/service/client_link.h"
#include "server/service/update_spool.h"

namespace muster {

// What a client of the cohort is at.
enum class Activity {
  kAway,       // not connected
  kOffered,    // has the task, has not said a word
  kTraining,   // has accepted
  kReady,      // has an update and waits for a permit
  kUploading,  // has a permit
  kAnswered,   // its answer, update or failure, is complete
};
const char* ActivityName(Activity activity);  // as in control.proto

struct RoundRules {
  int64_t upload_permits = 4;
  int64_t max_update_bytes = 0;  // of the payload and all extras
  double grace_seconds = 30;     // a client may be away
  double deadline_seconds = 0;   // 0: none
  double patience_seconds = 15;  // an upload may make no progress before it loses its permit
};

// A client that loses its permit that often has failed.
inline constexpr int kMaxStalls = 3;
// So many uploads without the right hash are one too many.
inline constexpr int kMaxDamaged = 2;
// What counts as progress of an upload over `patience_seconds`.
inline constexpr int64_t kProgressBytes = 4096;

// The answer of one client.
struct Answer {
  ClientId client = 0;
  std::variant<ClientFailure, SpooledUpdate> outcome;
};

// Exactly one answer per client of the cohort comes out of it, whatever clients do. Not thread-safe. Times
// are seconds of one steady clock.
class RoundInFlight {
 public:
  // `offer` lacks the seconds left, which are filled in when it is sent. Bytes in its blobs go once to each
  // client that takes so many. All are away at first.
  RoundInFlight(v1::Offer offer, std::span<const ClientId> cohort, const RoundRules& rules, double now);

  int64_t round() const { return offer_.round(); }
  const RoundRules& rules() const { return rules_; }
  bool Has(ClientId client) const { return members_.contains(client); }
  Activity activity(ClientId client) const { return members_.at(client).activity; }
  int64_t size() const { return static_cast<int64_t>(members_.size()); }
  // Clients whose answers are not complete.
  int64_t open() const { return open_; }

  // What happens to a client of the cohort.
  void Arrive(ClientId client, std::shared_ptr<ClientLink> link, int64_t max_inline_bytes, double now);
  void Vanish(ClientId client, double now);
  void Accept(ClientId client);
  void Ready(ClientId client, const v1::Ready& ready, double now);
  // Its update is spooled, by this process or by one before.
  void Complete(ClientId client, SpooledUpdate update, double now);
  // No update will come of it. A client that has answered stays as it is.
  void Fail(ClientId client, const std::string& stage, const absl::Status& why, double now);
  // The same for all that have not answered.
  void FailOpen(const std::string& stage, const absl::Status& why, double now);
  // Time has passed: whoever was away or silent for too long fails.
  void Advance(double now);

  // Where the client's update goes; nullptr if all of it is here already. UNAVAILABLE without a permit;
  // NOT_FOUND if its answer is in; INVALID_ARGUMENT or RESOURCE_EXHAUSTED for a header that makes no sense or
  // is not what was announced.
  absl::StatusOr<std::shared_ptr<IncomingUpdate>> Upload(const v1::UploadHeader& header,
                                                         const UpdateSpool& spool);
  // Where an update goes that has come at once, in `size` bytes; nullptr if the client's answer is in: it is
  // told what became of that. INVALID_ARGUMENT or RESOURCE_EXHAUSTED for a header that makes no sense.
  absl::StatusOr<std::shared_ptr<IncomingUpdate>> Submit(const v1::UploadHeader& header, int64_t size,
                                                         const UpdateSpool& spool, double now);
  // The bytes that are here of the update; errors as Upload, but no permit is needed.
  absl::StatusOr<int64_t> UploadOffset(const v1::UploadHeader& header, const UpdateSpool& spool);
  // A whole upload did not have its hash. Once may be an accident of this side's disk; twice is the client's
  // failure.
  void Damaged(ClientId client, const absl::Status& why, double now);

  void Downloaded(ClientId client, int64_t bytes) { members_.at(client).download_bytes += bytes; }
  int64_t download_bytes(ClientId client) const { return members_.at(client).download_bytes; }
  std::optional<Answer> NextAnswer();
  bool has_answer() const { return !answers_.empty(); }
  // The last word on a client's update, sent now and whenever it asks again.
  void Settle(ClientId client, const v1::Settled& settled);
  const std::map<ClientId, v1::Settled>& settled() const { return settled_; }

 private:
  struct Member {
    Activity activity = Activity::kAway;
    std::shared_ptr<ClientLink> link;
    double away_since = 0;
    // The update it announced, and as much of it as has come.
    int64_t announced_size = 0;
    std::string announced_sha256;
    std::shared_ptr<IncomingUpdate> upload;
    double progress_at = 0;  // while uploading: when `progress` bytes had come
    int64_t progress = 0;
    int stalls = 0;
    int damaged = 0;
    bool complete = false;  // all of the announced update is here
    bool offered = false;   // has been sent the offer with its bytes
    int64_t download_bytes = 0;
  };

  void Answered(ClientId client, Member& member, std::variant<ClientFailure, SpooledUpdate> outcome,
                double now);
  // The update that `member` is about to send. Bytes of another one are none of it.
  void Announce(ClientId client, Member& member, int64_t size, const std::string& sha256, double now);
  // Sends what became of its update to a client that has answered.
  void TellFate(ClientId client);
  // Takes the permit, or the place in the queue for one, away.
  void StopUpload(ClientId client, Member& member, double now);
  void GrantPermits(double now);
  void SendPermit(Member& member) const;
  absl::Status CheckUpload(const v1::UploadHeader& header) const;
  absl::StatusOr<std::shared_ptr<IncomingUpdate>> Incoming(Member& member, const v1::UploadHeader& header,
                                                           const UpdateSpool& spool);

  const v1::Offer offer_;  // without bytes
  const v1::Offer whole_;
  const int64_t inline_bytes_;  // of whole_
  const RoundRules rules_;
  const double started_;
  std::map<ClientId, Member> members_;
  int64_t open_ = 0;
  int64_t permits_out_ = 0;
  std::deque<ClientId> waiting_;  // for permits
  std::deque<Answer> answers_;
  std::map<ClientId, v1::Settled> settled_;
};

// Settled for an update that was taken into the round, or refused.
v1::Settled Accepted(int64_t round);
v1::Settled Refused(int64_t round, const absl::Status& why);

}  // namespace muster

#endif  // MUSTER_SERVER_SERVICE_ROUND_IN_FLIGHT_H_
