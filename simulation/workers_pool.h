// The client pool of a simulation in many processes: rank 0 deals virtual clients out to workers.
#ifndef MUSTER_SIMULATION_WORKERS_POOL_H_
#define MUSTER_SIMULATION_WORKERS_POOL_H_

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "core/mutex.h"
#include "simulation/virtual_client_pool.h"
#include "simulation/worker_group.h"
#include "simulation/worker_messages.h"
#include "simulation/worker_threads.h"

namespace muster {

// The task goes to all workers by broadcast. Groups of clients are dealt out longest first, to whoever is
// free: what a client takes is foretold from its samples and from how long samples took before. Its memory
// travels with it and back, so that rank 0 alone keeps what clients remember, and any worker can train any
// client.
//
// Where a round needs no single update, workers fold updates themselves and are asked for the sums when there
// is nothing more for them to do; what a worker has folded counts once its sums are here.
//
// A worker that dies, or says nothing for the group's patience, loses its clients to the others; before the
// next broadcast the rest form a new group. What is trained where never shows in a result.
class WorkersPool final : public VirtualClientPool {
 public:
  using Told = std::function<void(const std::string& what)>;

  // All outlive the pool; `group` is formed. `own` trains in this process, too; nullptr: only workers do.
  // `told` hears of workers that are lost, from any thread.
  WorkersPool(const VirtualClients& clients, StateStore& states, bool labels, WorkerGroup& group,
              WorkerThreads* own, Told told);
  // Tells the workers that it is over.
  ~WorkersPool() override;

 private:
  // A client whose update is in its worker's sums.
  struct Folded {
    size_t item = 0;  // of the bout
    State memory;     // as it was recalled
    TrainedClient trained;
  };
  // One worker. What it has been given is not done before its answer was taken, and the sums that it is in.
  struct Peer {
    int place = 0;  // in the collective
    WorkerGroup::Member member;
    bool gone = false;
    int64_t received = 0;           // number of the last task that it has whole
    std::map<size_t, State> given;  // item of the bout: what the client remembers
    std::vector<Folded> folded;     // answered
    size_t asked = 0;               // so many of them will be in the sums that it was asked for
    double seconds_per_sample = 0;  // of one of its threads, with this task's epochs; 0: not known
    std::thread receiving;
  };

  // UNAVAILABLE if nobody is left to train.
  absl::Status Train(Bout& bout, const std::function<bool()>& cancelled) override;
  int width() const override;
  // That train, of all processes that live.
  int Threads() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  // The bout's items, longest training first.
  std::vector<size_t> LongestFirst(const Bout& bout) const;
  // Everybody has the bout's task afterwards, in a group of those that live.
  absl::Status Reach(const Bout& bout);
  absl::Status Tell(const Bout& bout);
  absl::Status FormAnew();
  void Meet();   // with the members of the group
  void Leave();  // it

  // Gives the peer as many clients as it needs to stay busy.
  void Deal(Peer& peer);
  // The items of each group that it gets.
  std::vector<std::vector<size_t>> Choose(Peer& peer) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Whoever waits of the group that is next, which there is. The others of it have been answered for, or
  // somebody has them, who did not get them together with these.
  std::vector<size_t> NextGroup() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Listens to the peer until it is gone or the group is left.
  void Listen(Peer& peer, const std::shared_ptr<Collective>& collective);
  absl::Status Hear(Peer& peer, std::string_view bytes);
  absl::Status Take(Peer& peer, const v1::ClientAnswer& answer, std::span<const std::string_view> blobs);
  // What the bout makes of an answer that is whole.
  absl::Status Pass(Peer& peer, Bout& bout, const v1::ClientAnswer& answer, State memory,
                    std::span<const std::string_view> blobs, bool& taken);
  // From so many bytes on it is less to send the sums of a worker's updates than these; 0: never.
  int64_t FoldFrom(const Bout& bout) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Asks an idle peer for the sums of what it has folded.
  void AskForSums(Peer& peer);
  absl::Status TakeSums(Peer& peer, const v1::Sums& message, std::span<const std::string_view> blobs);
  // Adds the sums of what is `folded`, or puts it back where they cannot be.
  absl::Status TakeFolded(Bout& bout, std::span<const int64_t> sums, std::vector<Folded>& folded);
  // Whether sums come all at once at the end: as long as nobody is lost, if the collective knows how.
  bool WillReduce() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  bool OnlySumsAreMissing() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // If that is so: takes the sums of all peers by a reduction. Whether there is more to do: where it fails,
  // they come by messages from those that live, and clients may have to be trained again.
  bool ReduceSums(Bout& bout);
  // What was not reduced is for its peer to tell, or for others to do. Peer i's is folded[ends[i-1] ..
  // ends[i]).
  void KeepFolded(std::vector<Folded>& folded, std::span<const size_t> ends);
  // What was not taken from the peer is for others to do.
  void PutBack(Peer& peer) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Lose(Peer& peer, const absl::Status& why);
  void TellLoss(const WorkerGroup::Member& member, const std::string& why) const;
  // Trains here, or waits, until the bout is over or must be begun again.
  void Help(Bout& bout, const std::function<bool()>& cancelled);
  // The items of a group; none: it is over.
  std::vector<size_t> NextHere(const std::function<bool()>& cancelled);
  bool MustEnd() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void LearnRate(Peer& peer, double seconds, size_t item) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // A user of the bout has done with it, having taken so many items; an error ends the run.
  void Release(const absl::Status& status, size_t taken);

  WorkerGroup& group_;
  WorkerThreads* const own_;
  const Told told_;

  mutable Mutex mutex_;
  CondVar changed_;
  std::vector<std::unique_ptr<Peer>> peers_;  // changed by the thread of Train alone
  bool leaving_ ABSL_GUARDED_BY(mutex_) = false;
  bool form_anew_ ABSL_GUARDED_BY(mutex_) = false;    // before the next broadcast
  bool begin_again_ ABSL_GUARDED_BY(mutex_) = false;  // not everybody has the task
  std::set<int> gone_;                                // by the rank they were started with
  // The last task that was told.
  int64_t told_number_ ABSL_GUARDED_BY(mutex_) = 0;
  std::weak_ptr<const std::vector<float>> told_model_;
  size_t told_collusions_ = 0;
  // The bout in flight.
  Bout* bout_ ABSL_GUARDED_BY(mutex_) = nullptr;
  int64_t bout_number_ ABSL_GUARDED_BY(mutex_) = 0;
  bool dealing_ ABSL_GUARDED_BY(mutex_) = false;        // everybody has its task
  int users_ ABSL_GUARDED_BY(mutex_) = 0;               // of the bout, who must not outlive it
  std::deque<size_t> waiting_ ABSL_GUARDED_BY(mutex_);  // items that nobody has
  size_t left_ ABSL_GUARDED_BY(mutex_) = 0;             // items that are not taken
  absl::Status failed_ ABSL_GUARDED_BY(mutex_);         // what ends the run
};

}  // namespace muster

#endif  // MUSTER_SIMULATION_WORKERS_POOL_H_
