// Models down, updates up: one try each. What a broken try moved is kept, and the next one goes on from
// there.
#ifndef MUSTER_CLIENT_EDGE_TRANSFER_H_
#define MUSTER_CLIENT_EDGE_TRANSFER_H_

#include <grpcpp/channel.h>
#include <grpcpp/client_context.h>
#include <grpcpp/support/status.h>

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "absl/base/thread_annotations.h"
#include "core/mutex.h"
#include "muster/v1/federation.grpc.pb.h"

namespace muster::edge {

class Transfer {
 public:
  explicit Transfer(const std::shared_ptr<grpc::Channel>& channel);

  // Brings the bytes of `request` (whose offset it sets) to the file `path`, behind what PATH.part holds of
  // them. OK if the file is there already. DATA_LOSS if chunks or the whole do not match their checksums (the
  // part is thrown away then), RESOURCE_EXHAUSTED if the disk refuses, else the coordinator's status.
  grpc::Status Download(v1::DownloadRequest request, int64_t size, const std::string& path);

  // Sends `bytes` (those that `header` describes) from the offset that the coordinator names, in chunks of
  // `chunk_bytes`. OK with receipt.complete(), DATA_LOSS without it, else the coordinator's status.
  grpc::Status Upload(v1::UploadHeader header, std::string_view bytes, int64_t chunk_bytes);

  // Any thread: the call in flight and all later ones end with CANCELLED.
  void Cancel() ABSL_LOCKS_EXCLUDED(mutex_);
  // Bytes moved by this object; for watching that it does not stall. Any thread.
  int64_t moved() const { return moved_.load(); }

 private:
  class Call;

  const std::unique_ptr<v1::Federation::Stub> stub_;
  std::atomic<int64_t> moved_{0};
  Mutex mutex_;
  bool cancelled_ ABSL_GUARDED_BY(mutex_) = false;
  grpc::ClientContext* context_ ABSL_GUARDED_BY(mutex_) = nullptr;  // of the call in flight
};

}  // namespace muster::edge

#endif  // MUSTER_CLIENT_EDGE_TRANSFER_H_
