// Classes of unequal sizes: a part of each class is left out, the rest is dealt in equal shares.
#include <cmath>

#include "absl/strings/str_cat.h"
#include "core/random.h"
#include "learning/partitions/dealing.h"

namespace muster {
namespace {

struct ImbalancedOptions {
  std::vector<double> keep;
};

class Imbalanced final : public Partitioner {
 public:
  static absl::StatusOr<std::unique_ptr<Partitioner>> Create(const ImbalancedOptions& options,
                                                             const Context& /*context*/) {
    for (const double share : options.keep) {
      if (!(share >= 0 && share <= 1)) {
        return InvalidInput(absl::StrCat("keep: ", share, " is out of range, between 0 and 1"));
      }
    }
    return std::make_unique<Imbalanced>(options);
  }
  explicit Imbalanced(const ImbalancedOptions& options) : options_(options) {}

  absl::StatusOr<Partition> Split(const Dataset& data, int64_t clients, uint64_t seed) const override {
    MUSTER_ASSIGN_OR_RETURN(std::vector<std::vector<uint32_t>> classes, SamplesByClass(data));
    if (!options_.keep.empty() && options_.keep.size() != classes.size()) {
      return InvalidInput(
          absl::StrCat("keep: ", options_.keep.size(), " shares given for ", classes.size(), " classes"));
    }
    Random random({seed, Purpose::kPartition});
    std::vector<uint32_t> samples;
    for (size_t k = 0; k < classes.size(); ++k) {
      random.Shuffle(std::span(classes[k]));
      const double share = options_.keep.empty() ? 1 : options_.keep[k];
      const auto kept = std::llround(share * static_cast<double>(classes[k].size()));
      samples.insert(samples.end(), classes[k].begin(), classes[k].begin() + kept);
    }
    const auto size = static_cast<int64_t>(samples.size());
    if (clients < 1 || size < clients) {
      return InvalidInput(absl::StrCat("keep: leaves ", size, " samples for ", clients,
                                       " clients; raise it or lower data.clients"));
    }
    random.Shuffle(std::span(samples));
    std::vector<std::vector<uint32_t>> dealt(clients);
    for (int64_t client = 0; client < clients; ++client) {
      dealt[client].assign(samples.begin() + size * client / clients,
                           samples.begin() + size * (client + 1) / clients);
    }
    return SortedPartition(std::move(dealt));
  }

 private:
  const ImbalancedOptions options_;
};

MUSTER_REGISTER(Partitioner,
                Plugin<ImbalancedOptions>("imbalanced", "Equal shares of classes of unequal sizes")
                    .Option("keep", &ImbalancedOptions::keep,
                            "share of each class that is dealt at all; empty: everything")
                    .Make<Imbalanced>());

}  // namespace
}  // namespace muster
