// The learning rate falls with the root of the round, after a linear warm-up.
#include <algorithm>
#include <cmath>

#include "server/schedules/schedule.h"

namespace muster {
namespace {

struct InverseSqrtOptions {
  int64_t warmup = 1;
};

// min(t / warmup, sqrt(warmup / t)) with t = round + 1: 1 in the last round of the warm-up.
class InverseSqrt final : public Schedule {
 public:
  explicit InverseSqrt(const InverseSqrtOptions& options) : warmup_(static_cast<double>(options.warmup)) {}
  double Factor(int64_t round) const override {
    const double t = static_cast<double>(round) + 1;
    return std::min(t / warmup_, std::sqrt(warmup_ / t));
  }

 private:
  const double warmup_;
};

MUSTER_REGISTER(Schedule,
                Plugin<InverseSqrtOptions>("inverse_sqrt", "Falls with the square root of the round",
                                           "Vaswani et al. 2017, arXiv:1706.03762, equation 3")
                    .Option("warmup", &InverseSqrtOptions::warmup,
                            "first rounds, with a linear rise to 1; 1: falls from the start", AtLeast(1))
                    .Make<InverseSqrt>());

}  // namespace
}  // namespace muster
