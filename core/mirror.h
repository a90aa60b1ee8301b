// Weights on the simplex: how the methods that weigh groups of data (classes, clients) move them.
#ifndef MUSTER_CORE_MIRROR_H_
#define MUSTER_CORE_MIRROR_H_

#include <cstdint>
#include <span>
#include <vector>

#include "core/status.h"

namespace muster {

struct MirrorRule {
  double rate = 1e-3;        // eta
  double decay = 1e-2;       // tau
  double epsilon = 1.19e-7;  // inside log(weight + epsilon)
  double temperature = 1;
};

// One step of mirror ascent with a pull to a prior (ALSO, arXiv:2508.16734, option I):
//   z = (log(weights + epsilon) + rate decay log prior + rate gains) / (1 + rate decay),  softmax(z /
//   temperature)
// With temperature 1 it is the maximiser over the simplex of <gains, p> - decay KL(p || prior) - KL(p ||
// weights) / rate. All spans have one size. An entry whose prior is 0 stays 0: such a group has no samples.
std::vector<double> MirrorStep(std::span<const double> weights, std::span<const double> prior,
                               std::span<const double> gains, const MirrorRule& rule);

// Scaled to sum 1. INVALID_ARGUMENT if a value is negative or not finite, or all are 0.
absl::StatusOr<std::vector<double>> Normalized(std::span<const double> values);
// Proportional to 1 / size; 0 where the size is 0. INVALID_ARGUMENT if all are.
absl::StatusOr<std::vector<double>> InverseSizes(std::span<const int64_t> sizes);

}  // namespace muster

#endif  // MUSTER_CORE_MIRROR_H_
