// The frame of FedAdagrad, FedAdam, FedYogi (Reddi et al. 2021, "Adaptive Federated Optimization",
// arXiv:2003.00295, algorithm 2) and FedAMSGrad. They differ in the rule for the second moment only.
#ifndef MUSTER_SERVER_OPTIMIZATION_ADAPTIVE_H_
#define MUSTER_SERVER_OPTIMIZATION_ADAPTIVE_H_

#include <algorithm>
#include <cmath>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "server/optimization/optimizer_state.h"

namespace muster {

struct AdaptiveOptions {
  double learning_rate = 0.01;
  double beta1 = 0.9;
  double beta2 = 0.99;
  double tau = 1e-3;
  bool bias_correction = false;
};

//   m = beta1 m + (1 - beta1) delta;   v = Rule(v, delta^2);   model += learning_rate m / (sqrt(v) + tau)
//
// m starts at 0 and v at tau^2, as in the paper, which corrects no bias. With `bias_correction`, m / (1 -
// beta1^t) and v / (1 - beta2^t) take their places at step t = 1, 2, ... State is float32; each element is
// computed in double and rounded once.
//
// Rule: static double SecondMoment(double v, double squared_delta, double beta2), and kLargest: whether a
// step divides by the root of the largest second moment so far instead of the last one.
template <typename Rule>
class Adaptive final : public ServerOptimizer {
 public:
  Adaptive(const AdaptiveOptions& options, const Context& context)
      : options_(options),
        size_(context.size),
        momentum_(static_cast<size_t>(size_)),
        second_moment_(static_cast<size_t>(size_), static_cast<float>(options.tau * options.tau)) {
    if (Rule::kLargest) largest_ = second_moment_;
  }

  absl::Status Step(const Aggregate& aggregate, Parameters model) override {
    const std::vector<float>& delta = aggregate.delta;
    MUSTER_RETURN_IF_ERROR(CheckStep(delta, model, size_));
    ++steps_;
    const double beta1 = options_.beta1, beta2 = options_.beta2, tau = options_.tau;
    double rate = options_.learning_rate, v_factor = 1;
    if (options_.bias_correction) {
      rate /= 1 - std::pow(beta1, static_cast<double>(steps_));
      v_factor = 1 / (1 - std::pow(beta2, static_cast<double>(steps_)));
    }
    for (size_t i = 0; i < model.size(); ++i) {
      const double d = delta[i];
      const double m = beta1 * momentum_[i] + (1 - beta1) * d;
      double v = Rule::SecondMoment(second_moment_[i], d * d, beta2);
      momentum_[i] = static_cast<float>(m);
      second_moment_[i] = static_cast<float>(v);
      if (Rule::kLargest) {
        v = std::max<double>(largest_[i], v);
        largest_[i] = static_cast<float>(v);
      }
      model[i] = static_cast<float>(model[i] + rate * m / (std::sqrt(v * v_factor) + tau));
    }
    return absl::OkStatus();
  }

  State Save() const override {
    State state{.vectors = {{"momentum", momentum_}, {"second_moment", second_moment_}}, .numbers = {}};
    if (Rule::kLargest) state.vectors["largest_second_moment"] = largest_;
    if (options_.bias_correction) state.numbers["steps"] = static_cast<double>(steps_);
    return state;
  }
  absl::Status Load(State state) override {
    double steps = 0;
    std::map<std::string, double*> numbers;
    if (options_.bias_correction) numbers["steps"] = &steps;
    std::map<std::string, std::vector<float>*> vectors = {{"momentum", &momentum_},
                                                          {"second_moment", &second_moment_}};
    if (Rule::kLargest) vectors["largest_second_moment"] = &largest_;
    MUSTER_RETURN_IF_ERROR(LoadState(std::move(state), size_, vectors, numbers));
    steps_ = static_cast<int64_t>(steps);
    return absl::OkStatus();
  }
  std::unique_ptr<ServerOptimizer> Clone() const override { return std::make_unique<Adaptive>(*this); }

 private:
  const AdaptiveOptions options_;
  const int64_t size_;
  std::vector<float> momentum_;
  std::vector<float> second_moment_;
  std::vector<float> largest_;  // empty where the rule does not keep it
  int64_t steps_ = 0;           // matters with bias_correction only, and only then is it saved
};

// The options of FedAdam, FedYogi and FedAMSGrad; the first two may correct the bias, too.
inline Plugin<AdaptiveOptions> DescribeMoments(Plugin<AdaptiveOptions> plugin) {
  return std::move(plugin)
      .Option("learning_rate", &AdaptiveOptions::learning_rate, "eta: factor on the step", Above(0))
      .Option("beta1", &AdaptiveOptions::beta1, "share of the last direction that is kept", Within(0, 1))
      .Option("beta2", &AdaptiveOptions::beta2, "share of the last second moment that is kept", Within(0, 1))
      .Option("tau", &AdaptiveOptions::tau,
              "adaptivity: added to the root of the second moment, which starts at tau^2", Above(0));
}
inline Plugin<AdaptiveOptions> DescribeAdaptive(Plugin<AdaptiveOptions> plugin) {
  return DescribeMoments(std::move(plugin))
      .Option("bias_correction", &AdaptiveOptions::bias_correction,
              "divide the moments by 1 - beta^t, as Adam does and the paper does not");
}

}  // namespace muster

#endif  // MUSTER_SERVER_OPTIMIZATION_ADAPTIVE_H_
