// The finished update on disk, until the coordinator has said what became of it.
#ifndef MUSTER_CLIENT_EDGE_SPOOL_H_
#define MUSTER_CLIENT_EDGE_SPOOL_H_

#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "client/task_runner.h"
#include "core/file.h"
#include "core/state.h"
#include "core/status.h"
#include "muster/v1/federation.pb.h"

namespace muster::edge {

// An update as it lies on disk: what Upload sends, and what the client remembers once it is accepted.
struct FinishedUpdate {
  v1::UploadHeader header;                  // complete, with offset 0
  std::shared_ptr<const MappedFile> bytes;  // what header.content_sha256 is of
  State if_taken, if_refused;               // what the client is to remember, by what becomes of it
};

// Holds at most one update, in four files of a folder: update.bytes, update.taken and update.refused (the
// memories), and update.header, which is written last and makes the update exist. A process killed at any
// moment leaves a whole update or none. Not thread-safe.
class Spool {
 public:
  // Reads what an earlier process left in `folder` (which exists). Anything damaged counts as nothing.
  explicit Spool(std::string folder);

  const std::optional<FinishedUpdate>& update() const { return update_; }
  // Replaces the update.
  absl::Status Put(const std::string& federation, int64_t round, int64_t client, const LocalUpdate& update);
  void Remove();

 private:
  std::string Path(const char* part) const { return folder_ + "/update." + part; }
  absl::StatusOr<FinishedUpdate> Read() const;

  const std::string folder_;
  std::optional<FinishedUpdate> update_;
};

}  // namespace muster::edge

#endif  // MUSTER_CLIENT_EDGE_SPOOL_H_
