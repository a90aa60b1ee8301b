// The learning rate falls by a factor now and then.
#include <cmath>

#include "server/schedules/schedule.h"

namespace muster {
namespace {

struct StepOptions {
  double gamma = 0.1;
  int64_t every = 100;
};

// gamma^floor(round / every)
class Step final : public Schedule {
 public:
  explicit Step(const StepOptions& options) : options_(options) {}
  double Factor(int64_t round) const override {
    return std::pow(options_.gamma, static_cast<double>(round / options_.every));
  }

 private:
  const StepOptions options_;
};

MUSTER_REGISTER(Schedule,
                Plugin<StepOptions>("step", "Falls by the factor gamma after every so many rounds")
                    .Option("gamma", &StepOptions::gamma, "factor of each fall", AboveUpTo(0, 1))
                    .Option("every", &StepOptions::every, "rounds from one fall to the next", AtLeast(1))
                    .Make<Step>());

}  // namespace
}  // namespace muster
