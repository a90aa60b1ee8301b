// Which client holds which samples.
#ifndef MUSTER_LEARNING_PARTITION_H_
#define MUSTER_LEARNING_PARTITION_H_

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "core/registry.h"
#include "core/status.h"
#include "learning/dataset.h"

namespace muster {

// Lists of sample indices, one per client, stored back to back: 4 bytes a sample and 8 a client.
class Partition {
 public:
  Partition() : offsets_{0} {}

  void AddClient(std::span<const uint32_t> samples);
  int64_t clients() const { return static_cast<int64_t>(offsets_.size()) - 1; }
  std::span<const uint32_t> samples(int64_t client) const {
    return {samples_.data() + offsets_[client], samples_.data() + offsets_[client + 1]};
  }
  int64_t total_samples() const { return static_cast<int64_t>(samples_.size()); }

 private:
  std::vector<uint32_t> samples_;
  std::vector<uint64_t> offsets_;
};

// A rule that deals samples to clients. Reproducible: the same data, number of clients and seed give the same
// partition on every machine. Stateless and thread-safe.
class Partitioner {
 public:
  using Interface = Partitioner;
  static constexpr char kKind[] = "partition";
  static constexpr char kList[] = "partitions";
  struct Context {
    std::string folder;  // relative paths in options are relative to this folder
  };

  virtual ~Partitioner() = default;
  // `clients` lists of indices into `data`; a list may be empty (the caller drops such clients). Rules whose clients
  // come from the data (natural) may return another number. INVALID_ARGUMENT where the rule cannot be applied to
  // these data (no labels, more clients than samples, unknown column).
  virtual absl::StatusOr<Partition> Split(const Dataset& data, int64_t clients, uint64_t seed) const = 0;
  // True where a sample may be given to several clients (or several times to one).
  virtual bool WithReplacement() const { return false; }
};

// {"clients": [[sample, ...], ...]} and back. Reading checks every index against `num_samples`; `name` is for errors.
std::string PartitionToJson(const Partition& partition);
absl::StatusOr<Partition> PartitionFromJson(const std::string& json, int64_t num_samples, const std::string& name);

}  // namespace muster

#endif  // MUSTER_LEARNING_PARTITION_H_
