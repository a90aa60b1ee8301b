// Fixed weights for groups of samples: the baseline of the methods that learn them, and what the clients of a
// federation do whose server learns them.
#include <cmath>

#include "absl/strings/str_cat.h"
#include "optim/options.h"
#include "optim/weighted_method.h"

namespace muster {
namespace {

// Loss of a batch: c / batch_size sum_j weights[g(j)] loss_j, c groups. With uniform weights it is the mean.
class StaticWeights final : public WeightedMethod {
 public:
  static absl::StatusOr<std::unique_ptr<LocalOptimizer>> Create(const WeightedOptions& options,
                                                                const Context& context) {
    MUSTER_ASSIGN_OR_RETURN(auto inner, MakeInner(options, context));
    return std::make_unique<StaticWeights>(options, std::move(inner));
  }
  using WeightedMethod::WeightedMethod;

  // The server's "group_weights" take the place of the prior.
  absl::Status Receive(const Vectors& vectors) override {
    const auto found = vectors.find("group_weights");
    if (found == vectors.end()) return absl::OkStatus();
    double sum = 0;
    for (const float weight : found->second) {
      if (!(weight >= 0) || !std::isfinite(weight)) return InvalidInput("group_weights: not weights");
      sum += static_cast<double>(weight);
    }
    if (!(sum > 0)) return InvalidInput("group_weights: all are 0");
    weights() = found->second;
    return absl::OkStatus();
  }

 protected:
  double Factor(size_t group, const Group& /*in_batch*/, int64_t batch_size) const override {
    return static_cast<double>(weights().size()) * static_cast<double>(weights()[group]) /
           static_cast<double>(batch_size);
  }
};

MUSTER_REGISTER(LocalOptimizer,
                optim::DescribedPlugin<WeightedOptions>("static_weights",
                                                        "Any method, on losses weighted by group", "")
                    .Make<StaticWeights>());

}  // namespace
}  // namespace muster
