// QSGD: stochastic rounding of each bucket to s levels of its Euclidean norm.
#include <algorithm>
#include <cmath>
#include <limits>

#include "compression/kernels.h"
#include "compression/levels.h"

namespace muster {
namespace {

struct QsgdOptions {
  int64_t levels = 16;
  int64_t bucket = 2048;
};

// Level range 0..s and a sign: 2s + 1 symbols. omega = min(n / s^2, sqrt(n) / s) for a bucket of n
// (lemma 3.1).
class Qsgd final : public Levels {
 public:
  explicit Qsgd(const QsgdOptions& options) : Levels(options.bucket, static_cast<uint16_t>(options.levels)) {}

  Traits traits(const Layout& layout) const override {
    const auto n = static_cast<double>(std::max<int64_t>(1, std::min(BucketOf(layout), layout.size)));
    const double s = levels();
    Traits traits{.omega = std::min(n / (s * s), std::sqrt(n) / s), .bytes = PayloadBytes(layout)};
    if (*traits.omega < 1) traits.delta = 1 - *traits.omega;
    return traits;
  }

 protected:
  float Step(std::span<const float> x, float largest) const override {
    // The norm of huge elements may not be a float; anything from max|x| on is unbiased.
    const double norm = std::max<double>(largest, std::sqrt(SumOfSquares(x)));
    return static_cast<float>(std::min<double>(norm, std::numeric_limits<float>::max()) / levels());
  }
};

MUSTER_REGISTER(Compressor,
                Plugin<QsgdOptions>("qsgd", "Stochastic rounding to s levels of a bucket's norm; unbiased",
                                    "Alistarh et al. 2017, arXiv:1610.02132, section 3.1 (fixed-width codes)")
                    .Option("levels", &QsgdOptions::levels, "s, levels above zero", Between(1, 32767))
                    .Option("bucket", &QsgdOptions::bucket, "elements that share a norm; 0: all",
                            Between(0, 0x1.0p31))
                    .Make<Qsgd>());

}  // namespace
}  // namespace muster
