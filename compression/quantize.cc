// b-bit stochastic quantisation with one scale a bucket.
#include <algorithm>
#include <cmath>

#include "compression/levels.h"

namespace muster {
namespace {

struct QuantizeOptions {
  int64_t bits = 8;
  int64_t bucket = 4096;
};

// L = 2^(bits-1) - 1 levels on either side of an exact 0, from -max|x| to max|x|. Each element errs by at
// most a step and by step^2 / 4 in mean square; with f(1-f) <= f the second bound follows, as in TernGrad's
// analysis.
class Quantize final : public Levels {
 public:
  explicit Quantize(const QuantizeOptions& options)
      : Levels(options.bucket, static_cast<uint16_t>((1 << (options.bits - 1)) - 1)) {}

  Traits traits(const Layout& layout) const override {
    const auto n = static_cast<double>(std::max<int64_t>(1, std::min(BucketOf(layout), layout.size)));
    const double l = levels();
    const double sparse = l == 1 ? (std::sqrt(n) - 1) / 2 : (std::sqrt(n) + 1) / (2 * l);
    Traits traits{.omega = std::min(n / (4 * l * l), sparse), .bytes = PayloadBytes(layout)};
    if (*traits.omega < 1) traits.delta = 1 - *traits.omega;
    return traits;
  }

 protected:
  float Step(std::span<const float> /*x*/, float largest) const override { return largest / levels(); }
  bool StepByLargest() const override { return true; }
};

MUSTER_REGISTER(Compressor,
                Plugin<QuantizeOptions>("quantize",
                                        "Stochastic rounding to b bits, one scale a bucket; unbiased",
                                        "after Suresh et al. 2017, arXiv:1611.00429, section 2 (symmetric)")
                    .Option("bits", &QuantizeOptions::bits, "bits an element", Between(2, 8))
                    .Option("bucket", &QuantizeOptions::bucket, "elements that share a scale; 0: all",
                            Between(0, 0x1.0p31))
                    .Make<Quantize>());

}  // namespace
}  // namespace muster
