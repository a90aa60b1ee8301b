#include "server/service/roster.h"

#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"

namespace muster {
namespace {

std::string Key(size_t entry) { return absl::StrCat("client/", entry); }

// Samples by class as one word: "12,0,7"; "-" where the client did not tell.
std::string LabelsWord(const Participant& participant) {
  return participant.labels ? absl::StrJoin(*participant.labels, ",") : "-";
}
bool ReadLabels(const std::string& word, Participant& participant) {
  if (word == "-") return true;
  std::vector<int64_t> labels;
  for (const std::string& count : std::vector<std::string>(absl::StrSplit(word, ','))) {
    if (!absl::SimpleAtoi(count, &labels.emplace_back())) return false;
  }
  participant.labels = std::make_shared<const std::vector<int64_t>>(std::move(labels));
  return true;
}

}  // namespace

absl::Status Roster::Load(Journal& journal, double now) {
  for (size_t entry = 0;; ++entry) {
    MUSTER_ASSIGN_OR_RETURN(const std::optional<std::string> fact, journal.Get(Key(entry)));
    if (!fact) return absl::OkStatus();
    const std::vector<std::string> parts = absl::StrSplit(*fact, absl::MaxSplits(' ', 4));
    Participant participant;
    participant.entry = entry;
    if (parts.size() != 5 || !absl::SimpleAtoi(parts[0], &participant.number) ||
        !absl::SimpleAtoi(parts[1], &participant.num_samples) || !ReadLabels(parts[2], participant)) {
      return InternalError(absl::StrCat("journal: '", Key(entry), "' is damaged"));
    }
    participant.left = parts[3] == "left";
    participant.identity = parts[4];
    participant.away_since = now;
    by_identity_[participant.identity] = participant.number;
    participants_[participant.number] = std::move(participant);
    next_entry_ = entry + 1;
  }
}

absl::StatusOr<Participant*> Roster::Bind(const std::string& identity, std::optional<ClientId> wanted) {
  if (Participant* known = Find(identity); known != nullptr) {
    if (wanted && *wanted != known->number) {
      return absl::FailedPreconditionError(absl::StrCat("'", identity, "' is client ", known->number,
                                                        " of this federation and cannot become client ",
                                                        *wanted));
    }
    return known;
  }
  if (wanted) {
    if (*wanted < 0 || *wanted >= clients_) {
      return InvalidInput(absl::StrCat("there is no client ", *wanted, ": the federation's numbers are 0 to ",
                                       clients_ - 1, " (data.clients)"));
    }
    if (const Participant* other = Find(*wanted); other != nullptr) {
      return absl::PermissionDeniedError(absl::StrCat("client ", *wanted, " is '", other->identity,
                                                      "' in this federation, not '", identity, "'"));
    }
  } else {
    while (participants_.contains(lowest_free_)) ++lowest_free_;
    if (lowest_free_ >= clients_) {
      return absl::ResourceExhaustedError(
          absl::StrCat("the federation is full: it has ", clients_, " clients (data.clients)"));
    }
    wanted = lowest_free_;
  }
  Participant& made = participants_[*wanted];
  made.number = *wanted;
  made.identity = identity;
  made.left = true;  // until it is connected
  by_identity_[identity] = *wanted;
  return &made;
}

BindingFact Roster::Fact(const Participant& participant) const {
  return {Key(participant.entry.value_or(next_entry_)),
          absl::StrCat(participant.number, " ", participant.num_samples, " ", LabelsWord(participant), " ",
                       participant.left ? "left" : "in", " ", participant.identity)};
}

void Roster::Recorded(Participant& participant) {
  if (!participant.entry) participant.entry = next_entry_++;
}

Participant* Roster::Find(ClientId number) {
  const auto found = participants_.find(number);
  return found == participants_.end() ? nullptr : &found->second;
}

Participant* Roster::Find(const std::string& identity) {
  const auto found = by_identity_.find(identity);
  return found == by_identity_.end() ? nullptr : Find(found->second);
}

Participant* Roster::Find(const ClientLink* link) {
  const auto found = by_link_.find(link);
  return found == by_link_.end() ? nullptr : Find(found->second);
}

void Roster::Connect(Participant& participant, std::shared_ptr<ClientLink> link, double now) {
  by_link_[link.get()] = participant.number;
  participant.link = std::move(link);
  participant.left = false;
  participant.connected_at = participant.heard_at = participant.told_at = now;
}

void Roster::Disconnect(Participant& participant, double now) {
  by_link_.erase(participant.link.get());
  participant.link = nullptr;
  participant.away_since = now;
}

std::vector<ClientInfo> Roster::Present(double now, double grace_seconds) const {
  std::vector<ClientInfo> present;
  for (const auto& [number, participant] : participants_) {
    const bool counts =
        participant.link != nullptr || (!participant.left && now - participant.away_since < grace_seconds);
    if (counts) {
      present.push_back({.id = number, .num_samples = participant.num_samples, .labels = participant.labels});
    }
  }
  return present;
}

}  // namespace muster
