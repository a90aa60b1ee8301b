// Trains on wrong labels: data poisoning.
#include <numeric>

#include "simulation/adversary.h"

namespace muster {
namespace {

class FlipLabels final : public Adversary {
 public:
  static absl::StatusOr<std::unique_ptr<Adversary>> Create(const AdversaryOptions& /*options*/,
                                                           const Context& context) {
    if (context.num_classes < 2)
      return InvalidInput("the data have no classes whose labels could be flipped");
    auto adversary = std::make_unique<FlipLabels>();
    adversary->relabel_.resize(static_cast<size_t>(context.num_classes));
    std::iota(adversary->relabel_.rbegin(), adversary->relabel_.rend(), 0);
    return adversary;
  }
  std::span<const int64_t> Relabel() const override { return relabel_; }

 private:
  std::vector<int64_t> relabel_;
};

MUSTER_REGISTER(Adversary,
                AdversaryPlugin("flip_labels", "Trains on flipped labels: class k of C becomes C - 1 - k",
                                "Tolpegin et al. 2020, arXiv:2007.08432")
                    .Make<FlipLabels>());

}  // namespace
}  // namespace muster
