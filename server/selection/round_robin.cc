// Clients take turns.
#include <algorithm>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "server/selection/draw.h"
#include "server/selection/selector.h"

namespace muster {
namespace {

// Goes on behind the client asked last, by id, and from the start again. No chance in it.
class RoundRobin final : public Selector {
 public:
  absl::StatusOr<std::vector<ClientId>> Select(int64_t count, std::span<const ClientInfo> candidates,
                                               Random& /*random*/) const override {
    MUSTER_RETURN_IF_ERROR(CheckCount(count, candidates.size()));
    const auto next = std::upper_bound(candidates.begin(), candidates.end(), last_,
                                       [](ClientId id, const ClientInfo& client) { return id < client.id; });
    const auto start = static_cast<size_t>(next - candidates.begin());
    std::vector<ClientId> selected;
    for (size_t i = 0; i < static_cast<size_t>(count); ++i) {
      selected.push_back(candidates[(start + i) % candidates.size()].id);
    }
    return selected;
  }

  void Observe(const SelectorRound& round) override {
    // A cohort that reaches over the end has ids up to last_, too; the turn ended with the largest of those.
    ClientId wrapped = -1, largest = last_;
    for (const ClientInfo& client : round.cohort) {
      if (client.id <= last_) wrapped = client.id;
      largest = std::max(largest, client.id);
    }
    last_ = wrapped >= 0 ? wrapped : largest;
  }

  std::string Save() const override { return absl::StrCat(last_); }
  absl::Status Load(const std::string& state) override {
    ClientId last = 0;
    if (!absl::SimpleAtoi(state, &last) || last < -1) return InvalidInput("the selector's state is damaged");
    last_ = last;
    return absl::OkStatus();
  }

 private:
  ClientId last_ = -1;
};

MUSTER_REGISTER(
    Selector,
    Plugin("round_robin", "In turn, by number: no client is asked twice before all were").Make<RoundRobin>());

}  // namespace
}  // namespace muster
