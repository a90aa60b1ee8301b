// FedDyn: a regulariser that moves with the run makes the clients' optima agree with the federation's.
#include <cmath>

#include "core/kernel.h"
#include "methods/method.h"

namespace muster {
namespace {

const std::string kGradient = "gradient";  // g_i, at a client
const std::string kDrift = "drift";        // -h / alpha, at the server

struct FedDynOptions {
  double alpha = 0.01;
  double drift_cap = 0;
};

MUSTER_KERNEL void AddRegulariser(float alpha, const float* __restrict y, const float* __restrict x,
                                  const float* __restrict linear, float* __restrict gradient, int64_t size) {
  for (int64_t i = 0; i < size; ++i) {
    gradient[i] = std::fma(alpha, y[i] - x[i], gradient[i] - linear[i]);
  }
}

// Acar et al. 2021, arXiv:2111.04263, algorithm 1:
//
//   client  y = argmin f_i(y) - <g_i, y> + alpha / 2 |y - x|^2 by the local optimiser's steps;
//           g_i -= alpha (y - x)
//   server  h -= alpha / N sum_S (y - x);  x = mean_S y - h / alpha
//
// The server keeps drift = -h / alpha, the sum over rounds of |S| / N mean_S (y - x): the server optimiser
// steps along mean_S (y - x) + drift, and with the default (sgd, learning rate 1) the model becomes the
// paper's x. Nothing more travels. alpha = 0 is taken as no regulariser at all: h = 0, plain FedAvg.
//
// Clients count the same, as in the paper, so that h stays the mean of all g_i. What compression loses on the
// way up the clients' g_i do not know of: use it with error feedback (ef14) or not at all. For ISP's
// candidates a subset is taken as if it alone had been the round, with h from before it.
//
// drift_cap c: x moves by mean_S (y - x) + min(1, c |mean_S (y - x)| / |drift|) drift, as ISP's authors have
// it (arXiv:2508.13803's code, c = 0.85): of few clients the mean is noisy, and the drift adds up its noise.
// It keeps FedDyn from its fixed point, where both are equally long; the paper has no cap.
class FedDyn final : public Method {
 public:
  FedDyn(const FedDynOptions& options, const Context& context)
      : alpha_(static_cast<float>(options.alpha)), drift_cap_(options.drift_cap), layout_(*context.layout) {}

  absl::StatusOr<std::unique_ptr<LocalMethod>> Start(const Job& job, const State& memory) const override {
    if (alpha_ == 0) return nullptr;
    MUSTER_ASSIGN_OR_RETURN(std::vector<float> gradient, VectorOrZeros(memory, kGradient, layout_.size));
    return std::make_unique<Regularised>(alpha_, layout_, job.model, std::move(gradient));
  }

  absl::Status Combine(Round& round, State& memory) const override {
    if (alpha_ == 0) return absl::OkStatus();
    MUSTER_ASSIGN_OR_RETURN(std::vector<float> drift, VectorOrZeros(memory, kDrift, layout_.size));
    double drift_square = 0, mean_square = 0;
    ForEachTrainable(layout_, [&](size_t first, size_t count) {
      for (size_t i = first; i < first + count; ++i) {
        const double mean = round.delta[i];
        const double next = drift[i] + round.share * mean;
        drift_square += next * next;
        mean_square += mean * mean;
        drift[i] = static_cast<float>(next);
      }
    });
    const double drift_norm = std::sqrt(drift_square), most = drift_cap_ * std::sqrt(mean_square);
    const double share = drift_cap_ > 0 && most < drift_norm ? most / drift_norm : 1;
    ForEachTrainable(layout_, [&](size_t first, size_t count) {
      for (size_t i = first; i < first + count; ++i) {
        round.delta[i] = static_cast<float>(round.delta[i] + share * drift[i]);
      }
    });
    memory.vectors[kDrift] = std::move(drift);
    round.report["drift_norm"] = {drift_norm};
    return absl::OkStatus();
  }

  bool NeedsMean() const override { return true; }
  bool AddsUpRounds() const override { return true; }
  bool NeedsUniformWeights() const override { return true; }

 private:
  class Regularised final : public LocalMethod {
   public:
    Regularised(float alpha, const Layout& layout, ConstParameters start, std::vector<float> gradient)
        : alpha_(alpha), layout_(layout), start_(start), gradient_(std::move(gradient)) {}

    void Correct(int64_t first, std::span<const float> values, std::span<float> gradient) override {
      AddRegulariser(alpha_, values.data(), start_.data() + first, gradient_.data() + first, gradient.data(),
                     static_cast<int64_t>(gradient.size()));
    }
    absl::Status Finish(Work& work, State& memory) override {
      ForEachTrainable(layout_, [&](size_t first, size_t count) {
        for (size_t i = first; i < first + count; ++i) {
          gradient_[i] = std::fma(-alpha_, work.delta[i], gradient_[i]);
        }
      });
      memory.vectors[kGradient] = std::move(gradient_);
      return absl::OkStatus();
    }

   private:
    const float alpha_;
    const Layout& layout_;
    const ConstParameters start_;
    std::vector<float> gradient_;  // g_i
  };

  const float alpha_;
  const double drift_cap_;
  const Layout& layout_;
};

MUSTER_REGISTER(
    Method,
    Plugin<FedDynOptions>("feddyn",
                          "A regulariser that moves with the run, at client and server; every "
                          "client counts the same",
                          "Acar et al. 2021, arXiv:2111.04263, algorithm 1")
        .Option("alpha", &FedDynOptions::alpha, "strength of the regulariser; 0: none (FedAvg)", AtLeast(0))
        .Option("drift_cap", &FedDynOptions::drift_cap,
                "the most of the drift that is applied, in lengths of the mean update; 0: all of it",
                AtLeast(0))
        .Make<FedDyn>());

}  // namespace
}  // namespace muster
