// Heavy-tailed noise of mean 0, for experiments with gradients that have no variance (arXiv:2505.20817,
// assumption 3).
#ifndef MUSTER_OPTIM_GRADIENT_NOISE_H_
#define MUSTER_OPTIM_GRADIENT_NOISE_H_

#include "core/random.h"

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
