// Every client draws its samples with replacement from the whole training set: any number of clients from
// small data, for tests of scale.
#include <algorithm>

#include "core/random.h"
#include "learning/partitions/dealing.h"

namespace muster {
namespace {

struct ResampleOptions {
  int64_t samples = 60;
};

class Resample final : public Partitioner {
 public:
  explicit Resample(const ResampleOptions& options) : options_(options) {}

  absl::StatusOr<Partition> Split(const Dataset& data, int64_t clients, uint64_t seed) const override {
    MUSTER_RETURN_IF_ERROR(RequireSamples(data, std::min<int64_t>(clients, 1)));
    Partition partition;
    std::vector<uint32_t> drawn(options_.samples);
    for (int64_t client = 0; client < clients; ++client) {
      Random random({seed, Purpose::kPartition, 0, static_cast<uint64_t>(client)});
      for (uint32_t& sample : drawn) sample = static_cast<uint32_t>(random.Below(data.size()));
      partition.AddClient(drawn);
    }
    return partition;
  }
  bool WithReplacement() const override { return true; }

 private:
  const ResampleOptions options_;
};

MUSTER_REGISTER(Partitioner,
                Plugin<ResampleOptions>("resample", "Every client draws from all samples, with replacement")
                    .Option("samples", &ResampleOptions::samples, "samples per client", Between(1, 1e9))
                    .Make<Resample>());

}  // namespace
}  // namespace muster
