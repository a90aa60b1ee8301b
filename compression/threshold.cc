// The elements whose magnitude reaches a threshold.
#include <algorithm>
#include <cmath>
#include <limits>

#include "compression/kernels.h"
#include "compression/nested.h"
#include "compression/select.h"
#include "compression/sparse.h"

namespace muster {
namespace {

struct ThresholdOptions {
  double value = 2;
  std::string of = "rms";
};

// Contractive with delta = 0 at least: an element that is sent has no error.
class Threshold final : public Sparse {
 public:
  Threshold(const ThresholdOptions& options, const Context& context)
      : Sparse(context.values), value_(options.value), relative_(options.of == "rms") {}

  Traits traits(const Layout& /*layout*/) const override { return {.delta = 0}; }

 protected:
  std::vector<uint32_t> Select(std::span<const float> x) const override {
    double threshold = value_;
    if (relative_)
      threshold *= std::sqrt(SumOfSquares(x) / static_cast<double>(std::max<size_t>(1, x.size())));
    // A zero is never worth sending. A sum that is not finite finds what made it so.
    constexpr float kSmallest = std::numeric_limits<float>::min(),
                    kLargest = std::numeric_limits<float>::max();
    if (!std::isfinite(threshold)) threshold = kLargest;
    return PlacesFrom(
        x, std::clamp(static_cast<float>(std::min<double>(threshold, kLargest)), kSmallest, kLargest));
  }

 private:
  const double value_;
  const bool relative_;
};

MUSTER_REGISTER(Compressor,
                Plugin<ThresholdOptions>("threshold", "The elements from a magnitude on; a stage",
                                         "Strom 2015 (absolute); Dutta et al. 2020, arXiv:1911.08250")
                    .Option("value", &ThresholdOptions::value, "smallest magnitude sent", Above(0))
                    .Option("of", &ThresholdOptions::of,
                            "what value counts in: the update's root mean square, or 1",
                            OneOf({"rms", "absolute"}))
                    .Make<Threshold>());

}  // namespace
}  // namespace muster
