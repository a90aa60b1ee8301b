#include "simulation/simulated_federation.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "client/configured_trainer.h"
#include "core/config.h"
#include "core/file.h"
#include "core/safetensors.h"
#include "server/rounds/cohorts.h"
#include "simulation/worker.h"

namespace muster {
namespace {

// Makes the plug-in a field names; errors get the field's path in front.
template <typename Interface>
absl::StatusOr<std::unique_ptr<Interface>> Make(const v1::Plugin& plugin,
                                                const typename Interface::Context& context,
                                                const char* field) {
  auto made = Registry<Interface>::Get().Create(ToPluginConfig(plugin), context);
  if (!made.ok()) return Annotate(made.status(), absl::StrCat(field, " (", plugin.name(), ")"));
  return made;
}

// INVALID_ARGUMENT where the method's server half cannot do with what the other parts give it.
absl::Status CheckMethod(const v1::Experiment& config, const Method& method, const ErrorFeedback& feedback,
                         const ServerOptimizer& optimizer) {
  const v1::Plugin& rule = config.federation().aggregator();
  const auto refuse = [&](const std::string& why) {
    return InvalidInput(absl::StrCat("training.method (", config.training().method().name(), "): ", why));
  };
  if (method.NeedsMean()) {
    const Layout nothing;
    MUSTER_ASSIGN_OR_RETURN(const auto aggregator, Make<Aggregator>(rule, {.layout = &nothing, .cohort = {}},
                                                                    "federation.aggregator"));
    if (!aggregator->IsMean()) {
      return refuse(absl::StrCat("needs an aggregator that is a mean of the updates, such as fedavg; ",
                                 rule.name(),
                                 " is none, and what the method sends beside the updates has no other rule"));
    }
  }
  if (method.AddsUpRounds() && feedback.NeedsUniformWeights()) {
    return refuse(absl::StrCat("needs the mean change of the round's clients; training.error_feedback ",
                               config.training().error_feedback().name(),
                               " makes of it one over all clients; use none or ef14"));
  }
  if (method.NeedsUniformWeights() && optimizer.Weights({})) {
    return refuse(absl::StrCat("counts every client the same; federation.server_optimizer ",
                               config.federation().server_optimizer().name(), " weighs them"));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::unique_ptr<SimulatedFederation>> SimulatedFederation::Create(
    const v1::Experiment& config, int workers, std::shared_ptr<ComputeDevice> device) {
  MUSTER_ASSIGN_OR_RETURN(FederatedData data,
                          BuildFederatedData(config.data(), config.pin().partition(), config.seed()));
  return CreateOn(std::make_shared<const FederatedData>(std::move(data)), config, workers, std::move(device));
}

absl::StatusOr<std::unique_ptr<SimulatedFederation>> SimulatedFederation::CreateOn(
    std::shared_ptr<const FederatedData> data, const v1::Experiment& config, int workers,
    std::shared_ptr<ComputeDevice> device) {
  auto federation = std::unique_ptr<SimulatedFederation>(new SimulatedFederation);
  federation->data_ = std::move(data);
  federation->device_ = std::move(device);
  MUSTER_RETURN_IF_ERROR(federation->MakeWorkers(config, workers));
  MUSTER_RETURN_IF_ERROR(federation->MakeEngineParts(config));
  return federation;
}

absl::Status SimulatedFederation::MakeWorkers(const v1::Experiment& config, int workers) {
  MUSTER_ASSIGN_OR_RETURN(const std::unique_ptr<FlatModel> model,
                          MakeConfiguredModel(config, data_->train()));
  if (config.pin().initial_model().empty()) {
    initial_model_.assign(model->values().begin(), model->values().end());
  } else {
    MUSTER_ASSIGN_OR_RETURN(initial_model_, ReadModel(config.pin().initial_model(), model->layout()));
  }
  absl::StatusOr<std::unique_ptr<BatchedTrainer>> batched =
      MakeConfiguredBatchedTrainer(config, *model, data_->train(), device_);
  if (!batched.ok()) return Annotate(batched.status(), "training");
  batched_ = *std::move(batched);
  absl::StatusOr<std::unique_ptr<WorkerThreads>> started =
      WorkerThreads::Start(workers, [&] { return MakeConfiguredTrainer(config, data_->train(), device_); });
  if (!started.ok()) return Annotate(started.status(), "training");
  workers_ = *std::move(started);
  return absl::OkStatus();
}

absl::Status SimulatedFederation::MakeEngineParts(const v1::Experiment& config) {
  const v1::FederationRules& rules = config.federation();
  MUSTER_ASSIGN_OR_RETURN(compressor_,
                          Make<Compressor>(config.training().compressor(), {}, "training.compressor"));
  MUSTER_ASSIGN_OR_RETURN(
      feedback_,
      Make<ErrorFeedback>(config.training().error_feedback(),
                          {.compressor = compressor_.get(), .layout = &layout()}, "training.error_feedback"));
  MUSTER_ASSIGN_OR_RETURN(
      method_, Make<Method>(config.training().method(),
                            {.layout = &layout(), .optimizer = ToPluginConfig(config.training().optimizer())},
                            "training.method"));
  MUSTER_ASSIGN_OR_RETURN(adversaries_, Adversaries::Create(config.simulation(), data_->clients(),
                                                            data_->train().num_classes, config.seed()));
  clients_ = std::make_unique<VirtualClients>(*data_, *feedback_, adversaries_,
                                              Misfortunes{.lose_updates = config.simulation().lose_updates(),
                                                          .withhold = config.simulation().withhold(),
                                                          .seed = config.seed()},
                                              batched_.get());
  if (rules.downlink().name() != "identity") {
    MUSTER_ASSIGN_OR_RETURN(downlink_compressor_,
                            Make<Compressor>(rules.downlink(), {}, "federation.downlink"));
    downlink_ = std::make_unique<Downlink>(*downlink_compressor_, layout());
  }
  evaluator_ = std::make_unique<ModelEvaluator>(*data_, *workers_);
  MUSTER_ASSIGN_OR_RETURN(policy_, Make<ParticipationPolicy>(rules.participation(),
                                                             {data_->clients(), rules.rounds(),
                                                              !data_->trust.empty(), ModelBytes(layout())},
                                                             "federation.participation"));
  MUSTER_ASSIGN_OR_RETURN(selector_,
                          Make<Selector>(rules.selector(), {config.seed()}, "federation.selector"));
  MUSTER_ASSIGN_OR_RETURN(server_optimizer_,
                          Make<ServerOptimizer>(rules.server_optimizer(), {layout().size, data_->clients()},
                                                "federation.server_optimizer"));
  MUSTER_RETURN_IF_ERROR(CheckMethod(config, *method_, *feedback_, *server_optimizer_));
  MUSTER_ASSIGN_OR_RETURN(
      schedule_, Make<Schedule>(config.training().schedule(), {rules.rounds()}, "training.schedule"));

  engine_options_.name = config.name();
  engine_options_.seed = config.seed();
  engine_options_.rounds = rules.rounds();
  engine_options_.epochs = config.training().epochs();
  engine_options_.steps = config.training().steps();
  engine_options_.aggregator = ToPluginConfig(rules.aggregator());
  engine_options_.clients = data_->clients();
  engine_options_.quorum = rules.quorum();
  engine_options_.over_select = rules.over_select();
  engine_options_.deadline_seconds = rules.deadline_seconds();
  engine_options_.average_state = config.training().optimizer_state() == "average";
  engine_options_.evaluate_every = config.evaluation().every();
  engine_options_.evaluate_clients_every = config.evaluation().clients_every();
  engine_options_.stop_accuracy = config.stop().accuracy();
  engine_options_.stop_loss = config.stop().loss();
  engine_options_.stop_upload_bytes = config.stop().upload_bytes();
  if (const std::string& file = config.pin().cohorts(); !file.empty()) {
    MUSTER_ASSIGN_OR_RETURN(const std::string json, ReadFile(file));
    MUSTER_ASSIGN_OR_RETURN(engine_options_.pinned_cohorts,
                            CohortsFromJson(json, rules.rounds(), data_->clients(), file));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<float>> SimulatedFederation::Run(Journal* journal, const std::string& states,
                                                            std::vector<RoundListener*> listeners) {
  MUSTER_ASSIGN_OR_RETURN(const std::unique_ptr<StateStore> store, StateStore::Open(states));
  InProcessPool pool(*clients_, *store, *workers_, selector_->Needs().labels);
  return RunWith(pool, journal, std::move(listeners));
}

absl::StatusOr<std::vector<float>> SimulatedFederation::RunOnWorkers(WorkerGroup& group, bool train_here,
                                                                     WorkersPool::Told told, Journal* journal,
                                                                     const std::string& states,
                                                                     std::vector<RoundListener*> listeners) {
  MUSTER_ASSIGN_OR_RETURN(const std::unique_ptr<StateStore> store, StateStore::Open(states));
  WorkersPool pool(*clients_, *store, selector_->Needs().labels, group, train_here ? workers_.get() : nullptr,
                   std::move(told));
  return RunWith(pool, journal, std::move(listeners));
}

absl::Status SimulatedFederation::Work(WorkerGroup& group, const std::function<void(double)>& trained) {
  return ServeAsWorker(*clients_, *workers_, engine_options_.aggregator, group, trained);
}

absl::StatusOr<std::vector<float>> SimulatedFederation::RunWith(ClientPool& pool, Journal* journal,
                                                                std::vector<RoundListener*> listeners) {
  EngineParts parts;
  parts.layout = &layout();
  parts.pool = &pool;
  parts.evaluator = evaluator_.get();
  parts.has_trust_set = !data_->trust.empty();
  parts.policy = policy_.get();
  parts.selector = selector_.get();
  parts.server_optimizer = server_optimizer_.get();
  parts.feedback = feedback_.get();
  parts.method = method_.get();
  parts.downlink = downlink_.get();
  parts.schedule = schedule_.get();
  parts.journal = journal;
  parts.listeners = std::move(listeners);
  RoundEngine engine(engine_options_, std::move(parts));
  engine_.store(&engine);
  if (stop_requested_.load()) engine.RequestStop();
  auto model = engine.Run(initial_model_);
  const MutexLock lock(&engine_mutex_);
  engine_.store(nullptr);
  return model;
}

absl::Status SimulatedFederation::WithEngine(const std::function<absl::Status(RoundEngine&)>& use) {
  const MutexLock lock(&engine_mutex_);
  RoundEngine* engine = engine_.load();
  return engine != nullptr ? use(*engine) : absl::UnavailableError("no run is going on");
}

void SimulatedFederation::RequestStop() {
  stop_requested_.store(true);
  if (RoundEngine* engine = engine_.load(); engine != nullptr) engine->RequestStop();
}

}  // namespace muster
