// Groups of samples, as optimisers that weigh groups ask for them.
#ifndef MUSTER_CLIENT_SAMPLE_GROUPS_H_
#define MUSTER_CLIENT_SAMPLE_GROUPS_H_

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "core/status.h"
#include "learning/dataset.h"

namespace muster {

// Found once for each of its names, which are those of Oracle::Groups; groups of single samples anew for
// every job. One thread.
class SampleGroups {
 public:
  explicit SampleGroups(const Dataset& data) : data_(data) {}  // outlives this

  // A job on other samples begins.
  void StartJob() { ++jobs_; }
  // `samples`: all that the job trains on. INVALID_ARGUMENT for a name that the data do not know.
  absl::Status Find(const std::string& by, std::span<const uint32_t> samples);

  // Of what Find last found: group 0 .. count() - 1 of a sample of the data.
  int64_t of(uint32_t sample) const { return groups_[sample]; }
  int64_t count() const { return count_; }

 private:
  const Dataset& data_;
  std::string by_;
  std::vector<int64_t> groups_;  // of every sample of the data
  int64_t count_ = 0;
  int64_t job_ = 0;   // groups of single samples: of which job
  int64_t jobs_ = 0;  // begun so far
};

}  // namespace muster

#endif  // MUSTER_CLIENT_SAMPLE_GROUPS_H_
