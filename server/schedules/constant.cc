// The clients' learning rate as configured, in every round.
#include "server/schedules/schedule.h"

namespace muster {
namespace {

class Constant final : public Schedule {
 public:
  double Factor(int64_t /*round*/) const override { return 1; }
};

MUSTER_REGISTER(Schedule,
                Plugin("constant", "The learning rate as configured, in every round").Make<Constant>());

}  // namespace
}  // namespace muster
