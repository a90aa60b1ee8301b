// The statistics that colluding adversaries share.
#ifndef MUSTER_SIMULATION_COLLUSION_H_
#define MUSTER_SIMULATION_COLLUSION_H_

#include <span>
#include <vector>

#include "simulation/adversary.h"

namespace muster {

// Adds updates up one by one (Welford's recurrence, in double). The result depends on their order: add them
// by client. Memory: two doubles a parameter.
class CollusionBuilder {
 public:
  explicit CollusionBuilder(size_t size) : mean_(size), squares_(size) {}
  void Add(std::span<const float> update);
  Collusion Finish() const;

 private:
  int64_t members_ = 0;
  std::vector<double> mean_;
  std::vector<double> squares_;  // sum of squared distances from the mean
};

}  // namespace muster

#endif  // MUSTER_SIMULATION_COLLUSION_H_
