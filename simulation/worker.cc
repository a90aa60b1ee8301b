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

// One client to train, and where the answer goes.
struct Job {
  std::shared_ptr<Outbox> outbox;
  std::shared_ptr<const VirtualTask> task;
  v1::ClientAnswer answer;  // its place in the bout
  bool honest = false;
  int64_t fold_from = 0;
  ClientId client = 0;
  State memory;
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
        while (std::optional<Job> job = NextJob()) Train(trainer, *std::move(job));
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
        outbox->Put(PackSums(bout, folded != nullptr ? folded->Sums() : std::span<int64_t>()));
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
    if (memories.size() != static_cast<size_t>(train.items_size())) {
      return InternalError("rank 0 sent clients without what they remember");
    }
    for (int i = 0; i < train.items_size(); ++i) {
      Job job;
      job.outbox = outbox;
      job.task = task;
      job.honest = train.honest();
      job.fold_from = train.fold_from();
      job.client = train.items(i).client();
      job.answer.set_bout(train.bout());
      job.answer.set_item(train.items(i).item());
      MUSTER_ASSIGN_OR_RETURN(job.memory, UnpackState(memories[static_cast<size_t>(i)]));
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

  void Train(LocalTrainer& trainer, Job job) {
    const Clock::time_point start = Clock::now();
    const auto answer = [&] {
      job.answer.set_seconds(std::chrono::duration<double>(Clock::now() - start).count());
      if (trained_) trained_(job.answer.seconds());
      return std::move(job.answer);
    };
    std::string bytes;
    if (job.honest) {
      const auto update = clients_.TrainHonestly(trainer, *job.task, job.client, std::move(job.memory));
      bytes = PackAnswer(answer(), update);
    } else {
      TrainedClient trained = clients_.Train(trainer, *job.task, job.client, job.memory);
      if (const auto& folding = job.task->task.folding; folding != nullptr) {
        sums_.Fold(job.answer.bout(), *folding, job.fold_from, trained);
      }
      bytes = PackAnswer(answer(), trained);
    }
    job.outbox->Put(std::move(bytes));
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
