#include "optim/sos.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace muster::optim {
namespace {

double Phi(const SignRun& run) {
  if (!std::isfinite(run.decrease) || !std::isfinite(run.change)) return 0;
  return run.change > 0 ? run.decrease / run.change : std::numeric_limits<double>::infinity();
}

}  // namespace

absl::StatusOr<SosResult> BisectStepSize(absl::FunctionRef<absl::StatusOr<SignRun>(double step_size)> run,
                                         double low, double high) {
  if (!(low > 0) || !(high > low)) return InvalidInput("low, high: need 0 < low < high");
  SosResult result;
  const auto phi = [&](double step_size) -> absl::StatusOr<double> {
    ++result.runs;
    MUSTER_ASSIGN_OR_RETURN(const SignRun done, run(step_size));
    return Phi(done);
  };
  double below = low;
  MUSTER_ASSIGN_OR_RETURN(double phi_below, phi(below));
  if (phi_below <= below) {
    result.step_size = below;
    return result;
  }
  double above = low;
  double phi_above = phi_below;
  for (double exponent = 1; phi_above > above && above < high; exponent *= 2) {
    below = above;
    phi_below = phi_above;
    above = std::min(low * std::exp2(exponent), high);
    MUSTER_ASSIGN_OR_RETURN(phi_above, phi(above));
  }
  while (above > 2 * below) {
    const double middle = std::sqrt(above * below);
    MUSTER_ASSIGN_OR_RETURN(const double phi_middle, phi(middle));
    if (phi_middle <= middle) {
      above = middle;
      phi_above = phi_middle;
    } else {
      below = middle;
      phi_below = phi_middle;
    }
  }
  // Beyond the crossing the run tells less; a diverged one (phi 0) tells nothing.
  result.step_size = phi_above > 0 && phi_above < phi_below ? above : below;
  return result;
}

}  // namespace muster::optim
