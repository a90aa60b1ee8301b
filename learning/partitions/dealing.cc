#include "learning/partitions/dealing.h"

#include <algorithm>
#include <numeric>

#include "absl/strings/str_cat.h"

namespace muster {

std::vector<uint32_t> AllSamples(const Dataset& data) {
  std::vector<uint32_t> samples(data.size());
  std::iota(samples.begin(), samples.end(), 0);
  return samples;
}

absl::StatusOr<std::vector<std::vector<uint32_t>>> SamplesByClass(const Dataset& data) {
  if (data.num_classes == 0) {
    return InvalidInput(
        "data.partition: this rule needs class labels and the data have none; take iid or quantity");
  }
  std::vector<std::vector<uint32_t>> classes(data.num_classes);
  for (int64_t i = 0; i < data.size(); ++i) classes[data.labels[i]].push_back(static_cast<uint32_t>(i));
  return classes;
}

absl::Status RequireSamples(const Dataset& data, int64_t clients, int64_t per_client) {
  if (clients < 1)
    return InvalidInput(absl::StrCat("data.clients: ", clients, " is out of range, must be at least 1"));
  if (per_client == 0 || clients <= data.size() / per_client) return absl::OkStatus();
  return InvalidInput(absl::StrCat("data.clients: ", clients, " clients with at least ", per_client,
                                   " sample(s) each need more than the ", data.size(),
                                   " training samples there are; lower the number of clients"));
}

Partition SortedPartition(std::vector<std::vector<uint32_t>> clients) {
  Partition partition;
  for (std::vector<uint32_t>& samples : clients) {
    std::sort(samples.begin(), samples.end());
    partition.AddClient(samples);
  }
  return partition;
}

}  // namespace muster
