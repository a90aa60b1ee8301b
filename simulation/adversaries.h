// Which clients of a simulation are adversaries.
#ifndef MUSTER_SIMULATION_ADVERSARIES_H_
#define MUSTER_SIMULATION_ADVERSARIES_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "core/status.h"
#include "muster/v1/experiment.pb.h"
#include "simulation/adversary.h"

namespace muster {

// Immutable and thread-safe once made.
class Adversaries {
 public:
  struct Group {
    std::string name;  // the plug-in's
    std::unique_ptr<Adversary> adversary;
    std::vector<int64_t> clients;  // ascending
  };

  Adversaries() = default;
  // Every entry of simulation.adversaries takes its fraction of the clients (rounded, at least one unless it
  // is 0), by one shuffle that depends on the seed alone: what a client is does not change when options do.
  static absl::StatusOr<Adversaries> Create(const v1::Simulation& config, int64_t clients,
                                            int64_t num_classes, uint64_t seed);

  // The client's group, or nullptr for an honest client.
  const Group* Of(int64_t client) const {
    const int group = group_of_.empty() ? kHonest : group_of_[static_cast<size_t>(client)];
    return group == kHonest ? nullptr : &groups_[static_cast<size_t>(group)];
  }
  const std::vector<Group>& groups() const { return groups_; }
  // Its place among groups().
  int IndexOf(const Group& group) const { return static_cast<int>(&group - groups_.data()); }

 private:
  static constexpr int kHonest = -1;

  std::vector<Group> groups_;
  std::vector<int> group_of_;  // by client; empty if all are honest
};

}  // namespace muster

#endif  // MUSTER_SIMULATION_ADVERSARIES_H_
