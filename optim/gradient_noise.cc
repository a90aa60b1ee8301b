#include "optim/gradient_noise.h"

#include <cmath>
#include <numbers>
#include <utility>

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

namespace muster {
namespace {

class None final : public GradientNoise {
 public:
  double Draw(Random& /*random*/) const override { return 0; }
  bool IsNone() const override { return true; }
};

struct TailOptions {
  double scale = 1;
  double tail = 1.5;
};

// `draw` is one of the distributions above.
template <double (*draw)(double, Random&)>
class HeavyTailed final : public GradientNoise {
 public:
  HeavyTailed(const TailOptions& options, const Context& /*context*/) : options_(options) {}
  double Draw(Random& random) const override { return options_.scale * draw(options_.tail, random); }

 private:
  const TailOptions options_;
};

Plugin<TailOptions> Described(const char* name, const char* summary, const char* source, Allowed tail) {
  return Plugin<TailOptions>(name, summary, source)
      .Option("scale", &TailOptions::scale, "factor on the noise", AtLeast(0))
      .Option("tail", &TailOptions::tail, "moments below it are finite", std::move(tail));
}

constexpr char kSource[] = "noise without variance: arXiv:2505.20817, assumption 3";
MUSTER_REGISTER(GradientNoise, Plugin("none", "Gradients as they are").Make<None>());
MUSTER_REGISTER(GradientNoise,
                Described("lomax", "Lomax (Pareto II) noise of mean 0: skewed", kSource, Above(1))
                    .Make<HeavyTailed<optim::Lomax>>());
MUSTER_REGISTER(GradientNoise, Described("student_t", "Student's t noise: symmetric", kSource, Above(1))
                                   .Make<HeavyTailed<optim::StudentT>>());
MUSTER_REGISTER(GradientNoise, Described("alpha_stable", "Symmetric alpha-stable noise; tail 2 is normal",
                                         "Chambers, Mallows and Stuck 1976", AboveUpTo(1, 2))
                                   .Make<HeavyTailed<optim::AlphaStable>>());

}  // namespace
}  // namespace muster
