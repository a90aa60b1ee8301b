// Factor on the clients' learning rate by round.
#ifndef MUSTER_SERVER_SCHEDULES_SCHEDULE_H_
#define MUSTER_SERVER_SCHEDULES_SCHEDULE_H_

#include <cstdint>

#include "core/registry.h"

namespace muster {

class Schedule {
 public:
  using Interface = Schedule;
  static constexpr char kKind[] = "schedule";
  static constexpr char kList[] = "schedules";
  struct Context {
    int64_t rounds = 0;  // of the whole run
  };

  virtual ~Schedule() = default;
  // round is 0-based, < rounds. The result is finite and not negative.
  virtual double Factor(int64_t round) const = 0;
};

}  // namespace muster

#endif  // MUSTER_SERVER_SCHEDULES_SCHEDULE_H_
