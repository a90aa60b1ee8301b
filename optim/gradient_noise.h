// Heavy-tailed noise of mean 0, for experiments with gradients that have no variance (arXiv:2505.20817,
// assumption 3).
#ifndef MUSTER_OPTIM_GRADIENT_NOISE_H_
#define MUSTER_OPTIM_GRADIENT_NOISE_H_

#include <memory>

#include "core/random.h"
#include "core/registry.h"

namespace muster {

// Noise added to every element of every gradient a simulated client computes. Immutable and thread-safe.
class GradientNoise {
 public:
  using Interface = GradientNoise;
  static constexpr char kKind[] = "gradient noise";
  static constexpr char kList[] = "gradient_noise";
  struct Context {};

  virtual ~GradientNoise() = default;
  // One element's noise.
  virtual double Draw(Random& random) const = 0;
  // Whether there is none at all, so that nothing needs to be drawn.
  virtual bool IsNone() const { return false; }
};

}  // namespace muster

namespace muster::optim {

// Lomax (Pareto II) of scale 1, shifted to mean 0: skewed; moments below `tail` are finite. tail > 1.
double Lomax(double tail, Random& random);
// Student's t: symmetric; moments below `degrees` are finite. degrees > 1.
double StudentT(double degrees, Random& random);
// Symmetric alpha-stable of scale 1 (Chambers, Mallows and Stuck 1976); moments below alpha are finite. 1 <
// alpha <= 2, where 2 is the normal distribution of variance 2.
double AlphaStable(double alpha, Random& random);

}  // namespace muster::optim

#endif  // MUSTER_OPTIM_GRADIENT_NOISE_H_
