#include "optim/gradient_noise.h"

#include <cmath>
#include <numbers>

namespace muster::optim {

double Lomax(double tail, Random& random) {
  const double uniform = 1 - random.Uniform();  // in (0, 1]
  return std::pow(uniform, -1 / tail) - 1 - 1 / (tail - 1);
}

double StudentT(double degrees, Random& random) {
  const double normal = random.Normal();
  return normal / std::sqrt(2 * random.Gamma(degrees / 2) / degrees);
}

double AlphaStable(double alpha, Random& random) {
  const double angle = std::numbers::pi * (random.Uniform() - 0.5);
  const double exponential = -std::log(1 - random.Uniform());
  return std::sin(alpha * angle) / std::pow(std::cos(angle), 1 / alpha) *
         std::pow(std::cos(angle - alpha * angle) / exponential, (1 - alpha) / alpha);
}

}  // namespace muster::optim
