#include "simulation/worker.h"

#include <algorithm>
#include <chrono>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/cleanup/cleanup.h"
#include "core/mutex.h"
#include "simulation/local_sums.h"
#include "simulation/worker_messages.h"

namespace muster {
namespace {

using Clock = std::chrono::steady_clock;

// What goes to rank 0, by a thread of its own: who listens to a process must never wait for its ear. When
// there is nothing to say it tells now and then that this process lives, whatever its trainers are doing.
class Outbox {
 public:
  Outbox(std::shared_ptr<Collective> collective, double heartbeat_seconds)
      : collective_(std::move(collective)),
        heartbeat_seconds_(heartbeat_seconds),
        thread_([this] { Run(); }) {}
  ~Outbox() {
    {
      const MutexLock lock(&mutex_);
      done_ = true;
    }
    changed_.NotifyAll();
    thread_.join();
  }
  Outbox(const Outbox&) = delete;
  Outbox& operator=(const Outbox&) = delete;

  void Put(std::string message) {
    const MutexLock lock(&mutex_);
    messages_.push_back(std::move(message));
    changed_.NotifyAll();
  }

 private:
  void Run() {
    v1::FromWorker alive;
    alive.mutable_still_there();
    bool sent = true;  // what cannot be sent is lost with the group
    while (sent) {
      std::string message;
      {
        const MutexLock lock(&mutex_);
        const Clock::time_point next = Clock::now() + std::chrono::duration_cast<Clock::duration>(
                                                          std::chrono::duration<double>(heartbeat_seconds_));
        while (!done_ && messages_.empty() && Clock::now() < next) {
          changed_.WaitFor(&mutex_, std::chrono::duration<double>(next - Clock::now()).count());
        }
        if (done_) return;
        if (!messages_.empty()) {
          message = std::move(messages_.front());
          messages_.pop_front();
        }
      }
      sent = collective_->Send(0, message.empty() ? Pack(alive) : message).ok();
    }
  }

  const std::shared_ptr<Collective> collective_;
  const double heartbeat_seconds_;
  Mutex mutex_;
  CondVar changed_;
  std::deque<std::string> messages_ ABSL_GUARDED_BY(mutex_);
  bool done_ ABSL_GUARDED_BY(mutex_) = false;
  std::thread thread_;
};

// Clients to train at once, and where the answers go.
struct Job {
  std::shared_ptr<Outbox> outbox;
  std::shared_ptr<const VirtualTask> task;
  int64_t bout = 0;
  bool honest = false;
  int64_t fold_from = 0;
  std::vector<ClientId> clients;
  std::vector<State> memories;  // of each
  int64_t first = 0;            // the first one's place in the bout
  std::vector<size_t> wanted;   // those that are to be answered for
};

class Worker {
 public:
  Worker(const VirtualClients& clients, WorkerThreads& threads, const PluginConfig& aggregator,
         double heartbeat_seconds, const std::function<void(double)>& trained)
      : clients_(clients),
        heartbeat_seconds_(heartbeat_seconds),
        trained_(trained),
        sums_(aggregator, threads.layout()) {
    // All of the trainers' threads take jobs until there are no more to come.
    training_ = std::thread([this, &threads] {
      threads.ForEach(threads.count(), [this](LocalTrainer& trainer, int64_t) {
        while (const std::optional<Job> job = NextJob()) Train(trainer, *job);
      });
    });
  }
  ~Worker() {
    {
      const MutexLock lock(&mutex_);
      stopped_ = true;
    }
    changed_.NotifyAll();
    training_.join();
  }
  Worker(const Worker&) = delete;
  Worker& operator=(const Worker&) = delete;

  // True: rank 0 said the end. False: the group is no more.
  absl::StatusOr<bool> Serve(const std::shared_ptr<Collective>& collective) {
    const auto outbox = std::make_shared<Outbox>(collective, heartbeat_seconds_);
    const absl::Cleanup leave = [this, &collective] {  // the others may be waiting for this worker
      collective->Close();
      const MutexLock lock(&mutex_);
      jobs_.clear();
    };
    std::shared_ptr<const VirtualTask> task;
    int64_t number = 0;  // the task's
    while (true) {
      const absl::StatusOr<std::string> bytes = collective->Receive(0);
      if (!bytes.ok()) return false;
      MUSTER_ASSIGN_OR_RETURN(const auto received, Unpack<v1::ToWorker>(*bytes));
      if (received.message.has_end()) return true;
      if (received.message.has_task()) {
        number = received.message.task().number();
        MUSTER_ASSIGN_OR_RETURN(task, ReceiveTask(*collective, received.message.task(), *outbox));
      } else if (received.message.has_train() && task != nullptr &&
                 received.message.train().task() == number) {
        MUSTER_RETURN_IF_ERROR(Enqueue(outbox, task, received.message.train(), received.blobs));
      } else if (received.message.has_give_sums()) {
        const int64_t bout = received.message.give_sums().bout();
        const std::unique_ptr<Aggregator> folded = sums_.Give(bout);
        outbox->Put(PackSums(bout, folded != nullptr ? folded->Sum()->words() : std::span<const int64_t>()));
      } else if (received.message.has_reduce_sums()) {
        MUSTER_RETURN_IF_ERROR(sums_.Reduce(received.message.reduce_sums().bout(), *collective));
      }
    }
  }

 private:
  // nullptr if its vectors did not arrive: a process is lost, and rank 0 forms a new group.
  static absl::StatusOr<std::shared_ptr<const VirtualTask>> ReceiveTask(Collective& collective,
                                                                        const v1::WorkerTask& message,
                                                                        Outbox& outbox) {
    MUSTER_ASSIGN_OR_RETURN(VirtualTask task, FromMessage(message));
    v1::FromWorker answer;
    answer.mutable_received()->set_number(message.number());
    const bool complete = BroadcastVectors(collective, task).ok();
    answer.mutable_received()->set_complete(complete);
    outbox.Put(Pack(answer));
    if (!complete) return nullptr;
    return std::make_shared<const VirtualTask>(std::move(task));
  }

  absl::Status Enqueue(const std::shared_ptr<Outbox>& outbox, const std::shared_ptr<const VirtualTask>& task,
                       const v1::TrainClients& train, std::span<const std::string_view> memories) {
    for (const v1::ClientGroup& group : train.groups()) {
      Job job;
      job.outbox = outbox;
      job.task = task;
      job.bout = train.bout();
      job.honest = train.honest();
      job.fold_from = train.fold_from();
      job.clients.assign(group.clients().begin(), group.clients().end());
      job.memories.resize(job.clients.size());
      job.first = group.first();
      for (const int64_t item : group.items()) {
        const auto i = static_cast<size_t>(item - job.first);
        if (memories.empty() || i >= job.clients.size()) {
          return InternalError("rank 0 sent clients without what they remember, or in no group");
        }
        MUSTER_ASSIGN_OR_RETURN(job.memories[i], UnpackState(memories.front()));
        memories = memories.subspan(1);
        job.wanted.push_back(i);
      }
      const MutexLock lock(&mutex_);
      jobs_.push_back(std::move(job));
      changed_.NotifyAll();
    }
    return absl::OkStatus();
  }

  std::optional<Job> NextJob() {
    const MutexLock lock(&mutex_);
    while (!stopped_ && jobs_.empty()) changed_.Wait(&mutex_);
    if (stopped_) return std::nullopt;
    Job job = std::move(jobs_.front());
    jobs_.pop_front();
    return job;
  }

  void Train(LocalTrainer& trainer, const Job& job) {
    const Clock::time_point start = Clock::now();
    if (job.honest) {
      for (const size_t i : job.wanted) {
        const auto update = clients_.TrainHonestly(trainer, *job.task, job.clients[i], job.memories[i]);
        job.outbox->Put(PackAnswer(Answer(job, i, start), update));
      }
      return;
    }
    std::vector<TrainedClient> trained = clients_.Train(trainer, *job.task, job.clients, job.memories);
    for (const size_t i : job.wanted) {
      if (const auto& folding = job.task->task.folding; folding != nullptr) {
        sums_.Fold(job.bout, *folding, job.fold_from, trained[i]);
      }
      if (auto* update = std::get_if<Update>(&trained[i].outcome)) {
        const absl::Status fetched = FetchPayload(update->payload);
        if (!fetched.ok()) trained[i].outcome = Failure(job.clients[i], "compress", fetched);
      }
      job.outbox->Put(PackAnswer(Answer(job, i, start), trained[i]));
    }
  }

  // Without what came of the client, who has its share of the seconds since `start`.
  v1::ClientAnswer Answer(const Job& job, size_t i, Clock::time_point start) const {
    v1::ClientAnswer answer;
    answer.set_bout(job.bout);
    answer.set_item(job.first + static_cast<int64_t>(i));
    answer.set_seconds(std::chrono::duration<double>(Clock::now() - start).count() /
                       static_cast<double>(job.clients.size()));
    if (trained_) trained_(answer.seconds());
    return answer;
  }

  const VirtualClients& clients_;
  const double heartbeat_seconds_;
  const std::function<void(double)>& trained_;
  LocalSums sums_;
  Mutex mutex_;
  CondVar changed_;
  std::deque<Job> jobs_ ABSL_GUARDED_BY(mutex_);
  bool stopped_ ABSL_GUARDED_BY(mutex_) = false;
  std::thread training_;
};

}  // namespace

absl::Status ServeAsWorker(const VirtualClients& clients, WorkerThreads& threads,
                           const PluginConfig& aggregator, WorkerGroup& group,
                           const std::function<void(double)>& trained) {
  Worker worker(clients, threads, aggregator, std::min(1.0, group.patience_seconds() / 5), trained);
  while (true) {
    MUSTER_ASSIGN_OR_RETURN(const bool ended, worker.Serve(group.collective()));
    if (ended) return absl::OkStatus();
    MUSTER_RETURN_IF_ERROR(group.Form());
  }
}

}  // namespace muster
