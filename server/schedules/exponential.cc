// The learning rate falls by the same factor in every round.
#include <cmath>

#include "server/schedules/schedule.h"

namespace muster {
namespace {

struct ExponentialOptions {
  double gamma = 0.99;
};

// gamma^round
class Exponential final : public Schedule {
 public:
  explicit Exponential(const ExponentialOptions& options) : options_(options) {}
  double Factor(int64_t round) const override { return std::pow(options_.gamma, static_cast<double>(round)); }

 private:
  const ExponentialOptions options_;
};

MUSTER_REGISTER(Schedule,
                Plugin<ExponentialOptions>("exponential", "Falls by the factor gamma in every round")
                    .Option("gamma", &ExponentialOptions::gamma, "factor from round to round",
                            AboveUpTo(0, 1))
                    .Make<Exponential>());

}  // namespace
}  // namespace muster
