#include "optim/groups.h"

#include "absl/strings/str_cat.h"
#include "core/mirror.h"

namespace muster {

absl::StatusOr<std::vector<double>> GroupPrior(const GroupOptions& options, Oracle& oracle) {
  auto sizes = oracle.GroupSizes(options.groups);
  if (!sizes.ok()) return Annotate(sizes.status(), "groups");
  if (options.prior == "inverse_size") return InverseSizes(*sizes);
  if (options.prior == "uniform") return Normalized(std::vector<double>(sizes->size(), 1.0));
  if (options.weights.size() != sizes->size()) {
    return InvalidInput(
        absl::StrCat("weights: ", options.weights.size(), " given for ", sizes->size(), " groups"));
  }
  auto weights = Normalized(options.weights);
  if (!weights.ok()) return Annotate(weights.status(), "weights");
  return weights;
}

}  // namespace muster
