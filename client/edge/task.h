// The client's place in one federation, on disk: what it downloads, the finished update, what it remembers.
#ifndef MUSTER_CLIENT_EDGE_TASK_H_
#define MUSTER_CLIENT_EDGE_TASK_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "client/edge/spool.h"
#include "client/edge/transfer.h"
#include "client/state_store.h"
#include "client/task_runner.h"
#include "client/trainer.h"
#include "core/status.h"
#include "muster/v1/federation.pb.h"

namespace muster::edge {

// INVALID_ARGUMENT if the offer makes no sense to a client that trains models of `layout`: another layout, no
// work in it, blobs that cannot be what they should or whose bytes are not what they are named after.
absl::Status CheckOffer(const v1::Offer& offer, const Layout& layout);

// The message for a task that went wrong; its texts are cut to what the contract allows.
v1::Failed Failure(int64_t round, std::string_view stage, std::string_view code, std::string_view message);

// One task at a time, step by step: Download, Train, Remember, Clear. A process killed at any
// moment finds in `folder` what was complete: half a download goes on where it was, a finished update is not
// trained again. Not thread-safe.
class TaskFolder {
 public:
  // Makes `folder` if need be. `federation` and `client` are the coordinator's; an update spooled for others
  // is dropped.
  static absl::StatusOr<std::unique_ptr<TaskFolder>> Open(const std::string& folder,
                                                          const std::string& federation, int64_t client);

  // The model and the vectors of the offer (which CheckOffer passed), as far as their bytes are not in it.
  grpc::Status Download(Transfer& transfer, const v1::Offer& offer);

  struct Watch {
    std::function<bool()> cancelled;
    std::function<void(int64_t steps, double train_loss)> progress;
  };
  // Trains from what Download brought and spools the update. Returns what went wrong, if anything did.
  std::optional<v1::Failed> Train(Trainer& trainer, const ErrorFeedback& feedback, const v1::Offer& offer,
                                  const Watch& watch);

  // The finished update, from the moment that Train has spooled it until Clear.
  const std::optional<FinishedUpdate>& update() const { return spool_.update(); }
  // What became of the update is known: the client remembers what goes with that from now on. Doing it again
  // changes nothing.
  absl::Status Remember(bool taken);
  // Forgets the update and what was downloaded for it.
  void Clear();

 private:
  TaskFolder(std::string folder, std::string federation, int64_t client,
             std::unique_ptr<StateStore> memories);
  std::string BlobPath(const v1::Blob& blob) const;
  // The bytes of a blob, from the offer or from where Download put them.
  absl::StatusOr<Payload> Bytes(const v1::Blob& blob) const;
  // The model that this client was given last, and what turns it into the offer's: nothing where the model
  // itself is to be fetched (no earlier one, deltas missing, or more bytes than the model).
  struct Held {
    std::vector<float> model;
    std::vector<v1::Delta> missed;
  };
  std::optional<Held> HeldModel(const v1::Offer& offer) const;
  void HoldModel(const v1::Offer& offer, const std::vector<float>& model) const;
  absl::StatusOr<std::vector<float>> Model(const v1::Offer& offer, const Layout& layout) const;
  void RemoveBlobs() const;

  const std::string folder_;
  const std::string federation_;
  const int64_t client_;
  const std::unique_ptr<StateStore> memories_;
  Spool spool_;
  TaskRunner runner_;
};

}  // namespace muster::edge

#endif  // MUSTER_CLIENT_EDGE_TASK_H_
