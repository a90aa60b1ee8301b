// Updates on their way from the wire to the engine: written to disk as they come, verified whole, and kept
// until their round is committed, so that a coordinator that is killed need not ask for them again.
//
//   FOLDER/round-000012/client-5-HASH.part being received: the bytes so far
//   FOLDER/round-000012/client-5.update   complete: the bytes, the serialised UploadHeader, its CRC-32C and
//   its size
//                                         (u32 each, little-endian)
#ifndef MUSTER_SERVER_SERVICE_UPDATE_SPOOL_H_
#define MUSTER_SERVER_SERVICE_UPDATE_SPOOL_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/file.h"
#include "core/hash.h"
#include "core/mutex.h"
#include "core/status.h"
#include "muster/v1/federation.pb.h"
#include "server/journal/journal.h"

namespace muster {

// A complete update: its bytes have the size and the hash that its header says.
struct SpooledUpdate {
  v1::UploadHeader header;
  std::shared_ptr<const MappedFile> file;  // starts with the bytes
};

// Bytes of the update's payload and all extras; checked against overflow by whoever accepted the header.
int64_t UploadSize(const v1::UploadHeader& header);

// One update being received. Thread-safe; of several writers the newest counts.
class IncomingUpdate {
 public:
  ~IncomingUpdate();
  IncomingUpdate(const IncomingUpdate&) = delete;
  IncomingUpdate& operator=(const IncomingUpdate&) = delete;

  int64_t size() const { return size_; }
  int64_t received() const;
  bool complete() const;

  // Makes the caller the one writer and calls the `abort` of the one before. `abort` may be called from any
  // thread, once, until the next Claim; it must not call back. `header` describes the same content; the
  // newest counts. Returns the writer's number for Append.
  int64_t Claim(const v1::UploadHeader& header, std::function<void()> abort);
  // Aborts the writer; there is none then.
  void Revoke();
  // Appends data to the file. ABORTED for any but the newest writer, INVALID_ARGUMENT beyond size(),
  // RESOURCE_EXHAUSTED or INTERNAL if the file cannot be written.
  absl::Status Append(int64_t writer, std::span<const std::string_view> pieces);
  // All bytes are there: checks the hash and makes the update durable. DATA_LOSS if the hash differs; the
  // bytes are gone then, and received() is 0. OK again for one that is complete.
  absl::Status Finish();
  // Instead of Claim, Append and Finish: all bytes at once, whatever came before. Errors as theirs.
  absl::Status Put(const v1::UploadHeader& header, std::string_view data);
  // INTERNAL unless complete().
  absl::StatusOr<SpooledUpdate> Take() const;

 private:
  friend class UpdateSpool;
  IncomingUpdate(v1::UploadHeader header, std::string part, std::string path, Durability durability);
  absl::Status OpenFile() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status Restart() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status Write(std::span<const std::string_view> pieces) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status Complete() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const int64_t size_;
  const std::string part_, path_;
  const Durability durability_;

  mutable Mutex mutex_;
  v1::UploadHeader header_ ABSL_GUARDED_BY(mutex_);
  int file_ ABSL_GUARDED_BY(mutex_) = -1;  // open from the first byte until complete
  int64_t received_ ABSL_GUARDED_BY(mutex_) = 0;
  bool complete_ ABSL_GUARDED_BY(mutex_) = false;
  Sha256Stream hash_ ABSL_GUARDED_BY(mutex_);
  int64_t writer_ ABSL_GUARDED_BY(mutex_) = 0;
  std::function<void()> abort_ ABSL_GUARDED_BY(mutex_);
};

// Thread-safe: it holds nothing but paths.
class UpdateSpool {
 public:
  // Makes `folder` if it is not there.
  static absl::StatusOr<std::unique_ptr<UpdateSpool>> Open(const std::string& folder, Durability durability);

  // Where `header`'s update is received. Goes on with the bytes an earlier process left for the same content.
  absl::StatusOr<std::shared_ptr<IncomingUpdate>> Begin(const v1::UploadHeader& header) const;
  // The complete updates of `round`, by client; what is damaged is deleted. Deletes all that is of other
  // rounds.
  absl::StatusOr<std::vector<SpooledUpdate>> Recover(int64_t round) const;
  // Deletes what is kept of `round`.
  void Remove(int64_t round) const;

 private:
  UpdateSpool(std::string folder, Durability durability)
      : folder_(std::move(folder)), durability_(durability) {}
  std::string RoundFolder(int64_t round) const;

  const std::string folder_;
  const Durability durability_;
};

}  // namespace muster

#endif  // MUSTER_SERVER_SERVICE_UPDATE_SPOOL_H_
