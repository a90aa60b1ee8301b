// Group DRO: the weights of groups follow their losses.
#include <algorithm>
#include <cmath>

#include "optim/options.h"
#include "optim/weighted_method.h"

namespace muster {
namespace {

struct GroupDroOptions : public WeightedOptions {
  double group_learning_rate = 0.01;

  template <typename Visitor>
  static void Describe(Visitor&& option) {
    option("group_learning_rate", &GroupDroOptions::group_learning_rate, "step size of the groups' weights",
           AtLeast(0));
    WeightedOptions::Describe(option);
  }
};

// For every batch, with L_g the mean loss of group g in it: q_g *= exp(group_learning_rate L_g), normalised;
// loss of the batch: sum_g q_g L_g. Sagawa et al. 2020, algorithm 1.
class GroupDro final : public WeightedMethod {
 public:
  static absl::StatusOr<std::unique_ptr<LocalOptimizer>> Create(const GroupDroOptions& options,
                                                                const Context& context) {
    MUSTER_ASSIGN_OR_RETURN(auto inner, MakeInner(options, context));
    return std::make_unique<GroupDro>(options, std::move(inner));
  }
  GroupDro(const GroupDroOptions& options, std::unique_ptr<LocalOptimizer> inner)
      : WeightedMethod(options, std::move(inner)), rate_(options.group_learning_rate) {}

 protected:
  void Observe(const std::vector<Group>& batch) override {
    std::vector<double> exponents(batch.size());
    for (size_t g = 0; g < batch.size(); ++g) {
      if (batch[g].samples > 0) exponents[g] = rate_ * batch[g].loss / static_cast<double>(batch[g].samples);
    }
    const double largest = *std::max_element(exponents.begin(), exponents.end());
    double sum = 0;
    for (size_t g = 0; g < batch.size(); ++g) {
      exponents[g] = static_cast<double>(weights()[g]) * std::exp(exponents[g] - largest);
      sum += exponents[g];
    }
    for (size_t g = 0; g < batch.size(); ++g) weights()[g] = static_cast<float>(exponents[g] / sum);
  }
  double Factor(size_t group, const Group& in_batch, int64_t /*batch_size*/) const override {
    return static_cast<double>(weights()[group]) / static_cast<double>(in_batch.samples);
  }

 private:
  const double rate_;
};

MUSTER_REGISTER(LocalOptimizer,
                optim::DescribedPlugin<GroupDroOptions>(
                    "group_dro", "Any method, on losses whose group weights follow the losses",
                    "Sagawa et al. 2020, arXiv:1911.08731, algorithm 1")
                    .Make<GroupDro>());

}  // namespace
}  // namespace muster
