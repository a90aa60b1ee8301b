// The client's part of ALIAS by majority vote: one gradient, of which the signs and two numbers travel.
#include <algorithm>
#include <memory>

#include "optim/gradient_method.h"
#include "optim/norms.h"
#include "optim/options.h"
#include "optim/sign_sgd.h"

namespace muster {
namespace optim {
namespace {

struct AliasVoteOptions : public OptionsOf<AliasVoteOptions> {
  MUSTER_ARG(double, lr) = 1;
  MUSTER_ARG(int64_t, gap) = 10;
  MUSTER_ARG(double, probe) = 1e-5;

  template <typename Visitor>
  static void Describe(Visitor&& option) {
    option("learning_rate", &AliasVoteOptions::lr_, "length of the step that stands for the signs", Above(0));
    option("gap", &AliasVoteOptions::gap_, "rounds of this client from one measurement to the next",
           AtLeast(1));
    option("probe", &AliasVoteOptions::probe_, "length of the probing step in every coordinate", Above(0));
  }
};

// x -= lr sign(g), so that the update's signs are those of -g; and what the server optimiser `alias` needs:
// smoothness = ||g - g_a||_1 / ||x - x_a||_inf against this client's last measurement a, at first by a
// probing step; with gap 1 also fallen = <g, x_a - x>. arXiv:2506.03725, multi-node form; the quotient is
// formed at the client so that it holds for clients that do not take part in every round. Measurements need
// training.optimizer_state: keep; without it every round probes. Use with training.steps: 1.
class AliasVote final : public Optimizer {
 public:
  AliasVote(std::vector<at::Tensor> parameters, const AliasVoteOptions& options)
      : Optimizer({torch::optim::OptimizerParamGroup(std::move(parameters))},
                  std::make_unique<AliasVoteOptions>(options), {"anchor_values", "anchor_gradient"}) {
    options.Check();
  }

  absl::StatusOr<double> Step(Evaluate evaluate) override {
    MUSTER_ASSIGN_OR_RETURN(const double loss, evaluate());
    MUSTER_ASSIGN_OR_RETURN(std::vector<Parameter> parameters, Gather());
    MUSTER_RETURN_IF_ERROR(CheckFinite(parameters));
    const auto& options = static_cast<const AliasVoteOptions&>(param_groups_[0].options());
    numbers_.clear();
    if (static_cast<int64_t>(steps_) % options.gap() == 0) {
      MUSTER_RETURN_IF_ERROR(Measure(parameters, options, evaluate));
    }
    ++steps_;
    const SignRule rule{.rate = static_cast<float>(options.lr())};
    for (const Parameter& p : parameters) SignStep(p.values, p.gradient, nullptr, p.size, rule);
    return loss;
  }
  // Of the last step.
  const LocalOptimizer::Numbers& numbers() const { return numbers_; }

 protected:
  Fields fields() override { return {.numbers = {{"measured_steps", &steps_}}, .vectors = {}}; }
  void ResetFields() override {
    steps_ = 0;
    numbers_.clear();
  }

 private:
  absl::Status Measure(std::vector<Parameter>& parameters, const AliasVoteOptions& options,
                       Evaluate evaluate) {
    if (steps_ == 0) {
      MUSTER_ASSIGN_OR_RETURN(
          const double change, GradientChange(parameters, evaluate, [&](const Parameter& p) {
            SignStep(p.values, p.gradient, nullptr, p.size, {.rate = static_cast<float>(options.probe())});
          }));
      numbers_["smoothness"] = {change / options.probe()};
    } else {
      double change = 0;
      double moved = 0;
      double fallen = 0;
      for (const Parameter& p : parameters) {
        change += L1Distance(p.gradient, p.slots[1], p.size);
        moved = std::max(moved, LInfDistance(p.values, p.slots[0], p.size));
        fallen += DotDifference(p.gradient, p.slots[0], p.values, p.size);
      }
      if (moved > 0) numbers_["smoothness"] = {change / moved};
      if (options.gap() == 1) numbers_["fallen"] = {fallen};
    }
    for (const Parameter& p : parameters) {
      std::copy(p.values, p.values + p.size, p.slots[0]);
      std::copy(p.gradient, p.gradient + p.size, p.slots[1]);
    }
    return absl::OkStatus();
  }

  double steps_ = 0;
  LocalOptimizer::Numbers numbers_;
};

}  // namespace
}  // namespace optim

namespace {

class AliasVoteMethod final : public GradientMethod<optim::AliasVote, optim::AliasVoteOptions> {
 public:
  static absl::StatusOr<std::unique_ptr<LocalOptimizer>> Create(const optim::AliasVoteOptions& options,
                                                                const Context& context) {
    return MakeMethod<AliasVoteMethod>(options, context);
  }
  using GradientMethod::GradientMethod;
  Numbers Report() const override { return static_cast<const optim::AliasVote&>(optimizer()).numbers(); }
};

MUSTER_REGISTER(LocalOptimizer,
                optim::DescribedPlugin<optim::AliasVoteOptions>(
                    "alias_vote", "One sign a coordinate for a majority vote, and what finds its step size",
                    "arXiv:2506.03725, multi-node form")
                    .Make<AliasVoteMethod>());

}  // namespace
}  // namespace muster
