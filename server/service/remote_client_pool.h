// The client pool of a deployment: clients are other processes, reached by the Federation service. This is
// its brain; the gRPC side (federation_service.h) only carries messages in and out.
#ifndef MUSTER_SERVER_SERVICE_REMOTE_CLIENT_POOL_H_
#define MUSTER_SERVER_SERVICE_REMOTE_CLIENT_POOL_H_

#include <atomic>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include "core/log.h"
#include "core/mutex.h"
#include "core/parameters.h"
#include "core/status.h"
#include "core/transport/access_control.h"
#include "muster/v1/control.pb.h"
#include "muster/v1/federation.pb.h"
#include "server/journal/journal.h"
#include "server/rounds/client_pool.h"
#include "server/rounds/round_record.h"
#include "server/service/blob.h"
#include "server/service/client_link.h"
#include "server/service/roster.h"
#include "server/service/round_in_flight.h"
#include "server/service/update_spool.h"

namespace muster {

struct PoolOptions {
  std::string federation;  // id of the run
  std::string name;        // of the configuration
  int64_t clients = 1;     // their numbers are 0 .. clients - 1
  int64_t min_clients = 1;
  double heartbeat_seconds = 5;
  double grace_seconds = 30;
  int64_t max_update_bytes = 0;  // 0: derived from the layout
  int64_t upload_permits = 4;
  // Seconds of a steady clock. Tests give their own.
  std::function<double()> now;
  // Who may (still) take part; null: all may. The service's credentials check every call by themselves; the
  // pool ends sessions that go on.
  std::shared_ptr<AccessControl> access;
  // null: nobody listens. Called from any thread, also with the pool's lock held.
  std::function<void(const LogEvent&)> log;
};

// Thread-safe. Calls from the service never block for long: what has to wait for the disk waits in a thread
// of the pool.
class RemoteClientPool final : public ClientPool {
 public:
  // `layout` and `journal` outlive the pool; the journal must bear calls from another thread than the
  // engine's. `records` are those of the rounds committed so far: clients that were cut off may still ask how
  // they went.
  static absl::StatusOr<std::unique_ptr<RemoteClientPool>> Start(PoolOptions options, const Layout& layout,
                                                                 Journal& journal,
                                                                 std::unique_ptr<UpdateSpool> spool,
                                                                 std::span<const RoundRecord> records = {});
  ~RemoteClientPool() override;

  // ------------------------------------------------------------------------------------------- the engine's
  // side
  absl::Status WaitUntilReady(const std::function<bool()>& stop) override;
  std::span<const ClientInfo> Available() const override;
  // Updates that an earlier process had received completely are delivered without asking their clients again.
  // CANCELLED also after Abandon.
  absl::Status Run(const Task& task, std::span<const ClientId> cohort, OutcomeSink sink,
                   const std::function<bool()>& cancelled) override;
  void Committed(int64_t round) override;

  // Says goodbye to all and to whoever comes later. They end their sessions: so it is known that they have
  // heard it.
  void SayGoodbye(const std::string& reason, bool come_back);
  // Waits until nobody is connected and those whose link broke just now have come back to hear the goodbye,
  // at most `seconds`; then ends the sessions that are left.
  void WaitUntilEmpty(double seconds);
  // The round in flight, and every later one, ends with CANCELLED.
  void Abandon();

  // ------------------------------------------------------------------------------------------ the service's
  // side A stream was opened; its first message has to be Join.
  void Opened(const std::shared_ptr<ClientLink>& link);
  void Received(const std::shared_ptr<ClientLink>& link, const v1::ClientMessage& message);
  // `heard_all`: the link did not break under what was sent.
  void Closed(const std::shared_ptr<ClientLink>& link, bool heard_all);

  absl::StatusOr<std::shared_ptr<const Blob>> Download(const Peer& peer, const v1::DownloadRequest& request);
  // So many bytes of it are out. NOT_FOUND when its round is over: the transfer is to be ended.
  absl::Status Downloaded(ClientId client, const Blob& blob, int64_t bytes);
  // Where an update goes; nullptr if all of it is here already.
  absl::StatusOr<std::shared_ptr<IncomingUpdate>> Upload(const Peer& peer, const v1::UploadHeader& header);
  absl::StatusOr<int64_t> UploadOffset(const Peer& peer, const v1::UploadHeader& header);
  // All bytes have come. Verifies them; DATA_LOSS if the hash differs.
  absl::Status Uploaded(const v1::UploadHeader& header, const std::shared_ptr<IncomingUpdate>& update);

  // ------------------------------------------------------------------------------------------------ for
  // people
  int64_t connected() const;
  // Received from clients that are let in.
  int64_t heartbeats() const { return heartbeats_.load(std::memory_order_relaxed); }
  // Fills connected, cohort, answered, accepted and, if `clients`, the list of clients.
  void Describe(bool clients, v1::Status& status) const;

  // Looks at the clock: heartbeats, deadlines, clients that are silent. The pool's thread does so by itself;
  // tests with their own clock do it.
  void Tick();

 private:
  struct Joining {
    std::shared_ptr<ClientLink> link;
    ClientId number;
  };

  RemoteClientPool(PoolOptions options, const Layout& layout, Journal& journal,
                   std::unique_ptr<UpdateSpool> spool);
  void ServiceThread();

  void Join(const std::shared_ptr<ClientLink>& link, const v1::Join& join)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::StatusOr<Participant*> CheckJoin(const Peer& peer, const v1::Join& join)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Admit(Participant& participant, const std::shared_ptr<ClientLink>& link)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Leave(Participant& participant, const std::string& reason) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Part(Participant& participant) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // What a message brings about; the update to be received if it is Submit.
  std::shared_ptr<IncomingUpdate> Handle(const std::shared_ptr<ClientLink>& link,
                                         const v1::ClientMessage& message)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void HandleReady(Participant& participant, const v1::Ready& ready) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  std::shared_ptr<IncomingUpdate> HandleSubmit(Participant& participant, const v1::Submit& submit)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Sends what became of the client's update in a round that is over.
  void TellFate(Participant& participant, int64_t round) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // The round in flight if `client` is of its cohort and `round` is its number, else nullptr.
  RoundInFlight* RoundOf(ClientId client, int64_t round) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Federation, identity and round of a header; OK if its client has a part in the round in flight.
  absl::Status CheckHeader(const Peer& peer, const v1::UploadHeader& header)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status CheckCaller(const Peer& peer, const std::string& federation, ClientId client)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Whether it is time to ask again who may take part.
  bool AccessIsDue(double now) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Send(Participant& participant, v1::ServerMessage message) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Remember(int64_t round, std::map<ClientId, v1::Settled> settled) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Offers the task.
  absl::Status Begin(const Task& task, std::span<const ClientId> cohort);
  void End();
  // Gives the engine one answer and tells the client what became of it.
  bool Deliver(Answer answer, OutcomeSink sink);
  absl::StatusOr<Update> Verify(const SpooledUpdate& spooled) const;
  int64_t MaxUpdateBytes(const Task& task) const;
  void Log(const LogEvent& event) const;

  const PoolOptions options_;
  const Layout& layout_;
  Journal& journal_;
  const std::unique_ptr<UpdateSpool> spool_;

  std::atomic<int64_t> heartbeats_{0};
  mutable Mutex mutex_;
  CondVar changed_;  // clients, answers, joins
  Roster roster_ ABSL_GUARDED_BY(mutex_);
  std::map<std::shared_ptr<ClientLink>, double> strangers_ ABSL_GUARDED_BY(mutex_);  // not joined; since when
  std::deque<Joining> joining_ ABSL_GUARDED_BY(mutex_);                              // to be journalled
  std::deque<ClientId> changed_facts_ ABSL_GUARDED_BY(mutex_);                       // likewise
  BlobsByHash blobs_ ABSL_GUARDED_BY(mutex_);                                        // of the round in flight
  std::optional<RoundInFlight> round_ ABSL_GUARDED_BY(mutex_);
  int64_t accepted_ ABSL_GUARDED_BY(mutex_) = 0;
  std::map<int64_t, std::map<ClientId, v1::Settled>> settled_ ABSL_GUARDED_BY(mutex_);  // the last rounds'
  std::optional<v1::Goodbye> goodbye_ ABSL_GUARDED_BY(mutex_);
  int64_t access_version_ ABSL_GUARDED_BY(mutex_) = 0;  // of the lists that live sessions were held against
  double access_checked_ ABSL_GUARDED_BY(mutex_) = 0;
  bool abandoned_ ABSL_GUARDED_BY(mutex_) = false;
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  std::vector<ClientInfo> available_;  // what Available gave last; of the engine's thread
  std::thread thread_;
};

}  // namespace muster

#endif  // MUSTER_SERVER_SERVICE_REMOTE_CLIENT_POOL_H_
