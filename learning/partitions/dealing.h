// What the partition rules share.
#ifndef MUSTER_LEARNING_PARTITIONS_DEALING_H_
#define MUSTER_LEARNING_PARTITIONS_DEALING_H_

#include <cstdint>
#include <string>
#include <vector>

#include "core/status.h"
#include "learning/dataset.h"
#include "learning/partition.h"

namespace muster {

// Samples 0 .. size-1.
std::vector<uint32_t> AllSamples(const Dataset& data);
// The samples of each class, ascending. INVALID_ARGUMENT if the data have no classes.
absl::StatusOr<std::vector<std::vector<uint32_t>>> SamplesByClass(const Dataset& data);
// INVALID_ARGUMENT if there is no client, or `data` cannot give each `per_client` samples.
absl::Status RequireSamples(const Dataset& data, int64_t clients, int64_t per_client = 1);

// One list per client, each sorted: a client's order of samples tells nothing about how they were dealt.
Partition SortedPartition(std::vector<std::vector<uint32_t>> clients);

}  // namespace muster

#endif  // MUSTER_LEARNING_PARTITIONS_DEALING_H_
