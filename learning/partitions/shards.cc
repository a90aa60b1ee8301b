// The pathological split of McMahan et al. 2017 (arXiv:1602.05629, section 3): sort by label, cut into equal
// shards, deal each client a few of them.
#include <algorithm>

#include "core/random.h"
#include "learning/partitions/dealing.h"

namespace muster {
namespace {

struct ShardsOptions {
  int64_t shards = 2;
};

class Shards final : public Partitioner {
 public:
  explicit Shards(const ShardsOptions& options) : options_(options) {}

  absl::StatusOr<Partition> Split(const Dataset& data, int64_t clients, uint64_t seed) const override {
    MUSTER_ASSIGN_OR_RETURN(std::vector<std::vector<uint32_t>> classes, SamplesByClass(data));
    MUSTER_RETURN_IF_ERROR(RequireSamples(data, clients, options_.shards));
    Random random({seed, Purpose::kPartition});
    std::vector<uint32_t> by_label;
    by_label.reserve(data.size());
    for (std::vector<uint32_t>& samples : classes) {
      random.Shuffle(std::span(samples));
      by_label.insert(by_label.end(), samples.begin(), samples.end());
    }
    const int64_t count = clients * options_.shards;
    std::vector<int64_t> order(count);
    for (int64_t shard = 0; shard < count; ++shard) order[shard] = shard;
    random.Shuffle(std::span(order));
    std::vector<std::vector<uint32_t>> dealt(clients);
    for (int64_t i = 0; i < count; ++i) {
      const int64_t begin = data.size() * order[i] / count, end = data.size() * (order[i] + 1) / count;
      std::vector<uint32_t>& client = dealt[i / options_.shards];
      client.insert(client.end(), by_label.begin() + begin, by_label.begin() + end);
    }
    return SortedPartition(std::move(dealt));
  }

 private:
  const ShardsOptions options_;
};

MUSTER_REGISTER(Partitioner,
                Plugin<ShardsOptions>("shards", "Samples sorted by label, cut into shards and dealt",
                                      "McMahan et al. 2017, arXiv:1602.05629")
                    .Option("shards", &ShardsOptions::shards, "shards per client", AtLeast(1))
                    .Make<Shards>());

}  // namespace
}  // namespace muster
