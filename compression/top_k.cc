// Top-K: the elements of largest magnitude.
#include <algorithm>
#include <utility>

#include "compression/nested.h"
#include "compression/select.h"
#include "compression/sparse.h"

namespace muster {
namespace {

struct TopKOptions {
  double ratio = 0.01;
  int64_t count = 0;
};

// delta = k / n: what is left out is at most (n - k) / n of the square.
class TopK final : public Sparse {
 public:
  TopK(const TopKOptions& options, const Context& context) : Sparse(context.values), options_(options) {}

  Traits traits(const Layout& layout) const override {
    const int64_t k = Count(layout.size);
    const Traits kept{.delta =
                          layout.size > 0 ? static_cast<double>(k) / static_cast<double>(layout.size) : 1};
    return ChainTraits(kept, values().traits(VectorLayout(k)));
  }

 protected:
  std::vector<uint32_t> Select(std::span<const float> x) const override {
    return LargestPlaces(x, static_cast<size_t>(Count(static_cast<int64_t>(x.size()))));
  }
  absl::StatusOr<DeviceVector::Kept> SelectOnDevice(const DeviceVector& x) const override {
    return x.Largest(Count(x.size()));
  }

 private:
  int64_t Count(int64_t n) const {
    return options_.count > 0 ? std::min(options_.count, n) : CountOf(options_.ratio, n);
  }

  const TopKOptions options_;
};

// Abstract: sparse ternary compression is top-k followed by signs: every kept element becomes mean|kept| with
// its sign.
class Stc : public Compressor {
 public:
  static absl::StatusOr<std::unique_ptr<Compressor>> Create(const TopKOptions& options,
                                                            const Compressor::Context& context) {
    if (context.values != nullptr) return InvalidInput("stc: its values are signs; nothing can follow it");
    MUSTER_ASSIGN_OR_RETURN(
        std::unique_ptr<Compressor> signs,
        Registry<Compressor>::Get().Create({"sign", {{"scale", "mean"}, {"bucket", int64_t{0}}}}, {}));
    return std::make_unique<TopK>(options, Compressor::Context{.values = std::move(signs)});
  }
};

constexpr char kRatio[] = "share of the elements kept, rounded up";
constexpr char kCount[] = "elements kept; 0: by ratio";

MUSTER_REGISTER(
    Compressor,
    Plugin<TopKOptions>("top_k", "The elements of largest magnitude; contractive; a stage",
                        "Aji and Heafield 2017, arXiv:1704.05021; Stich et al. 2018, arXiv:1809.07599")
        .Option("ratio", &TopKOptions::ratio, kRatio, AboveUpTo(0, 1))
        .Option("count", &TopKOptions::count, kCount, AtLeast(0))
        .Make<TopK>());
MUSTER_REGISTER(Compressor,
                Plugin<TopKOptions>("stc",
                                    "Top-k whose values are sign times their mean magnitude; contractive",
                                    "Sattler et al. 2019 (STC), arXiv:1903.02891, algorithm 1")
                    .Option("ratio", &TopKOptions::ratio, kRatio, AboveUpTo(0, 1))
                    .Option("count", &TopKOptions::count, kCount, AtLeast(0))
                    .Make<Stc>());

}  // namespace
}  // namespace muster
