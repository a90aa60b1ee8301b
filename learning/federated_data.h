// The data of a federation: one copy of the samples and who holds which.
#ifndef MUSTER_LEARNING_FEDERATED_DATA_H_
#define MUSTER_LEARNING_FEDERATED_DATA_H_

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "core/status.h"
#include "learning/dataset.h"
#include "learning/partition.h"
#include "muster/v1/experiment.pb.h"

namespace muster {

// Clients are numbered 0 .. clients()-1.
struct FederatedData {
  std::shared_ptr<const TrainTest> samples;  // perhaps other federations' too; immutable
  Partition training;                        // a client's training samples, indices into `train()`
  Partition validation;  // its validation samples; no clients at all if none were split off
  std::vector<uint32_t>
      trust;        // the server's trust set, ascending indices into `train()`; empty if there is none
  Partition dealt;  // as the partitioner (or the pin) gave it: before small clients were dropped and
                    // validation parts split off; what partition.json records
  int64_t dropped_clients = 0;  // clients with too few samples

  int64_t clients() const { return training.clients(); }
  const Dataset& train() const { return samples->train; }  // every client's, and the trust set's, samples
  const Dataset& test() const { return samples->test; }
};

// Loads, limits, pools, standardises, sets the trust set aside, partitions and splits, in this order, as
// `config` says. `pinned_partition` is a file as PartitionToJson writes it, or "". Errors name the
// configuration's field
// ("data.partition: ...") or the file at fault.
absl::StatusOr<FederatedData> BuildFederatedData(const v1::Data& config, const std::string& pinned_partition,
                                                 uint64_t seed);

// The data of several federations, each loaded once: those that differ in the partition alone share their
// samples, those that do not differ share everything. Keeps what it made. Not thread-safe.
class FederatedDataCache {
 public:
  // As BuildFederatedData.
  absl::StatusOr<std::shared_ptr<const FederatedData>> Get(const v1::Data& config,
                                                           const std::string& pinned_partition,
                                                           uint64_t seed);

 private:
  std::map<std::string, std::shared_ptr<const TrainTest>> samples_;  // by what they depend on
  std::map<std::string, std::shared_ptr<const FederatedData>> data_;
};

// How many samples of each class every listed sample set holds: [num_classes].
std::vector<int64_t> ClassCounts(const Dataset& data, std::span<const uint32_t> samples);

}  // namespace muster

#endif  // MUSTER_LEARNING_FEDERATED_DATA_H_
