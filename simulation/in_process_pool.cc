#include "simulation/in_process_pool.h"

#include <atomic>
#include <utility>

namespace muster {
namespace {

ClientFailure Failure(ClientId client, const char* stage, const absl::Status& status,
                      int64_t download_bytes) {
  return {client, stage, absl::StatusCodeToString(status.code()), Message(status), download_bytes};
}

}  // namespace

InProcessPool::InProcessPool(const FederatedData& data, WorkerThreads& workers,
                             std::unique_ptr<Compressor> compressor)
    : data_(data), workers_(workers), compressor_(std::move(compressor)) {
  clients_.reserve(static_cast<size_t>(data.clients()));
  for (ClientId c = 0; c < data.clients(); ++c) {
    clients_.push_back({c, static_cast<int64_t>(data.training.samples(c).size())});
  }
}

absl::Status InProcessPool::Run(const Task& task, std::span<const ClientId> cohort,
                                absl::FunctionRef<void(Outcome)> sink,
                                const std::function<bool()>& cancelled) {
  Mutex sink_mutex;  // sinks are called one at a time
  std::atomic<bool> stopped{false};
  workers_.ForEach(static_cast<int64_t>(cohort.size()), [&](LocalTrainer& trainer, int64_t i) {
    if (stopped.load() || cancelled()) {
      stopped.store(true);
      return;
    }
    Outcome outcome = TrainClient(trainer, task, cohort[i]);
    const MutexLock lock(&sink_mutex);
    sink(std::move(outcome));
  });
  return stopped.load() ? absl::CancelledError("the round was cancelled") : absl::OkStatus();
}

Outcome InProcessPool::TrainClient(LocalTrainer& trainer, const Task& task, ClientId client) const {
  const Layout& layout = trainer.layout();
  // What a client on a wire would have received: the model as a payload without compression.
  const int64_t download_bytes =
      static_cast<int64_t>(kPayloadHeaderBytes) + layout.size * static_cast<int64_t>(sizeof(float));
  thread_local std::vector<float> delta;
  delta.resize(static_cast<size_t>(layout.size));
  const TrainingJob job{task.seed, task.round, client, task.epochs, task.steps, task.learning_rate_factor};
  const absl::StatusOr<TrainingResult> trained =
      trainer.Train(job, *task.model, data_.training.samples(client), delta);
  if (!trained.ok()) return Failure(client, "train", trained.status(), download_bytes);
  const RandomKey key{task.seed, Purpose::kCompression, static_cast<uint64_t>(task.round),
                      static_cast<uint64_t>(client)};
  absl::StatusOr<Payload> payload = compressor_->Compress(delta, layout, key);
  if (!payload.ok()) return Failure(client, "compress", payload.status(), download_bytes);
  return Update{client,
                trained->num_samples,
                *std::move(payload),
                {trained->train_loss, trained->steps, trained->seconds},
                download_bytes};
}

}  // namespace muster
