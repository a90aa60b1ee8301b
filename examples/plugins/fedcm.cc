// Worked example, a method: every local gradient is mixed with the direction in which the whole federation
// went last round (FedCM: Xu et al. 2021, arXiv:2106.10874). In the tree it would be methods/fedcm.cc, its
// test tests/methods/fedcm_test.cc (the shared tests cover it already).
#include "methods/method.h"

namespace muster {
namespace {

const std::string kDirection = "method/direction";  // to the clients: the last round's mean gradient
const std::string kLength = "method/length";        // to the server: learning rate times steps

struct FedCmOptions {
  double share = 0.1;
  double learning_rate = 0.05;
};

class FedCm final : public Method {
 public:
  FedCm(const FedCmOptions& options, const Context& context) : options_(options), layout_(*context.layout) {}

  // The client half.
  absl::StatusOr<std::unique_ptr<LocalMethod>> Start(const Job& job, const State& /*memory*/) const override {
    MUSTER_ASSIGN_OR_RETURN(const std::span<const float> direction, Received(job, kDirection, layout_.size));
    return std::make_unique<Mixed>(options_, direction);
  }

  // The server half: what it sends, what it wants to be told, and what it makes of a round.
  std::map<std::string, std::vector<float>> Broadcast(const State& memory) const override {
    const auto direction = memory.vectors.find(kDirection);
    if (direction != memory.vectors.end()) return {*direction};
    return {{kDirection, std::vector<float>(static_cast<size_t>(layout_.size))}};
  }
  std::vector<std::string> Scalars() const override { return {kLength}; }
  absl::Status Combine(Round& round, State& memory) const override {
    std::vector<float> direction(round.delta.size());
    ForEachTrainable(layout_, [&](size_t first, size_t count) {
      for (size_t i = first; i < first + count; ++i) {
        direction[i] = static_cast<float>(-round.delta[i] / round.scalars.at(kLength));
      }
    });
    memory.vectors[kDirection] = std::move(direction);
    return absl::OkStatus();
  }
  bool NeedsMean() const override { return true; }

 private:
  class Mixed final : public LocalMethod {
   public:
    Mixed(const FedCmOptions& options, std::span<const float> direction)
        : options_(options), direction_(direction) {}
    void Correct(int64_t first, std::span<const float> /*values*/, std::span<float> gradient) override {
      const auto share = static_cast<float>(options_.share);
      for (size_t i = 0; i < gradient.size(); ++i) {
        gradient[i] = share * gradient[i] + (1 - share) * direction_[static_cast<size_t>(first) + i];
      }
    }
    absl::Status Finish(Work& work, State& /*memory*/) override {
      work.numbers[kLength] = {options_.learning_rate * static_cast<double>(work.steps)};
      return absl::OkStatus();
    }

   private:
    const FedCmOptions options_;
    const std::span<const float> direction_;  // of the job
  };

  const FedCmOptions options_;
  const Layout& layout_;
};

MUSTER_REGISTER(
    Method, Plugin<FedCmOptions>("fedcm", "Mixes every local gradient with the federation's last direction",
                                 "Xu et al. 2021, arXiv:2106.10874")
                .Option("share", &FedCmOptions::share, "what a client's own gradient counts", AboveUpTo(0, 1))
                .Option("learning_rate", &FedCmOptions::learning_rate, "the local optimiser's", Above(0))
                .Make<FedCm>());

}  // namespace
}  // namespace muster
