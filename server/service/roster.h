// Who belongs to the federation: identities, their numbers, and which of them are connected.
#ifndef MUSTER_SERVER_SERVICE_ROSTER_H_
#define MUSTER_SERVER_SERVICE_ROSTER_H_

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/status.h"
#include "server/journal/journal.h"
#include "server/rounds/client_pool.h"
#include "server/service/client_link.h"

namespace muster {

// Times are seconds of one steady clock.
struct Participant {
  ClientId number = 0;
  int64_t num_samples = 0;
  std::shared_ptr<const std::vector<int64_t>> labels;  // its samples by class; nullptr: not told
  std::string identity;
  bool left = false;       // said so; a vanished one has not
  bool dismissed = false;  // has heard the coordinator's goodbye

  std::shared_ptr<ClientLink> link;  // nullptr: away
  std::string client_version;
  int64_t max_inline_bytes = 0;  // it takes within an offer
  double connected_at = 0;
  double heard_at = 0;
  double told_at = 0;     // when something was last sent
  double away_since = 0;  // if there is no link

  std::optional<size_t> entry;  // of the journal; none before Recorded
};

// What a number binding is journalled as: fact "client/ENTRY".
struct BindingFact {
  std::string key;
  std::string value;
};

// The same identity has the same number for the life of a run. Not thread-safe.
class Roster {
 public:
  // Numbers are 0 .. clients - 1.
  explicit Roster(int64_t clients) : clients_(clients) {}

  // Takes over the bindings of the journal; all are away since `now`, as the coordinator has not seen them
  // yet.
  absl::Status Load(Journal& journal, double now);

  // The participant with this identity, made if it is new; `wanted` is the number it asks for, if any. The
  // caller journals Fact(participant), then calls Recorded, before it tells anyone the number.
  // INVALID_ARGUMENT: no such number. PERMISSION_DENIED: the number is another identity's.
  // FAILED_PRECONDITION: the identity has another number. RESOURCE_EXHAUSTED: the federation is full.
  absl::StatusOr<Participant*> Bind(const std::string& identity, std::optional<ClientId> wanted);
  // One at a time: the next Fact of another new participant only after Recorded.
  BindingFact Fact(const Participant& participant) const;
  void Recorded(Participant& participant);

  Participant* Find(ClientId number);
  Participant* Find(const std::string& identity);
  Participant* Find(const ClientLink* link);
  void Connect(Participant& participant, std::shared_ptr<ClientLink> link, double now);
  void Disconnect(Participant& participant, double now);

  // Those that are connected, or away for less than `grace_seconds` without having left; ascending by number.
  std::vector<ClientInfo> Present(double now, double grace_seconds) const;
  int64_t connected() const { return static_cast<int64_t>(by_link_.size()); }
  const std::map<ClientId, Participant>& participants() const { return participants_; }
  std::map<ClientId, Participant>& participants() { return participants_; }

 private:
  const int64_t clients_;
  std::map<ClientId, Participant> participants_;
  std::map<std::string, ClientId, std::less<>> by_identity_;
  std::map<const ClientLink*, ClientId> by_link_;
  size_t next_entry_ = 0;
  ClientId lowest_free_ = 0;  // no number below it is free
};

}  // namespace muster

#endif  // MUSTER_SERVER_SERVICE_ROSTER_H_
