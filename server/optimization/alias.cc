// ALIAS over many clients: signs up, signs down, the step size estimated at the server.
#include <algorithm>
#include <cmath>

#include "server/optimization/optimizer_state.h"

namespace muster {
namespace {

struct AliasOptions {
  double learning_rate = 1;
  std::string distance = "loss";
  double f_low = 0;
  double initial_distance = 1;
  double initial_step = 1e-3;
};

// model += learning_rate sqrt(d / eta) sign(delta), with what the clients' `alias_vote` tells
// (arXiv:2506.03725, multi-node form; estimates as in optim/alias.h):
//   eta += mean of their "smoothness": ||g_j - g_j,a||_1 / ||x - x_a||_inf; of the first round, the probe
//   d    = mean first loss - f_low, or with distance: estimate max(d, d~), d~ += mean of their "fallen"
// The mean of norms bounds the norm of the mean, so the step errs on the short side. Until clients have told
// a smoothness, and for as long as they do not, a step has the size initial_step. Numbers that are no
// estimates (negative, not finite) are left out.
class Alias final : public ServerOptimizer {
 public:
  Alias(const AliasOptions& options, const Context& context) : options_(options), size_(context.size) {}

  absl::Status Step(const Aggregate& aggregate, Parameters model) override {
    MUSTER_RETURN_IF_ERROR(CheckStep(aggregate.delta, model, size_));
    Learn(aggregate.reports);
    step_size_ = options_.learning_rate * (smoothness_ > 0 ? std::sqrt(std::max(distance_, 0.0) / smoothness_)
                                                           : options_.initial_step);
    for (size_t i = 0; i < model.size(); ++i) {
      const double sign =
          static_cast<double>(aggregate.delta[i] > 0) - static_cast<double>(aggregate.delta[i] < 0);
      model[i] = static_cast<float>(model[i] + step_size_ * sign);
    }
    return absl::OkStatus();
  }

  Numbers Report() const override {
    return {{"step_size", {step_size_}}, {"smoothness", {smoothness_}}, {"distance", {distance_}}};
  }
  State Save() const override {
    return {.vectors = {},
            .numbers = {{"smoothness", smoothness_},
                        {"distance", distance_},
                        {"fallen", fallen_},
                        {"step_size", step_size_}}};
  }
  absl::Status Load(State state) override {
    return LoadState(std::move(state), size_, {},
                     {{"smoothness", &smoothness_},
                      {"distance", &distance_},
                      {"fallen", &fallen_},
                      {"step_size", &step_size_}});
  }
  std::unique_ptr<ServerOptimizer> Clone() const override { return std::make_unique<Alias>(*this); }

 private:
  struct Mean {
    double sum = 0;
    int64_t count = 0;
    void Add(double value) {
      sum += value;
      ++count;
    }
    double value() const { return count > 0 ? sum / static_cast<double>(count) : 0; }
  };

  void Learn(const std::vector<ClientReport>& reports) {
    Mean smoothness, fallen, loss;
    for (const ClientReport& report : reports) {
      const auto told = [&](const char* name, Mean& mean, double least) {
        const auto found = report.numbers.find(name);
        if (found == report.numbers.end() || found->second.size() != 1) return;
        const double value = found->second[0];
        if (std::isfinite(value) && value >= least) mean.Add(value);
      };
      told("smoothness", smoothness, 0);
      told("fallen", fallen, -HUGE_VAL);
      if (std::isfinite(report.train_loss)) loss.Add(report.train_loss);
    }
    if (smoothness_ == 0 && smoothness.count > 0) {
      distance_ = options_.distance == "loss" ? loss.value() - options_.f_low : options_.initial_distance;
    }
    smoothness_ += smoothness.value();
    fallen_ += fallen.value();
    if (options_.distance == "estimate") distance_ = std::max(distance_, fallen_);
  }

  const AliasOptions options_;
  const int64_t size_;
  double smoothness_ = 0;  // eta
  double distance_ = 0;    // d
  double fallen_ = 0;      // d~
  double step_size_ = 0;   // of the last step
};

MUSTER_REGISTER(
    ServerOptimizer,
    Plugin<AliasOptions>("alias", "Steps along signs, of a size estimated from what clients tell",
                         "arXiv:2506.03725, multi-node form")
        .Option("learning_rate", &AliasOptions::learning_rate,
                "factor on the step size that is found; 1 is the method's own", Above(0))
        .Option("distance", &AliasOptions::distance,
                "how far the loss can fall: by the first loss (option II), or estimated on the way (option "
                "I, needs gap 1 at the clients)",
                OneOf({"loss", "estimate"}))
        .Option("f_low", &AliasOptions::f_low, "a lower bound of the loss, for distance: loss",
                Between(-1e9, 1e9))
        .Option("initial_distance", &AliasOptions::initial_distance, "where distance: estimate starts",
                Above(0))
        .Option("initial_step", &AliasOptions::initial_step, "step size while no client tells a smoothness",
                Above(0))
        .Make<Alias>());

}  // namespace
}  // namespace muster
