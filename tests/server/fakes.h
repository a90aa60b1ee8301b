// A federation of fakes for tests of the round engine: scripted clients, and stateful parts whose state shows
// in the results.
#ifndef MUSTER_TESTS_SERVER_FAKES_H_
#define MUSTER_TESTS_SERVER_FAKES_H_

#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "compression/compressor.h"
#include "core/random.h"
#include "gtest/gtest.h"
#include "server/rounds/round_engine.h"

namespace muster::test {

// A folder of its own, empty at the start and removed at the end.
class TemporaryFolder {
 public:
  TemporaryFolder() {
    static int count = 0;
    path_ = absl::StrCat(::testing::TempDir(), "/muster_server_", ::getpid(), "_", count++);
    std::filesystem::remove_all(path_);
    std::filesystem::create_directories(path_);
  }
  ~TemporaryFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

inline Layout SmallLayout() {
  Layout layout;
  layout.Add("weight", {2, 3}, true);
  layout.Add("bias", {2}, true);
  return layout;
}

inline Payload Encode(const std::vector<float>& delta, const Layout& layout) {
  Payload payload{.bytes = PayloadHeader(/*codec=*/1, layout)};  // identity
  payload.bytes.append(reinterpret_cast<const char*>(delta.data()), delta.size() * sizeof(float));
  return payload;
}

// Clients 10, 20, 30, ...; client 10 k declares k samples. By default a client answers with a delta that
// depends on the model, the round and itself; `script` may answer for it. Answers come in the order that
// `order` makes of them.
class ScriptedPool final : public ClientPool {
 public:
  ScriptedPool(const Layout& layout, int64_t clients) : layout_(layout) {
    for (int64_t k = 1; k <= clients; ++k) clients_.push_back({.id = 10 * k, .num_samples = k});
  }

  std::span<const ClientInfo> Available() const override { return clients_; }

  absl::Status Run(const Task& task, std::span<const ClientId> cohort, OutcomeSink sink,
                   const std::function<bool()>& cancelled) override {
    tasks.push_back({task.round, task.epochs, task.steps, task.learning_rate_factor});
    std::vector<ClientId> clients(cohort.begin(), cohort.end());
    if (order) order(task.round, clients);
    for (const ClientId client : clients) {
      if (cancelled()) return absl::CancelledError("cancelled");
      (void)sink(script ? script(task, client) : Honest(task, client));
    }
    return result;
  }

  Update Honest(const Task& task, ClientId client) const {
    Random random({.seed = task.seed,
                   .round = static_cast<uint64_t>(task.round),
                   .client = static_cast<uint64_t>(client)});
    std::vector<float> delta(static_cast<size_t>(layout_.size));
    for (size_t i = 0; i < delta.size(); ++i) {
      delta[i] = static_cast<float>(random.Normal()) - 0.25F * (*task.model)[i];
    }
    return WithDelta(client, delta);
  }
  Update WithDelta(ClientId client, const std::vector<float>& delta) const {
    return {.client = client,
            .num_samples = client / 10,
            .payload = Encode(delta, layout_),
            .metrics = {.train_loss = 1.0 / static_cast<double>(client), .steps = 3, .seconds = 0},
            .download_bytes = 100};
  }

  struct TaskSeen {
    int64_t round = 0, epochs = 0, steps = 0;
    double learning_rate_factor = 0;
  };
  std::function<Outcome(const Task&, ClientId)> script;
  std::function<void(int64_t round, std::vector<ClientId>&)> order;
  absl::Status result;  // of Run
  std::vector<TaskSeen> tasks;

 private:
  const Layout& layout_;
  std::vector<ClientInfo> clients_;
};

// Accuracy is `accuracy_of(round so far)`, the loss of any kind the mean square of the model.
class FakeEvaluator final : public Evaluator {
 public:
  absl::StatusOr<Evaluation> EvaluateTest(ConstParameters model) override {
    Evaluation evaluation{
        .samples = 7, .loss = MeanSquare(model), .accuracy = 0.1, .macro_f1 = 0.25, .class_recall = {}};
    if (accuracy_of) evaluation.accuracy = accuracy_of(++tests);
    return evaluation;
  }
  absl::StatusOr<double> TrustLoss(ConstParameters model) override {
    ++trust_losses;
    return MeanSquare(model);
  }
  absl::StatusOr<std::vector<ClientEvaluation>> EvaluateClients(ConstParameters model) override {
    return std::vector<ClientEvaluation>{
        {.client = 10, .evaluation = {.samples = 1, .loss = MeanSquare(model), .class_recall = {}}}};
  }

  std::function<double(int64_t test)> accuracy_of;  // of the 1st, 2nd, ... evaluation
  int64_t tests = 0;
  int64_t trust_losses = 0;

 private:
  static double MeanSquare(ConstParameters model) {
    double sum = 0;
    for (const float value : model) sum += static_cast<double>(value) * value;
    return sum / static_cast<double>(model.size());
  }
};

// Asks 2, 3, 4, 2, 3, ... clients by a counter of its own; `clients` > 0 asks so many.
class CountingPolicy final : public ParticipationPolicy {
 public:
  absl::StatusOr<Decision> Next(const BeforeRound& round) override {
    trust_loss_.reset();
    if (ask_trust_loss) {
      MUSTER_ASSIGN_OR_RETURN(trust_loss_, round.trust_loss());
    }
    return Decision{.clients = clients > 0 ? clients : 2 + counter_ % 3,
                    .epochs = epochs,
                    .keep_updates = keep_updates,
                    .remember_updates = remember_updates,
                    .uniform_weights = uniform_weights,
                    .reason = absl::StrCat("count-", counter_)};
  }
  absl::StatusOr<std::optional<SearchRecord>> Observe(const AfterRound& round) override {
    ++counter_;
    return observe ? observe(round) : std::nullopt;
  }
  std::optional<double> last_trust_loss() const override { return trust_loss_; }
  std::string Save() const override { return absl::StrCat(counter_); }
  absl::Status Load(const std::string& state) override {
    return absl::SimpleAtoi(state, &counter_) ? absl::OkStatus() : InvalidInput("bad policy state");
  }

  int64_t clients = 0;
  int64_t epochs = 0;
  bool ask_trust_loss = false;
  bool keep_updates = false;
  bool remember_updates = false;
  bool uniform_weights = false;
  std::function<absl::StatusOr<std::optional<SearchRecord>>(const AfterRound&)> observe;

 private:
  int64_t counter_ = 0;
  std::optional<double> trust_loss_;
};

// Takes clients in turn, going on behind the last that took part; mixed by chance so that the key matters.
class RotatingSelector final : public Selector {
 public:
  absl::StatusOr<std::vector<ClientId>> Select(int64_t count, std::span<const ClientInfo> candidates,
                                               Random& random) const override {
    const uint64_t start = turn_ + random.Below(2);
    std::vector<ClientId> chosen;
    for (int64_t i = 0; i < count; ++i) {
      chosen.push_back(candidates[(start + static_cast<uint64_t>(i)) % candidates.size()].id);
    }
    std::reverse(chosen.begin(), chosen.end());
    return chosen;
  }
  void Observe(const SelectorRound& round) override { turn_ += round.cohort.size(); }
  std::string Save() const override { return absl::StrCat(turn_); }
  absl::Status Load(const std::string& state) override {
    return absl::SimpleAtoi(state, &turn_) ? absl::OkStatus() : InvalidInput("bad selector state");
  }

 private:
  uint64_t turn_ = 0;
};

// v = v / 2 + delta, model += v.
class HalvingMomentum final : public ServerOptimizer {
 public:
  explicit HalvingMomentum(int64_t size) : velocity_(static_cast<size_t>(size)) {}
  absl::Status Step(const Aggregate& aggregate, Parameters model) override {
    const std::vector<float>& delta = aggregate.delta;
    for (size_t i = 0; i < velocity_.size(); ++i) {
      velocity_[i] = 0.5F * velocity_[i] + delta[i];
      model[i] += velocity_[i];
    }
    return absl::OkStatus();
  }
  State Save() const override { return {.vectors = {{"velocity", velocity_}}, .numbers = {}}; }
  absl::Status Load(State state) override {
    velocity_ = std::move(state.vectors.at("velocity"));
    return absl::OkStatus();
  }
  std::unique_ptr<ServerOptimizer> Clone() const override { return std::make_unique<HalvingMomentum>(*this); }

 private:
  std::vector<float> velocity_;
};

class HalvingSchedule final : public Schedule {
 public:
  double Factor(int64_t round) const override { return 1.0 / static_cast<double>(1 + round); }
};

// Every event as one word and its round, and all records.
class Recorder final : public RoundListener {
 public:
  bool WantsUpdateNorms() const override { return true; }
  void On(const Event& event) override {
    if (const auto* started = std::get_if<RunStarted>(&event)) {
      log.push_back(absl::StrCat("run from ", started->first_round));
      run_started = *started;
    } else if (const auto* round = std::get_if<RoundStarted>(&event)) {
      log.push_back(absl::StrCat("round ", round->round));
      cohort = round->cohort;
    } else if (const auto* client = std::get_if<ClientFinished>(&event)) {
      log.push_back(absl::StrCat(client->accepted ? "accepted " : "failed ", client->client));
      answers.push_back(*client);
    } else if (const auto* committed = std::get_if<RoundCommitted>(&event)) {
      log.push_back(absl::StrCat("committed ", committed->record.round));
      records.push_back(committed->record);
      model.assign(committed->model.begin(), committed->model.end());
    } else {
      log.push_back(absl::StrCat("finished: ", std::get<RunFinished>(event).why));
    }
    if (on_event) on_event(log.back());
  }

  std::vector<std::string> log;
  std::vector<RoundRecord> records;
  std::vector<float> model;  // after the last committed round
  RunStarted run_started;
  std::vector<ClientId> cohort;  // of the round that was started last
  std::vector<ClientFinished> answers;
  std::function<void(const std::string&)> on_event;
};

// All parts of a run, new.
struct Federation {
  Layout layout = SmallLayout();
  ScriptedPool pool{layout, /*clients=*/6};
  FakeEvaluator evaluator;
  CountingPolicy policy;
  RotatingSelector selector;
  HalvingMomentum optimizer{layout.size};
  HalvingSchedule schedule;
  Recorder recorder;
  std::unique_ptr<Journal> journal;
  EngineOptions options{
      .name = "test", .seed = 3, .rounds = 5, .aggregator = {.name = "fedavg", .options = {}}};
  std::unique_ptr<RoundEngine> engine;

  std::vector<float> InitialModel() const {
    return std::vector<float>(static_cast<size_t>(layout.size), 1.0F);
  }
  absl::StatusOr<std::vector<float>> Run() {
    engine = std::make_unique<RoundEngine>(options, EngineParts{.layout = &layout,
                                                                .pool = &pool,
                                                                .evaluator = &evaluator,
                                                                .has_trust_set = true,
                                                                .policy = &policy,
                                                                .selector = &selector,
                                                                .server_optimizer = &optimizer,
                                                                .schedule = &schedule,
                                                                .journal = journal.get(),
                                                                .listeners = {&recorder}});
    return engine->Run(InitialModel());
  }
};

}  // namespace muster::test

#endif  // MUSTER_TESTS_SERVER_FAKES_H_
