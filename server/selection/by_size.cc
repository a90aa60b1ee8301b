// Clients with more samples are drawn more often.
#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "server/selection/selector.h"

namespace muster {
namespace {

// Successive draws without replacement, each with probability proportional to num_samples among those left,
// in one pass: the client with the largest u^(1/w) comes first, and so on (Efraimidis and Spirakis 2006,
// algorithm A). Keys are logarithms, log(u) / w, which do not underflow. Clients without samples come after
// all others, equally likely.
class BySize final : public Selector {
 public:
  absl::StatusOr<std::vector<ClientId>> Select(int64_t count, std::span<const ClientInfo> candidates,
                                               Random& random) const override {
    const auto available = static_cast<int64_t>(candidates.size());
    if (count < 0 || count > available) {
      return InternalError(absl::StrCat("cannot select ", count, " of ", available, " clients"));
    }
    struct Ticket {
      bool empty;
      double key;  // <= 0, larger is earlier
      ClientId id;
    };
    std::vector<Ticket> tickets;
    tickets.reserve(candidates.size());
    for (const ClientInfo& client : candidates) {
      const double log_u = std::log(1 - random.Uniform());  // u in (0, 1]
      const bool empty = client.num_samples <= 0;
      tickets.push_back({empty, empty ? log_u : log_u / static_cast<double>(client.num_samples), client.id});
    }
    const auto earlier = [](const Ticket& a, const Ticket& b) {
      if (a.empty != b.empty) return b.empty;
      if (a.key != b.key) return a.key > b.key;
      return a.id < b.id;
    };
    std::partial_sort(tickets.begin(), tickets.begin() + count, tickets.end(), earlier);
    std::vector<ClientId> selected;
    selected.reserve(static_cast<size_t>(count));
    for (int64_t i = 0; i < count; ++i) selected.push_back(tickets[static_cast<size_t>(i)].id);
    return selected;
  }
};

MUSTER_REGISTER(Selector,
                Plugin("by_size", "Probability proportional to the client's samples, without replacement",
                       "Efraimidis and Spirakis 2006, algorithm A")
                    .Make<BySize>());

}  // namespace
}  // namespace muster
