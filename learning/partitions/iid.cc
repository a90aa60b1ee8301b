// Equal shares of the shuffled samples (McMahan et al. 2017, arXiv:1602.05629, section 3).
#include "core/random.h"
#include "learning/partitions/dealing.h"

namespace muster {
namespace {

class Iid final : public Partitioner {
 public:
  absl::StatusOr<Partition> Split(const Dataset& data, int64_t clients, uint64_t seed) const override {
    MUSTER_RETURN_IF_ERROR(RequireSamples(data, clients));
    std::vector<uint32_t> samples = AllSamples(data);
    Random({seed, Purpose::kPartition}).Shuffle(std::span(samples));
    std::vector<std::vector<uint32_t>> dealt(clients);
    for (int64_t client = 0; client < clients; ++client) {
      const int64_t begin = data.size() * client / clients, end = data.size() * (client + 1) / clients;
      dealt[client].assign(samples.begin() + begin, samples.begin() + end);
    }
    return SortedPartition(std::move(dealt));
  }
};

MUSTER_REGISTER(Partitioner, Plugin("iid", "Equal shares at random; sizes differ by at most one",
                                    "McMahan et al. 2017, arXiv:1602.05629")
                                 .Make<Iid>());

}  // namespace
}  // namespace muster
