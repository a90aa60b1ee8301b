// SCAFFOLD: control variates take the drift out of local steps.
#include <cmath>

#include "core/kernel.h"
#include "methods/method.h"

namespace muster {
namespace {

const std::string kControl = "method/control";               // c, to the clients
const std::string kControlChange = "method/control_change";  // c_i+ - c_i, to the server
const std::string kRemembered = "control";                   // c at the server, c_i at a client

struct ScaffoldOptions {
  double correction = 1;
};

// gradient += factor (c - c_i), after the gradient was added to the job's sum.
MUSTER_KERNEL void Shift(float factor, const float* __restrict server, const float* __restrict own,
                         float* __restrict sum, float* __restrict gradient, int64_t size) {
  for (int64_t i = 0; i < size; ++i) {
    sum[i] += gradient[i];
    gradient[i] = std::fma(factor, server[i] - own[i], gradient[i]);
  }
}

// Karimireddy et al. 2020, arXiv:1910.06378, algorithm 1, option II:
//
//   client  y -= eta_l (g(y) - c_i + c), K steps;  c_i+ = c_i - c + (x - y) / (K eta_l)
//   server  c += |S| / N mean(c_i+ - c_i);  x += eta_g mean(y - x), eta_g the server optimiser's learning
//   rate
//
// Put the steps into option II and c_i+ is the mean of the K gradients g, whatever eta_l and its schedule
// were. That is what is computed, so the method works with every local optimiser: with momentum or Adam (x -
// y) / (K eta_l) would not be a gradient at all. Gradients that an optimiser asks for beside its steps count,
// too. Option I (the gradient of all data at x) is not given.
//
// Every update brings a second vector of the model's size, and every task another one; both are counted.
// Clients count the same, as in the paper: c is the plain mean of all c_i, with those that never took part at
// 0. For ISP's candidates the model moves by the mean of the subset's updates alone; c and c_i change once,
// with the round itself.
class Scaffold final : public Method {
 public:
  Scaffold(const ScaffoldOptions& options, const Context& context)
      : correction_(static_cast<float>(options.correction)), size_(context.layout->size) {}

  absl::StatusOr<std::unique_ptr<LocalMethod>> Start(const Job& job, const State& memory) const override {
    MUSTER_ASSIGN_OR_RETURN(const std::span<const float> control, Received(job, kControl, size_));
    MUSTER_ASSIGN_OR_RETURN(std::vector<float> own, VectorOrZeros(memory, kRemembered, size_));
    return std::make_unique<Controlled>(correction_, control, std::move(own));
  }

  std::map<std::string, std::vector<float>> Broadcast(const State& memory) const override {
    const auto control = memory.vectors.find(kRemembered);
    if (control != memory.vectors.end()) return {{kControl, control->second}};
    return {{kControl, std::vector<float>(static_cast<size_t>(size_))}};
  }
  std::vector<std::string> Extras() const override { return {kControlChange}; }

  absl::Status Combine(Round& round, State& memory) const override {
    MUSTER_ASSIGN_OR_RETURN(std::vector<float> control, VectorOrZeros(memory, kRemembered, size_));
    const std::vector<float>& change = round.extras.at(kControlChange);
    double square = 0;
    for (size_t i = 0; i < control.size(); ++i) {
      control[i] = static_cast<float>(control[i] + round.share * static_cast<double>(change[i]));
      square += static_cast<double>(control[i]) * control[i];
    }
    memory.vectors[kRemembered] = std::move(control);
    round.report["control_norm"] = {std::sqrt(square)};
    return absl::OkStatus();
  }

  bool NeedsMean() const override { return true; }
  bool NeedsUniformWeights() const override { return true; }

 private:
  class Controlled final : public LocalMethod {
   public:
    // `control` belongs to the job.
    Controlled(float correction, std::span<const float> control, std::vector<float> own)
        : correction_(correction), control_(control), own_(std::move(own)), sum_(own_.size()) {}

    void Correct(int64_t first, std::span<const float> /*values*/, std::span<float> gradient) override {
      Shift(correction_, control_.data() + first, own_.data() + first, sum_.data() + first, gradient.data(),
            static_cast<int64_t>(gradient.size()));
    }

    absl::Status Finish(Work& work, State& memory) override {
      std::vector<float> change(sum_.size());
      const auto gradients = static_cast<double>(work.gradients);
      for (size_t i = 0; i < sum_.size(); ++i) {
        const auto mean = static_cast<float>(sum_[i] / gradients);
        change[i] = mean - own_[i];
        own_[i] = mean;
      }
      work.extras[kControlChange] = std::move(change);
      memory.vectors[kRemembered] = std::move(own_);
      return absl::OkStatus();
    }

   private:
    const float correction_;
    const std::span<const float> control_;
    std::vector<float> own_;  // c_i
    std::vector<float> sum_;  // of gradients
  };

  const float correction_;
  const int64_t size_;
};

MUSTER_REGISTER(Method,
                Plugin<ScaffoldOptions>("scaffold",
                                        "Control variates take the drift out of local steps; every client "
                                        "counts the same",
                                        "Karimireddy et al. 2020, arXiv:1910.06378, algorithm 1, option II")
                    .Option("correction", &ScaffoldOptions::correction,
                            "factor on c - c_i; 0: steps of plain training (FedAvg)", Between(0, 1))
                    .Make<Scaffold>());

}  // namespace
}  // namespace muster
