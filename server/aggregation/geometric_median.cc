// RFA: the geometric median, by the smoothed Weiszfeld algorithm.
#include <algorithm>
#include <cmath>
#include <numeric>

#include "server/aggregation/collecting.h"

namespace muster {
namespace {

struct GeometricMedianOptions {
  int64_t iterations = 100;
  double smoothing = 1e-5;
};

constexpr double kConverged = 1e-6;  // relative change of the sum of distances

// v = mean; then v = sum_i b_i x_i / sum_i b_i with b_i = 1 / max(smoothing, |v - x_i|), `iterations` times
// at most. (The paper's 4 are for few and mild liars: far ones need more.)
class GeometricMedian final : public Collecting {
 public:
  GeometricMedian(const GeometricMedianOptions& options, const Context& context)
      : Collecting(context), options_(options) {}

 protected:
  absl::Status Combine(const UpdateSet& updates, std::vector<float>& delta) override {
    const auto n = static_cast<size_t>(updates.count());
    std::vector<double> factors(n, 1.0 / static_cast<double>(n));
    MUSTER_RETURN_IF_ERROR(Combination(updates, factors, {}, delta));
    double objective = 0;
    for (int64_t i = 0; i < options_.iterations; ++i) {
      MUSTER_ASSIGN_OR_RETURN(factors, SquaredDistances(updates, delta));
      const double before = objective;
      objective = 0;
      for (double& factor : factors) {
        factor = std::max(options_.smoothing, std::sqrt(factor));
        objective += factor;
        factor = 1 / factor;
      }
      if (i > 0 && std::abs(before - objective) <= kConverged * before) break;
      const double total = std::accumulate(factors.begin(), factors.end(), 0.0);
      for (double& factor : factors) factor /= total;
      MUSTER_RETURN_IF_ERROR(Combination(updates, factors, {}, delta));
    }
    return absl::OkStatus();
  }

 private:
  const GeometricMedianOptions options_;
};

MUSTER_REGISTER(Aggregator,
                Plugin<GeometricMedianOptions>("geometric_median", "Geometric median of the updates (RFA)",
                                               "Pillutla et al. 2022, arXiv:1912.13445, algorithm 1")
                    .Option("iterations", &GeometricMedianOptions::iterations, "Weiszfeld steps at most",
                            AtLeast(1))
                    .Option("smoothing", &GeometricMedianOptions::smoothing,
                            "nu: distances below it count as it", Above(0))
                    .Make<GeometricMedian>());

}  // namespace
}  // namespace muster
