// Half a cosine wave over the whole run, after an optional linear warm-up.
#include <cmath>
#include <numbers>

#include "absl/strings/str_cat.h"
#include "server/schedules/schedule.h"

namespace muster {
namespace {

struct CosineOptions {
  double final_factor = 0;
  int64_t warmup = 0;
};

// (round + 1) / warmup in the first `warmup` rounds; then from 1 in the first round after them to `final` in
// the last round of the run: final + (1 - final) (1 + cos(pi s)) / 2 with s from 0 to 1 (Loshchilov and
// Hutter, without restarts).
class Cosine final : public Schedule {
 public:
  static absl::StatusOr<std::unique_ptr<Schedule>> Create(const CosineOptions& options,
                                                          const Context& context) {
    if (options.warmup > 0 && options.warmup >= context.rounds) {
      return InvalidInput(absl::StrCat("warmup: ", options.warmup,
                                       " rounds leave none to anneal of the run's ", context.rounds));
    }
    return std::make_unique<Cosine>(options, context);
  }
  Cosine(const CosineOptions& options, const Context& context) : options_(options), rounds_(context.rounds) {}

  double Factor(int64_t round) const override {
    if (round < options_.warmup) return static_cast<double>(round + 1) / static_cast<double>(options_.warmup);
    const auto length = static_cast<double>(rounds_ - 1 - options_.warmup);
    const double s = length > 0 ? static_cast<double>(round - options_.warmup) / length : 0;
    return options_.final_factor + (1 - options_.final_factor) * (1 + std::cos(std::numbers::pi * s)) / 2;
  }

 private:
  const CosineOptions options_;
  const int64_t rounds_;
};

MUSTER_REGISTER(Schedule,
                Plugin<CosineOptions>("cosine", "Half a cosine wave from 1 to `final` over the whole run",
                                      "Loshchilov and Hutter 2017, arXiv:1608.03983, equation 5")
                    .Option("final", &CosineOptions::final_factor, "factor in the last round", Between(0, 1))
                    .Option("warmup", &CosineOptions::warmup,
                            "first rounds, with a linear rise to 1; 0: none", AtLeast(0))
                    .Make<Cosine>());

}  // namespace
}  // namespace muster
