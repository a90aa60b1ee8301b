// Krum and Multi-Krum: the updates that have the most company.
#include <algorithm>
#include <numeric>

#include "server/aggregation/collecting.h"

namespace muster {
namespace {

struct KrumOptions {
  double liars = 0.2;
};

// score(i) = sum of the squared distances to the n - f - 2 nearest others, f = floor(liars * n). Krum takes
// the update with the lowest score, Multi-Krum the mean of the n - f lowest; of equal scores the lower client
// comes first.
class Krum : public Collecting {
 public:
  Krum(const KrumOptions& options, const Context& context) : Collecting(context), options_(options) {}

 protected:
  // How many of n updates are taken, f of which may be lies.
  virtual size_t Taken(size_t /*n*/, size_t /*f*/) const { return 1; }

  absl::Status Combine(const UpdateSet& updates, std::vector<float>& delta) override {
    const auto n = static_cast<size_t>(updates.count());
    const auto f = static_cast<size_t>(options_.liars * static_cast<double>(n) + 1e-9);
    MUSTER_ASSIGN_OR_RETURN(const std::vector<double> scores, Scores(updates, n, f));
    std::vector<size_t> order(n);
    std::iota(order.begin(), order.end(), size_t{0});
    std::stable_sort(order.begin(), order.end(),
                     [&scores](size_t a, size_t b) { return scores[a] < scores[b]; });
    const size_t taken = std::max<size_t>(Taken(n, f), 1);
    std::vector<double> factors(n, 0.0);
    for (size_t i = 0; i < taken; ++i) factors[order[i]] = 1.0 / static_cast<double>(taken);
    return Combination(updates, factors, {}, delta);
  }

 private:
  static absl::StatusOr<std::vector<double>> Scores(const UpdateSet& updates, size_t n, size_t f) {
    std::vector<double> distances(n * n, 0.0);
    MUSTER_RETURN_IF_ERROR(
        updates.ForEachBlock([&](int64_t /*first*/, std::span<const std::span<const float>> rows) {
          for (size_t i = 0; i < n; ++i) {
            for (size_t j = i + 1; j < n; ++j) {
              double sum = 0;
              for (size_t k = 0; k < rows[i].size(); ++k) {
                const double difference = static_cast<double>(rows[i][k]) - rows[j][k];
                sum += difference * difference;
              }
              distances[i * n + j] += sum;
            }
          }
        }));
    const size_t neighbours = n > f + 2 ? n - f - 2 : 0;
    std::vector<double> scores(n, 0.0);
    for (size_t i = 0; i < n; ++i) {
      std::vector<double> row;
      for (size_t j = 0; j < n; ++j) {
        if (j != i) row.push_back(distances[std::min(i, j) * n + std::max(i, j)]);
      }
      std::sort(row.begin(), row.end());
      scores[i] = std::accumulate(row.begin(), row.begin() + static_cast<std::ptrdiff_t>(neighbours), 0.0);
    }
    return scores;
  }

  const KrumOptions options_;
};

class MultiKrum final : public Krum {
 public:
  using Krum::Krum;

 protected:
  size_t Taken(size_t n, size_t f) const override { return n - f; }
};

Plugin<KrumOptions> Described(Plugin<KrumOptions> plugin) {
  return std::move(plugin).Option("liars", &KrumOptions::liars,
                                  "share of the cohort that may lie; the rule's promise needs n >= 2 f + 3",
                                  Within(0, 0.5));
}

constexpr char kSource[] = "Blanchard et al. 2017, arXiv:1703.02757";
MUSTER_REGISTER(
    Aggregator,
    Described(Plugin<KrumOptions>("krum", "The one update nearest to its neighbours", kSource)).Make<Krum>());
MUSTER_REGISTER(Aggregator,
                Described(Plugin<KrumOptions>("multi_krum", "Mean of the updates nearest to their neighbours",
                                              kSource))
                    .Make<MultiKrum>());

}  // namespace
}  // namespace muster
