// Moves the model along the aggregate; with momentum, FedAvgM.
#include "server/optimization/optimizer_state.h"

namespace muster {
namespace {

struct SgdOptions {
  double learning_rate = 1;
  double momentum = 0;
  bool nesterov = false;
};

// m = momentum m + delta; model += learning_rate m, or with nesterov learning_rate (delta + momentum m). With
// the defaults the model becomes the clients' mean. Each element is computed in double and rounded once.
class Sgd final : public ServerOptimizer {
 public:
  static absl::StatusOr<std::unique_ptr<ServerOptimizer>> Create(const SgdOptions& options,
                                                                 const Context& context) {
    if (options.nesterov && options.momentum == 0) return InvalidInput("nesterov: needs momentum, e.g. 0.9");
    return std::make_unique<Sgd>(options, context);
  }
  Sgd(const SgdOptions& options, const Context& context) : options_(options), size_(context.size) {
    if (options_.momentum > 0) momentum_.resize(static_cast<size_t>(size_));
  }

  absl::Status Step(const Aggregate& aggregate, Parameters model) override {
    const std::vector<float>& delta = aggregate.delta;
    MUSTER_RETURN_IF_ERROR(CheckStep(delta, model, size_));
    const double rate = options_.learning_rate, beta = options_.momentum;
    if (momentum_.empty()) {
      for (size_t i = 0; i < model.size(); ++i) {
        model[i] = static_cast<float>(model[i] + rate * static_cast<double>(delta[i]));
      }
      return absl::OkStatus();
    }
    for (size_t i = 0; i < model.size(); ++i) {
      const double d = delta[i];
      const double m = beta * momentum_[i] + d;
      momentum_[i] = static_cast<float>(m);
      model[i] = static_cast<float>(model[i] + rate * (options_.nesterov ? d + beta * m : m));
    }
    return absl::OkStatus();
  }

  State Save() const override {
    return options_.momentum > 0 ? State{.vectors = {{"momentum", momentum_}}, .numbers = {}} : State{};
  }
  absl::Status Load(State state) override {
    if (options_.momentum == 0) return LoadState(std::move(state), size_, {});
    return LoadState(std::move(state), size_, {{"momentum", &momentum_}});
  }
  std::unique_ptr<ServerOptimizer> Clone() const override { return std::make_unique<Sgd>(*this); }

 private:
  const SgdOptions options_;
  const int64_t size_;
  std::vector<float> momentum_;
};

MUSTER_REGISTER(ServerOptimizer,
                Plugin<SgdOptions>("sgd",
                                   "Moves the model along the aggregate; FedAvg, with momentum FedAvgM",
                                   "momentum: Hsu et al. 2019, arXiv:1909.06335")
                    .Option("learning_rate", &SgdOptions::learning_rate, "factor on the step", Above(0))
                    .Option("momentum", &SgdOptions::momentum, "share of the last direction that is kept",
                            Within(0, 1))
                    .Option("nesterov", &SgdOptions::nesterov, "look-ahead momentum; needs momentum above 0")
                    .Make<Sgd>());

}  // namespace
}  // namespace muster
