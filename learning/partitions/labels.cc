// Quantity-based label skew ("#C = k" of Li et al. 2022, arXiv:2102.02079, section IV): every client holds
// samples of exactly `labels` classes. Classes go round: a client takes those with the fewest holders so far,
// ties at random, so numbers of holders differ by at most one. A class's samples are shared evenly by its
// holders.
#include <algorithm>

#include "absl/strings/str_cat.h"
#include "core/random.h"
#include "learning/partitions/dealing.h"

namespace muster {
namespace {

struct LabelsOptions {
  int64_t labels = 2;
};

class Labels final : public Partitioner {
 public:
  explicit Labels(const LabelsOptions& options) : options_(options) {}

  absl::StatusOr<Partition> Split(const Dataset& data, int64_t clients, uint64_t seed) const override {
    MUSTER_ASSIGN_OR_RETURN(std::vector<std::vector<uint32_t>> classes, SamplesByClass(data));
    std::vector<size_t> present;
    for (size_t c = 0; c < classes.size(); ++c) {
      if (!classes[c].empty()) present.push_back(c);
    }
    const auto count = static_cast<int64_t>(present.size());
    if (options_.labels > count) {
      return InvalidInput(absl::StrCat("data.partition.labels: ", options_.labels,
                                       " classes per client, but the data ", "have ", count, "; lower it"));
    }
    if (clients < (count + options_.labels - 1) / options_.labels) {
      return InvalidInput(absl::StrCat("data.partition.labels: ", clients, " clients with ", options_.labels,
                                       " classes each cannot hold all ", count,
                                       " classes; raise labels or clients"));
    }
    std::vector<std::vector<int64_t>> holders(classes.size());
    Random random({seed, Purpose::kPartition, 0, 0});
    for (int64_t client = 0; client < clients; ++client) {
      random.Shuffle(std::span(present));
      std::stable_sort(present.begin(), present.end(),
                       [&holders](size_t a, size_t b) { return holders[a].size() < holders[b].size(); });
      for (int64_t i = 0; i < options_.labels; ++i) holders[present[i]].push_back(client);
    }
    std::vector<std::vector<uint32_t>> dealt(clients);
    for (size_t c = 0; c < classes.size(); ++c) {
      const size_t size = classes[c].size(), shares = holders[c].size();
      if (size < shares) {
        return InvalidInput(absl::StrCat("data.partition.labels: class ",
                                         data.class_names.empty() ? absl::StrCat(c) : data.class_names[c],
                                         " has ", size, " samples for ", shares,
                                         " clients; lower labels or data.clients, or take dirichlet"));
      }
      Random({seed, Purpose::kPartition, 1, c}).Shuffle(std::span(classes[c]));
      for (size_t i = 0; i < shares; ++i) {
        std::vector<uint32_t>& client = dealt[holders[c][i]];
        client.insert(client.end(), classes[c].begin() + size * i / shares,
                      classes[c].begin() + size * (i + 1) / shares);
      }
    }
    return SortedPartition(std::move(dealt));
  }

 private:
  const LabelsOptions options_;
};

MUSTER_REGISTER(Partitioner, Plugin<LabelsOptions>("labels", "Every client holds a fixed number of classes",
                                                   "Li et al. 2022, arXiv:2102.02079")
                                 .Option("labels", &LabelsOptions::labels, "classes per client", AtLeast(1))
                                 .Make<Labels>());

}  // namespace
}  // namespace muster
