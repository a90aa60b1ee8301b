#include "core/mirror.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace muster {

std::vector<double> MirrorStep(std::span<const double> weights, std::span<const double> prior,
                               std::span<const double> gains, const MirrorRule& rule) {
  std::vector<double> z(weights.size(), -std::numeric_limits<double>::infinity());
  double largest = -std::numeric_limits<double>::infinity();
  for (size_t i = 0; i < z.size(); ++i) {
    if (prior[i] == 0) continue;
    z[i] = (std::log(weights[i] + rule.epsilon) + rule.rate * rule.decay * std::log(prior[i]) +
            rule.rate * gains[i]) /
           (1 + rule.rate * rule.decay) / rule.temperature;
    largest = std::max(largest, z[i]);
  }
  double sum = 0;
  for (double& value : z) sum += value = std::exp(value - largest);
  for (double& value : z) value /= sum;
  return z;
}

absl::StatusOr<std::vector<double>> Normalized(std::span<const double> values) {
  double sum = 0;
  for (const double value : values) {
    if (!(value >= 0) || !std::isfinite(value))
      return InvalidInput("weights must be numbers that are not negative");
    sum += value;
  }
  if (!(sum > 0) || !std::isfinite(sum)) return InvalidInput("weights must not all be 0");
  std::vector<double> normalized(values.begin(), values.end());
  for (double& value : normalized) value /= sum;
  return normalized;
}

absl::StatusOr<std::vector<double>> InverseSizes(std::span<const int64_t> sizes) {
  std::vector<double> inverse;
  for (const int64_t size : sizes) inverse.push_back(size > 0 ? 1 / static_cast<double>(size) : 0);
  return Normalized(inverse);
}

}  // namespace muster
