// FedNova: clients that make more steps do not pull the model towards their own optimum.
#include <cmath>

#include "methods/method.h"
#include "methods/pull.h"

namespace muster {
namespace {

const std::string kNormalizer = "method/normalizer";  // |a_i|_1, to the server

struct FedNovaOptions {
  double mu = 0;
};

// What FedNova knows of a local optimiser: the rule of sgd. 0 everywhere for any other.
struct StepRule {
  double learning_rate = 0;
  double momentum = 0;
  double dampening = 0;
  bool nesterov = false;
};

double Number(const OptionMap& options, const std::string& name) {
  const auto found = options.find(name);
  if (found == options.end()) return 0;
  if (const auto* integer = std::get_if<int64_t>(&found->second)) return static_cast<double>(*integer);
  const auto* number = std::get_if<double>(&found->second);
  return number != nullptr ? *number : 0;
}

StepRule RuleOf(const PluginConfig& optimizer) {
  if (optimizer.name != "sgd") return {};
  const auto nesterov = optimizer.options.find("nesterov");
  return {.learning_rate = Number(optimizer.options, "learning_rate"),
          .momentum = Number(optimizer.options, "momentum"),
          .dampening = Number(optimizer.options, "dampening"),
          .nesterov = nesterov != optimizer.options.end() && nesterov->second == OptionValue(true)};
}

// |a|_1: how far `steps` steps move the model, in learning rates, if every gradient is 1. Steps are linear in
// the gradients and all weights are positive, so this is the sum of the weights. Plain steps: `steps`; with
// momentum rho: (steps - rho (1 - rho^steps) / (1 - rho)) / (1 - rho); proximal: (1 - (1 - rate mu)^steps) /
// (rate mu).
double Normalizer(const StepRule& rule, int64_t steps, double rate, double mu) {
  double moved = 0, momentum = 0;
  for (int64_t step = 0; step < steps; ++step) {
    const double gradient = 1 - mu * rate * moved;
    momentum = rule.momentum * momentum + (step == 0 ? 1 : 1 - rule.dampening) * gradient;
    moved += rule.nesterov ? rule.momentum * momentum + gradient : momentum;
  }
  return moved;
}

// Wang et al. 2020, arXiv:2007.07481, equations 6 to 8: an update counts as its mean step,
//
//   client  Delta_i / |a_i|_1, and |a_i|_1 beside it
//   server  delta = tau_eff sum_i p_i Delta_i / |a_i|_1,  tau_eff = sum_i p_i |a_i|_1
//
// with the aggregator's weights p_i (of the subset, for ISP's candidates). Without it a client that makes ten
// times the steps counts ten times as much. Clients that all make as many steps: FedAvg. |a_i|_1 follows from
// the local optimiser where that is sgd (momentum, dampening, nesterov), with `mu` from the proximal steps
// that are then made, too (the authors' code then takes tau_eff from the bare steps); any other optimiser
// counts by its steps. Normalisation removes the bias to first order in learning rate times steps only.
// Statistics of batch norm are averaged as they are.
class FedNova final : public Method {
 public:
  FedNova(const FedNovaOptions& options, const Context& context)
      : mu_(options.mu), layout_(*context.layout), rule_(RuleOf(context.optimizer)) {}

  static absl::StatusOr<std::unique_ptr<Method>> Create(const FedNovaOptions& options,
                                                        const Context& context) {
    auto method = std::make_unique<FedNova>(options, context);
    if (options.mu > 0 && options.mu * method->rule_.learning_rate >= 1) {
      return InvalidInput("mu: times the local learning rate it must be below 1");
    }
    return std::unique_ptr<Method>(std::move(method));
  }

  absl::StatusOr<std::unique_ptr<LocalMethod>> Start(const Job& job, const State& /*memory*/) const override {
    return std::make_unique<Normalised>(*this, job);
  }
  std::vector<std::string> Scalars() const override { return {kNormalizer}; }

  absl::Status Combine(Round& round, State& /*memory*/) const override {
    const double effective = round.scalars.at(kNormalizer);
    ForEachTrainable(layout_, [&](size_t first, size_t count) {
      for (size_t i = first; i < first + count; ++i) {
        round.delta[i] = static_cast<float>(effective * static_cast<double>(round.delta[i]));
      }
    });
    round.report["effective_steps"] = {effective};
    return absl::OkStatus();
  }

  bool NeedsMean() const override { return true; }

 private:
  class Normalised final : public LocalMethod {
   public:
    Normalised(const FedNova& method, const Job& job)
        : method_(method), start_(job.model), rate_(method.rule_.learning_rate * job.learning_rate_factor) {}

    bool corrects() const override { return method_.mu_ > 0; }
    void Correct(int64_t first, std::span<const float> values, std::span<float> gradient) override {
      AddPull(static_cast<float>(method_.mu_), values,
              start_.subspan(static_cast<size_t>(first), gradient.size()), gradient);
    }
    absl::Status Finish(Work& work, State& /*memory*/) override {
      const double normalizer = Normalizer(method_.rule_, work.steps, rate_, method_.mu_);
      ForEachTrainable(method_.layout_, [&](size_t first, size_t count) {
        for (size_t i = first; i < first + count; ++i) {
          work.delta[i] = static_cast<float>(static_cast<double>(work.delta[i]) / normalizer);
        }
      });
      work.numbers[kNormalizer] = {normalizer};
      return absl::OkStatus();
    }

   private:
    const FedNova& method_;
    const ConstParameters start_;
    const double rate_;
  };

  const double mu_;
  const Layout& layout_;
  const StepRule rule_;
};

MUSTER_REGISTER(
    Method,
    Plugin<FedNovaOptions>("fednova", "Counts an update as its mean step, however many steps its client made",
                           "Wang et al. 2020, arXiv:2007.07481, equations 6 to 8")
        .Option("mu", &FedNovaOptions::mu, "strength of a proximal pull to the round's start; 0: none",
                AtLeast(0))
        .Make<FedNova>());

}  // namespace
}  // namespace muster
