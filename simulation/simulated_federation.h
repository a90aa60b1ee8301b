// A federation put together from its configuration: its data, model, rules and virtual clients.
#ifndef MUSTER_SIMULATION_SIMULATED_FEDERATION_H_
#define MUSTER_SIMULATION_SIMULATED_FEDERATION_H_

#include <functional>
#include <memory>
#include <vector>

#include "core/mutex.h"
#include "core/status.h"
#include "learning/federated_data.h"
#include "muster/v1/experiment.pb.h"
#include "server/journal/journal.h"
#include "server/rounds/events.h"
#include "server/rounds/round_engine.h"
#include "simulation/adversaries.h"
#include "simulation/in_process_pool.h"
#include "simulation/model_evaluator.h"
#include "simulation/virtual_clients.h"
#include "simulation/worker_group.h"
#include "simulation/worker_threads.h"
#include "simulation/workers_pool.h"

namespace muster {

class SimulatedFederation {
 public:
  // Loads the data, makes the model and every plug-in: all that can be wrong with a configuration is found
  // here, before anything is written. `workers` >= 1 threads; their number never shows in a result. `device`
  // trains and evaluates; nullptr: the CPU.
  static absl::StatusOr<std::unique_ptr<SimulatedFederation>> Create(
      const v1::Experiment& config, int workers, std::shared_ptr<ComputeDevice> device = nullptr);
  // The same on data that are there already: what BuildFederatedData makes of `config`, perhaps used by other
  // federations at the same time.
  static absl::StatusOr<std::unique_ptr<SimulatedFederation>> CreateOn(
      std::shared_ptr<const FederatedData> data, const v1::Experiment& config, int workers,
      std::shared_ptr<ComputeDevice> device = nullptr);

  // Runs to the end with virtual clients, or on from the journal's last committed round (see
  // RoundEngine::Run). Call once. `journal` may be nullptr. `states` is the file of what clients remember
  // between rounds, "" for one that is gone with the process.
  absl::StatusOr<std::vector<float>> Run(Journal* journal, const std::string& states,
                                         std::vector<RoundListener*> listeners);
  // The same, virtual clients being trained by the workers of `group` (which is formed; see WorkersPool), and
  // with `train_here` by this process, too.
  absl::StatusOr<std::vector<float>> RunOnWorkers(WorkerGroup& group, bool train_here, WorkersPool::Told told,
                                                  Journal* journal, const std::string& states,
                                                  std::vector<RoundListener*> listeners);
  // Trains virtual clients for rank 0 of `group`, which has the same configuration (see ServeAsWorker).
  absl::Status Work(WorkerGroup& group, const std::function<void(double)>& trained = {});
  // Runs with other clients than virtual ones; `pool` outlives the call.
  absl::StatusOr<std::vector<float>> RunWith(ClientPool& pool, Journal* journal,
                                             std::vector<RoundListener*> listeners);
  // Ends the run after the round in flight. Safe from signal handlers once Create has returned.
  void RequestStop();
  bool stop_requested() const { return stop_requested_.load(); }
  // Gives `use` the engine, from any thread. UNAVAILABLE while no run is going on.
  absl::Status WithEngine(const std::function<absl::Status(RoundEngine&)>& use);

  const FederatedData& data() const { return *data_; }
  const std::shared_ptr<ComputeDevice>& device() const { return device_; }
  const Adversaries& adversaries() const { return adversaries_; }
  const ErrorFeedback& feedback() const { return *feedback_; }
  const Layout& layout() const { return workers_->layout(); }
  const std::vector<float>& initial_model() const { return initial_model_; }

 private:
  SimulatedFederation() = default;
  absl::Status MakeWorkers(const v1::Experiment& config, int workers);
  absl::Status MakeEngineParts(const v1::Experiment& config);

  std::shared_ptr<const FederatedData> data_;
  std::shared_ptr<ComputeDevice> device_;
  std::vector<float> initial_model_;
  std::unique_ptr<BatchedTrainer> batched_;  // nullptr: clients are trained one by one
  std::unique_ptr<WorkerThreads> workers_;
  std::unique_ptr<Compressor> compressor_;
  std::unique_ptr<ErrorFeedback> feedback_;
  std::unique_ptr<Method> method_;
  std::unique_ptr<Compressor> downlink_compressor_;
  std::unique_ptr<Downlink> downlink_;  // nullptr: the model goes down as it is
  Adversaries adversaries_;
  std::unique_ptr<VirtualClients> clients_;
  std::unique_ptr<ModelEvaluator> evaluator_;
  std::unique_ptr<ParticipationPolicy> policy_;
  std::unique_ptr<Selector> selector_;
  std::unique_ptr<ServerOptimizer> server_optimizer_;
  std::unique_ptr<Schedule> schedule_;
  EngineOptions engine_options_;
  Mutex engine_mutex_;  // the engine stays while somebody uses it
  std::atomic<RoundEngine*> engine_{nullptr};
  std::atomic<bool> stop_requested_{false};
};

}  // namespace muster

#endif  // MUSTER_SIMULATION_SIMULATED_FEDERATION_H_
