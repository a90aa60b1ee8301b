// Groups of samples and the weights they start from: what ALSO, group DRO and static weights share.
#ifndef MUSTER_OPTIM_GROUPS_H_
#define MUSTER_OPTIM_GROUPS_H_

#include <string>
#include <vector>

#include "core/options.h"
#include "optim/local_optimizer.h"

namespace muster {

struct GroupOptions {
  std::string groups = "class";
  std::string prior = "inverse_size";
  std::vector<double> weights;

  template <typename Visitor>
  static void Describe(Visitor&& option) {
    option("groups", &GroupOptions::groups,
           "what a group is: class, sample, or a column of the data such as writer");
    option(
        "prior", &GroupOptions::prior,
        "the groups' weights to begin with: the same, proportional to 1 / samples of this client, or given",
        OneOf({"uniform", "inverse_size", "given"}));
    option("weights", &GroupOptions::weights, "one for every group, for prior: given");
  }
};

// One weight a group, of sum 1; 0 for a group of which this client has no samples, if by inverse size.
// INVALID_ARGUMENT for groups that the data do not have, or weights that do not fit them.
absl::StatusOr<std::vector<double>> GroupPrior(const GroupOptions& options, Oracle& oracle);

}  // namespace muster

#endif  // MUSTER_OPTIM_GROUPS_H_
