// The decoded updates of a round, for rules that need all of them at once.
#ifndef MUSTER_SERVER_AGGREGATION_UPDATE_SET_H_
#define MUSTER_SERVER_AGGREGATION_UPDATE_SET_H_

#include <cstdint>
#include <span>
#include <vector>

#include "absl/functional/function_ref.h"
#include "core/parameters.h"
#include "core/status.h"
#include "server/rounds/client_pool.h"

namespace muster {

// Beyond `memory_bytes` the updates move to a nameless file (in TMPDIR, gone with the process) and are read
// back in blocks. Not thread-safe.
class UpdateSet {
 public:
  explicit UpdateSet(int64_t size, int64_t memory_bytes = int64_t{256} << 20);
  ~UpdateSet();
  UpdateSet(const UpdateSet&) = delete;
  UpdateSet& operator=(const UpdateSet&) = delete;

  // `values` has `size` elements, all finite. INTERNAL if the disk is full.
  absl::Status Add(ClientId client, double weight, std::vector<float> values);

  int64_t size() const { return size_; }
  int64_t count() const { return static_cast<int64_t>(members_.size()); }
  // Ascending by client, whatever the order of Add: results do not depend on it.
  std::vector<double> weights() const;
  std::vector<ClientId> clients() const;

  // Calls visit(first, rows) for every block of elements, in order: rows[i] are elements first .. of update
  // i, in the order of clients().
  using Visitor = absl::FunctionRef<void(int64_t first, std::span<const std::span<const float>> rows)>;
  absl::Status ForEachBlock(Visitor visit) const;

 private:
  struct Member {
    ClientId client = 0;
    double weight = 0;
    std::vector<float> values;  // empty once it is in the file,
    int64_t offset = -1;        // there
  };
  absl::Status Spill();
  absl::Status ReadBlock(const Member& member, int64_t first, std::span<float> values) const;

  const int64_t size_;
  const int64_t memory_bytes_;
  std::vector<Member> members_;  // ascending by client
  int fd_ = -1;                  // of the file, once there is one
  int64_t end_ = 0;              // of the file
};

}  // namespace muster

#endif  // MUSTER_SERVER_AGGREGATION_UPDATE_SET_H_
