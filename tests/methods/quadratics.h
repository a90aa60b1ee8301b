// A federation of quadratics, in plain C++: every client minimises the sum over elements of
// curvature / 2 (y - centre)^2 by gradient steps with a method's client half, the round engine runs its
// server half. All that is known of such runs is known in closed form.
#ifndef MUSTER_TESTS_METHODS_QUADRATICS_H_
#define MUSTER_TESTS_METHODS_QUADRATICS_H_

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "methods/method.h"
#include "tests/server/fakes.h"

namespace muster::test {

struct Quadratic {
  double curvature = 1;
  double centre = 0;
  int64_t steps = 1;
  int64_t samples = 1;
};

inline std::unique_ptr<Method> MakeMethod(const PluginConfig& config, const Layout& layout,
                                          const PluginConfig& optimizer = {"sgd", {}}) {
  auto made = Registry<Method>::Get().Create(config, {.layout = &layout, .optimizer = optimizer});
  EXPECT_TRUE(made.ok()) << made.status();
  return made.ok() ? *std::move(made) : nullptr;
}

inline Payload EncodeExtra(const std::string& name, const std::vector<float>& values) {
  return Encode(values, ExtraLayout(name, static_cast<int64_t>(values.size())));
}

// Client k is client number k. Gradient steps y -= rate m, m = momentum m + gradient, on every trainable
// element; on every other element the update is `buffer_change`.
class QuadraticPool final : public ClientPool {
 public:
  QuadraticPool(const Layout& layout, const Method& method, std::vector<Quadratic> clients)
      : layout_(layout), method_(method), quadratics_(std::move(clients)) {
    for (size_t k = 0; k < quadratics_.size(); ++k) {
      clients_.push_back({.id = static_cast<ClientId>(k), .num_samples = quadratics_[k].samples});
    }
  }

  std::span<const ClientInfo> Available() const override { return clients_; }

  absl::Status Run(const Task& task, std::span<const ClientId> cohort, OutcomeSink sink,
                   const std::function<bool()>& /*cancelled*/) override {
    std::vector<ClientId> clients(cohort.begin(), cohort.end());
    if (order) order(clients);
    for (const ClientId client : clients) {
      State memory = memories[client];
      Update update;
      MUSTER_RETURN_IF_ERROR(Train(task, client, memory, update));
      if (change) change(update);
      if (lost && lost(task.round, client)) {
        (void)sink(ClientFailure{client, "upload", "UNAVAILABLE", "lost", 0});
      } else if (sink(std::move(update)).ok()) {
        memories[client] = std::move(memory);
      }
    }
    return absl::OkStatus();
  }

  double rate = 0.05;
  double momentum = 0;
  float buffer_change = 0;
  std::map<ClientId, State> memories;
  std::function<void(std::vector<ClientId>&)> order;
  std::function<void(Update&)> change;
  std::function<bool(int64_t round, ClientId)> lost;

 private:
  absl::Status Train(const Task& task, ClientId client, State& memory, Update& update) const {
    const Quadratic& quadratic = quadratics_[static_cast<size_t>(client)];
    const std::vector<float>& start = *task.model;
    MUSTER_ASSIGN_OR_RETURN(
        const std::unique_ptr<LocalMethod> local,
        method_.Start({.model = start, .vectors = task.vectors, .learning_rate_factor = 1}, memory));
    std::vector<float> model = start, gradient, direction(start.size());
    for (int64_t step = 0; step < quadratic.steps; ++step) {
      ForEachTrainable(layout_, [&](size_t first, size_t count) {
        gradient.resize(count);
        for (size_t i = 0; i < count; ++i) {
          gradient[i] = static_cast<float>(quadratic.curvature * (model[first + i] - quadratic.centre));
        }
        if (local != nullptr && local->corrects()) {
          local->Correct(static_cast<int64_t>(first), std::span<const float>(model).subspan(first, count),
                         gradient);
        }
        for (size_t i = 0; i < count; ++i) {
          direction[first + i] = static_cast<float>(momentum * direction[first + i] + gradient[i]);
          model[first + i] = static_cast<float>(model[first + i] - rate * direction[first + i]);
        }
      });
    }
    std::vector<float> delta(start.size(), buffer_change);
    ForEachTrainable(layout_, [&](size_t first, size_t count) {
      for (size_t i = first; i < first + count; ++i) delta[i] = model[i] - start[i];
    });
    std::map<std::string, std::vector<float>> extras;
    if (local != nullptr) {
      LocalMethod::Work work{quadratic.steps, quadratic.steps, delta, extras, update.numbers};
      MUSTER_RETURN_IF_ERROR(local->Finish(work, memory));
    }
    update.client = client;
    update.num_samples = quadratic.samples;
    update.payload = Encode(delta, layout_);
    update.metrics = {.train_loss = 1, .steps = quadratic.steps, .seconds = 0};
    for (const auto& [name, values] : extras) update.extras[name] = EncodeExtra(name, values);
    return absl::OkStatus();
  }

  const Layout& layout_;
  const Method& method_;
  const std::vector<Quadratic> quadratics_;
  std::vector<ClientInfo> clients_;
};

// One run over quadratics, from a model of zeros.
struct QuadraticFederation {
  QuadraticFederation(const PluginConfig& config, std::vector<Quadratic> clients,
                      const PluginConfig& local = {"sgd", {}}, Layout of = OneElement())
      : layout(std::move(of)), method(MakeMethod(config, layout, local)) {
    const auto count = static_cast<int64_t>(clients.size());
    pool = std::make_unique<QuadraticPool>(layout, *method, std::move(clients));
    policy.clients = count;
    options.clients = count;
    optimizer =
        *Registry<ServerOptimizer>::Get().Create({"sgd", {}}, {.size = layout.size, .clients = count});
  }
  static Layout OneElement() {
    Layout layout;
    layout.Add("weight", {1}, true);
    return layout;
  }

  std::vector<float> Run(int64_t rounds) {
    options.rounds = rounds;
    RoundEngine engine(options, {.layout = &layout,
                                 .pool = pool.get(),
                                 .evaluator = &evaluator,
                                 .has_trust_set = true,
                                 .policy = &policy,
                                 .selector = &selector,
                                 .server_optimizer = optimizer.get(),
                                 .method = method.get(),
                                 .schedule = &schedule,
                                 .journal = journal.get(),
                                 .listeners = {&recorder}});
    auto model = engine.Run(std::vector<float>(static_cast<size_t>(layout.size)));
    status = model.status();
    return model.ok() ? *std::move(model) : std::vector<float>();
  }

  const Layout layout;
  const std::unique_ptr<Method> method;
  std::unique_ptr<QuadraticPool> pool;
  FakeEvaluator evaluator;
  CountingPolicy policy;
  RotatingSelector selector;
  std::unique_ptr<ServerOptimizer> optimizer;
  struct Constant final : Schedule {
    double Factor(int64_t /*round*/) const override { return 1; }
  } schedule;
  Recorder recorder;
  std::unique_ptr<Journal> journal;
  EngineOptions options{.name = "quadratics",
                        .seed = 3,
                        .aggregator = {.name = "fedavg", .options = {{"weights", std::string("uniform")}}},
                        .evaluate_every = 1000};
  absl::Status status;
};

}  // namespace muster::test

#endif  // MUSTER_TESTS_METHODS_QUADRATICS_H_
