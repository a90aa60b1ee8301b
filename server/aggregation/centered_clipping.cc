// Centred clipping: every update may pull the centre only so far.
#include <algorithm>
#include <cmath>
#include <numeric>

#include "server/aggregation/collecting.h"

namespace muster {
namespace {

struct CenteredClippingOptions {
  double radius = 0;
  int64_t iterations = 3;
};

// v = v + (1/n) sum_i (x_i - v) min(1, radius / |x_i - v|), `iterations` times, from v = 0: an update is a
// change already, its centre without liars is near 0 against its spread. radius 0: the median of the
// distances |x_i - v|, which half of the clients cannot move beyond the others'.
class CenteredClipping final : public Collecting {
 public:
  CenteredClipping(const CenteredClippingOptions& options, const Context& context)
      : Collecting(context), options_(options) {}

 protected:
  absl::Status Combine(const UpdateSet& updates, std::vector<float>& delta) override {
    for (int64_t i = 0; i < options_.iterations; ++i) {
      MUSTER_ASSIGN_OR_RETURN(std::vector<double> factors, SquaredDistances(updates, delta));
      for (double& factor : factors) factor = std::sqrt(factor);
      const double radius = options_.radius > 0 ? options_.radius : Median(factors);
      for (double& factor : factors) {
        factor = (factor > radius ? radius / factor : 1.0) / static_cast<double>(factors.size());
      }
      // (x_i - v) c_i summed up is sum c_i x_i - v sum c_i.
      const double kept = 1 - std::accumulate(factors.begin(), factors.end(), 0.0);
      for (float& value : delta) value = static_cast<float>(value * kept);
      const std::vector<float> base = delta;
      MUSTER_RETURN_IF_ERROR(Combination(updates, factors, base, delta));
    }
    return absl::OkStatus();
  }

 private:
  static double Median(std::vector<double> values) {
    const auto middle = values.begin() + static_cast<std::ptrdiff_t>((values.size() - 1) / 2);
    std::nth_element(values.begin(), middle, values.end());
    return *middle;
  }

  const CenteredClippingOptions options_;
};

MUSTER_REGISTER(Aggregator,
                Plugin<CenteredClippingOptions>("centered_clipping",
                                                "Mean of updates clipped around their centre",
                                                "Karimireddy et al. 2021, arXiv:2012.10333, equation 6")
                    .Option("radius", &CenteredClippingOptions::radius,
                            "tau: how far from the centre an update may pull; 0: the median distance",
                            AtLeast(0))
                    .Option("iterations", &CenteredClippingOptions::iterations, "clipping steps", AtLeast(1))
                    .Make<CenteredClipping>());

}  // namespace
}  // namespace muster
