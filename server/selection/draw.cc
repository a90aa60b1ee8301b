#include "server/selection/draw.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"

namespace muster {

absl::Status CheckCount(int64_t count, size_t available) {
  if (count >= 0 && count <= static_cast<int64_t>(available)) return absl::OkStatus();
  return InternalError(absl::StrCat("cannot select ", count, " of ", available, " clients"));
}

// In one pass: the place with the largest u^(1/w) comes first, and so on (Efraimidis and Spirakis 2006,
// algorithm A). Keys are logarithms, log(u) / w, which do not underflow.
std::vector<size_t> DrawWeighted(int64_t count, std::span<const double> weights, Random& random) {
  struct Ticket {
    bool empty;
    double key;  // <= 0, larger is earlier
    size_t place;
  };
  std::vector<Ticket> tickets;
  tickets.reserve(weights.size());
  for (size_t place = 0; place < weights.size(); ++place) {
    const double log_u = std::log(1 - random.Uniform());  // u in (0, 1]
    const bool empty = weights[place] <= 0;
    tickets.push_back({empty, empty ? log_u : log_u / weights[place], place});
  }
  const auto earlier = [](const Ticket& a, const Ticket& b) {
    if (a.empty != b.empty) return b.empty;
    if (a.key != b.key) return a.key > b.key;
    return a.place < b.place;
  };
  std::partial_sort(tickets.begin(), tickets.begin() + count, tickets.end(), earlier);
  std::vector<size_t> drawn;
  drawn.reserve(static_cast<size_t>(count));
  for (int64_t i = 0; i < count; ++i) drawn.push_back(tickets[static_cast<size_t>(i)].place);
  return drawn;
}

std::vector<ClientId> IdsAt(std::span<const size_t> places, std::span<const ClientInfo> candidates) {
  std::vector<ClientId> ids;
  ids.reserve(places.size());
  for (const size_t place : places) ids.push_back(candidates[place].id);
  return ids;
}

}  // namespace muster
