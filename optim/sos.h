// SOS: the constant step size of Sign-SGD by bisection over whole runs (arXiv:2506.03725, first version).
#ifndef MUSTER_OPTIM_SOS_H_
#define MUSTER_OPTIM_SOS_H_

#include "absl/functional/function_ref.h"
#include "core/status.h"

namespace muster::optim {

// What a run of Sign-SGD with one constant step size tells.
struct SignRun {
  double decrease = 0;  // N = f(x_0) - min_t f(x_t)
  double change = 0;    // D = sum_t ||g_{t+1} - g_t||_1
};
struct SosResult {
  double step_size = 0;
  int runs = 0;  // that were needed
};

// The step size at which it equals phi = N / D, to a factor of 2: doubling its exponent from `low` finds an
// upper end, geometric bisection the rest; of the two ends the one with the smaller N / D is taken, as the
// bound (1/T) sum ||g_t||_1 is. O(log log) runs. A run that is not finite counts as phi = 0, one without
// change (D = 0) as too short a step. `run` starts from the same point each time. INVALID_ARGUMENT unless 0 <
// low < high.
absl::StatusOr<SosResult> BisectStepSize(absl::FunctionRef<absl::StatusOr<SignRun>(double step_size)> run,
                                         double low = 1e-8, double high = 1e4);

}  // namespace muster::optim

#endif  // MUSTER_OPTIM_SOS_H_
