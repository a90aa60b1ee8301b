// FedProx: clients do not stray from where the round began.
#include "methods/method.h"
#include "methods/pull.h"

namespace muster {
namespace {

struct FedProxOptions {
  double mu = 0.01;
};

// Client i minimises f_i(y) + mu / 2 |y - x|^2, x the model the round starts from: mu (y - x) is added to
// every gradient (Li et al. 2020, arXiv:1812.06127, algorithm 2). mu = 0 is plain training. Nothing more
// travels and nothing is remembered; any aggregator and server optimiser will do. The fixed point under many
// local steps is still not the optimum of the sum, only nearer to it the larger mu is.
class FedProx final : public Method {
 public:
  explicit FedProx(const FedProxOptions& options) : mu_(static_cast<float>(options.mu)) {}

  absl::StatusOr<std::unique_ptr<LocalMethod>> Start(const Job& job, const State& /*memory*/) const override {
    if (mu_ == 0) return nullptr;
    return std::make_unique<Proximal>(mu_, job.model);
  }
  absl::Status Combine(Round& /*round*/, State& /*memory*/) const override { return absl::OkStatus(); }

 private:
  class Proximal final : public LocalMethod {
   public:
    Proximal(float mu, ConstParameters start) : mu_(mu), start_(start) {}
    void Correct(int64_t first, std::span<const float> values, std::span<float> gradient) override {
      AddPull(mu_, values, start_.subspan(static_cast<size_t>(first), gradient.size()), gradient);
    }
    absl::Status Finish(Work& /*work*/, State& /*memory*/) override { return absl::OkStatus(); }

   private:
    const float mu_;
    const ConstParameters start_;
  };

  const float mu_;
};

MUSTER_REGISTER(Method,
                Plugin<FedProxOptions>("fedprox", "Pulls every local step back to the round's start",
                                       "Li et al. 2020, arXiv:1812.06127, algorithm 2")
                    .Option("mu", &FedProxOptions::mu, "strength of the pull; 0: none (FedAvg)", AtLeast(0))
                    .Make<FedProx>());

}  // namespace
}  // namespace muster
