// Quantity skew: labels are iid, sizes are not. Every client has one sample for certain; the rest is shared
// in proportion to weights that follow a power law of a random rank (weight rank^-exponent) or are
// log-normal.
#include <algorithm>
#include <cmath>
#include <numeric>

#include "core/random.h"
#include "learning/partitions/dealing.h"

namespace muster {
namespace {

struct QuantityOptions {
  std::string distribution = "power_law";
  double exponent = 1;
  double sigma = 1;
};

class Quantity final : public Partitioner {
 public:
  explicit Quantity(const QuantityOptions& options) : options_(options) {}

  absl::StatusOr<Partition> Split(const Dataset& data, int64_t clients, uint64_t seed) const override {
    MUSTER_RETURN_IF_ERROR(RequireSamples(data, clients));
    std::vector<uint32_t> samples = AllSamples(data);
    Random({seed, Purpose::kPartition, 0, 0}).Shuffle(std::span(samples));
    const std::vector<double> weights = Weights(clients, Random({seed, Purpose::kPartition, 0, 1}));
    const double total = std::accumulate(weights.begin(), weights.end(), 0.0);
    const int64_t shared = data.size() - clients;
    std::vector<std::vector<uint32_t>> dealt(clients);
    double sum = 0;
    int64_t begin = 0;
    for (int64_t client = 0; client < clients; ++client) {
      sum += weights[client];
      const auto cut = std::min(shared, static_cast<int64_t>(sum / total * static_cast<double>(shared)));
      const int64_t end = client + 1 == clients ? data.size() : cut + client + 1;
      dealt[client].assign(samples.begin() + begin, samples.begin() + end);
      begin = end;
    }
    return SortedPartition(std::move(dealt));
  }

 private:
  // In log space first, so that no weight overflows; the largest is 1.
  std::vector<double> Weights(int64_t clients, Random random) const {
    std::vector<double> weights(clients);
    for (int64_t i = 0; i < clients; ++i) {
      weights[i] = options_.distribution == "power_law"
                       ? -options_.exponent * std::log(static_cast<double>(i + 1))
                       : options_.sigma * random.Normal();
    }
    random.Shuffle(std::span(weights));
    const double largest = *std::max_element(weights.begin(), weights.end());
    for (double& weight : weights) weight = std::exp(weight - largest);
    return weights;
  }

  const QuantityOptions options_;
};

MUSTER_REGISTER(Partitioner,
                Plugin<QuantityOptions>("quantity", "Unequal sizes, labels iid",
                                        "Li et al. 2022, arXiv:2102.02079, section IV")
                    .Option("distribution", &QuantityOptions::distribution, "of the sizes",
                            OneOf({"power_law", "log_normal"}))
                    .Option("exponent", &QuantityOptions::exponent,
                            "power_law: the client of rank r has weight r^-exponent", Between(0, 10))
                    .Option("sigma", &QuantityOptions::sigma,
                            "log_normal: standard deviation of the logarithm of the size", Between(0, 10))
                    .Make<Quantity>());

}  // namespace
}  // namespace muster
