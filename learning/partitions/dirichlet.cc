// Label skew by a Dirichlet distribution: for every class, the shares of the clients are a point of the
// symmetric Dirichlet(alpha) on the simplex of clients, and the class's shuffled samples are cut at the
// cumulated shares (Yurochkin et al. 2019, arXiv:1905.12022; Li et al. 2022, arXiv:2102.02079, section IV;
// the same idea as Hsu et al. 2019, arXiv:1909.06335, who draw the classes' shares of a client). Small alpha:
// few classes, unequal sizes.
#include <algorithm>

#include "absl/strings/str_cat.h"
#include "core/random.h"
#include "learning/partitions/dealing.h"

namespace muster {
namespace {

// Draws before a minimum per client is given up; fewer where a draw is long.
uint64_t MaxDraws(int64_t clients, size_t classes) {
  return std::clamp<uint64_t>(100'000'000 / (static_cast<uint64_t>(clients) * classes), 10, 1000);
}

struct DirichletOptions {
  double alpha = 0.3;
  int64_t min_per_client = 0;
};

// Where the samples of one class are cut: client i takes [cuts[i], cuts[i + 1]).
std::vector<int64_t> Cuts(const std::vector<double>& shares, int64_t samples) {
  std::vector<int64_t> cuts = {0};
  double sum = 0;
  for (const double share : shares) {
    sum += share;
    cuts.push_back(std::min(samples, static_cast<int64_t>(sum * static_cast<double>(samples))));
  }
  cuts.back() = samples;  // whatever the rounding of the sum
  return cuts;
}

class Dirichlet final : public Partitioner {
 public:
  explicit Dirichlet(const DirichletOptions& options) : options_(options) {}

  absl::StatusOr<Partition> Split(const Dataset& data, int64_t clients, uint64_t seed) const override {
    MUSTER_ASSIGN_OR_RETURN(std::vector<std::vector<uint32_t>> classes, SamplesByClass(data));
    MUSTER_RETURN_IF_ERROR(RequireSamples(data, clients, std::max<int64_t>(1, options_.min_per_client)));
    const uint64_t max_draws = MaxDraws(clients, classes.size());
    for (uint64_t draw = 0; draw < max_draws; ++draw) {
      std::vector<Random> randoms;
      std::vector<std::vector<int64_t>> cuts;
      std::vector<int64_t> sizes(clients);
      for (size_t c = 0; c < classes.size(); ++c) {
        Random& random = randoms.emplace_back(RandomKey{seed, Purpose::kPartition, draw, c});
        cuts.push_back(Cuts(random.Dirichlet(options_.alpha, static_cast<int>(clients)),
                            static_cast<int64_t>(classes[c].size())));
        for (int64_t client = 0; client < clients; ++client)
          sizes[client] += cuts[c][client + 1] - cuts[c][client];
      }
      if (*std::min_element(sizes.begin(), sizes.end()) < options_.min_per_client) continue;

      std::vector<std::vector<uint32_t>> dealt(clients);
      for (size_t c = 0; c < classes.size(); ++c) {
        randoms[c].Shuffle(std::span(classes[c]));
        for (int64_t client = 0; client < clients; ++client) {
          dealt[client].insert(dealt[client].end(), classes[c].begin() + cuts[c][client],
                               classes[c].begin() + cuts[c][client + 1]);
        }
      }
      return SortedPartition(std::move(dealt));
    }
    return InvalidInput(absl::StrCat("data.partition: in ", max_draws, " draws of Dirichlet(", options_.alpha,
                                     ") some client always had fewer than ", options_.min_per_client,
                                     " of the ", data.size(),
                                     " samples; raise alpha, or lower min_per_client or data.clients"));
  }

 private:
  const DirichletOptions options_;
};

MUSTER_REGISTER(
    Partitioner,
    Plugin<DirichletOptions>("dirichlet",
                             "Label skew: every class is shared out by a draw of Dirichlet(alpha)",
                             "Yurochkin et al. 2019, arXiv:1905.12022; Li et al. 2022, arXiv:2102.02079")
        .Option("alpha", &DirichletOptions::alpha, "concentration: small is skewed, large is nearly iid",
                Above(0))
        .Option("min_per_client", &DirichletOptions::min_per_client,
                "draw anew until every client has this many samples; 0: a client may have none", AtLeast(0))
        .Make<Dirichlet>());

}  // namespace
}  // namespace muster
