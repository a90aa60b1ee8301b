// TernGrad: every element is -max, 0 or max of its bucket.
#include <algorithm>
#include <cmath>

#include "compression/levels.h"

namespace muster {
namespace {

struct TernaryOptions {
  int64_t bucket = 4096;
};

// E|C(x)|^2 = max|x| |x|_1, hence omega = (sqrt(n) - 1) / 2 for a bucket of n. 1.6 bits an element.
class Ternary final : public Levels {
 public:
  explicit Ternary(const TernaryOptions& options) : Levels(options.bucket, 1) {}

  Traits traits(const Layout& layout) const override {
    const auto n = static_cast<double>(std::max<int64_t>(1, std::min(BucketOf(layout), layout.size)));
    Traits traits{.omega = (std::sqrt(n) - 1) / 2, .bytes = PayloadBytes(layout)};
    if (*traits.omega < 1) traits.delta = 1 - *traits.omega;
    return traits;
  }

 protected:
  float Step(std::span<const float> /*x*/, float largest) const override { return largest; }
  bool StepByLargest() const override { return true; }
};

MUSTER_REGISTER(Compressor,
                Plugin<TernaryOptions>("ternary",
                                       "Stochastic rounding to -max, 0 or max of a bucket; unbiased",
                                       "Wen et al. 2017 (TernGrad), arXiv:1705.07878, equation 3")
                    .Option("bucket", &TernaryOptions::bucket, "elements that share a scale; 0: all",
                            Between(0, 0x1.0p31))
                    .Make<Ternary>());

}  // namespace
}  // namespace muster
