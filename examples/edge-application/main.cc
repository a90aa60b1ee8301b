// A monitor of pump valves that takes part in a federation: the readings stay in its own file, what leaves the machine are
// updates of a small model. Uses Muster::edge alone; the learning is by hand, and no LibTorch is linked.
//   valve_client HOST:PORT READINGS.csv NAME [CERTS]      without CERTS: plain text, for a trial
#include <signal.h>

#include <atomic>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <fstream>
#include <memory>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "client/edge/edge_client.h"
#include "core/random.h"

namespace {

struct Reading {
  float features[3];  // temperature, pressure, vibration
  int faulty;
};

// Softmax regression of two classes, trained by plain SGD.
class ValveTrainer final : public muster::Trainer {
 public:
  explicit ValveTrainer(std::vector<Reading> readings) : readings_(std::move(readings)) {
    // The names, shapes and order of the coordinator's `model: softmax`.
    layout_.Add("linear.weight", {2, 3}, true);
    layout_.Add("linear.bias", {2}, true);
  }

  const muster::Layout& layout() const override { return layout_; }
  int64_t num_samples() const override { return static_cast<int64_t>(readings_.size()); }

  absl::StatusOr<muster::TrainingResult> Train(const muster::TrainingJob& job, muster::ConstParameters global,
                                               std::span<float> delta, muster::State& /*memory*/) override {
    const auto start = std::chrono::steady_clock::now();
    std::vector<float> model(global.begin(), global.end());
    const auto rate = static_cast<float>(0.1 * job.learning_rate_factor);
    // Every draw is keyed, so that a task done again gives the same bits.
    muster::Random random({.seed = job.seed,
                           .purpose = muster::Purpose::kBatchOrder,
                           .round = static_cast<uint64_t>(job.round),
                           .client = static_cast<uint64_t>(job.client)});
    const int64_t steps = job.steps > 0 ? job.steps : job.epochs * num_samples();
    double loss = 0;
    for (int64_t step = 0; step < steps; ++step) {
      if (job.cancelled && job.cancelled()) return absl::CancelledError("cancelled");
      loss += Step(readings_[random.Below(readings_.size())], rate, model);
    }
    for (size_t i = 0; i < delta.size(); ++i) delta[i] = model[i] - global[i];
    muster::TrainingResult result;
    result.num_samples = num_samples();
    result.steps = steps;
    result.train_loss = loss / static_cast<double>(steps);
    result.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    return result;
  }

 private:
  // One sample's gradient step; returns its loss before.
  static double Step(const Reading& reading, float rate, std::vector<float>& model) {
    float logits[2];
    for (int k = 0; k < 2; ++k) {
      logits[k] = model[6 + k];
      for (int j = 0; j < 3; ++j) logits[k] += model[3 * k + j] * reading.features[j];
    }
    const float p1 = 1 / (1 + std::exp(logits[0] - logits[1]));
    const float p[2] = {1 - p1, p1};
    for (int k = 0; k < 2; ++k) {
      const float error = p[k] - static_cast<float>(k == reading.faulty);
      for (int j = 0; j < 3; ++j) model[3 * k + j] -= rate * error * reading.features[j];
      model[6 + k] -= rate * error;
    }
    return -std::log(std::max(p[reading.faulty], 1e-30F));
  }

  const std::vector<Reading> readings_;
  muster::Layout layout_;
};

std::vector<Reading> ReadCsv(const char* path) {
  std::ifstream file(path);
  std::string line;
  std::getline(file, line);  // names
  std::vector<Reading> readings;
  while (std::getline(file, line)) {
    Reading r{};
    if (std::sscanf(line.c_str(), "%f,%f,%f,%d", &r.features[0], &r.features[1], &r.features[2], &r.faulty) == 4 &&
        (r.faulty == 0 || r.faulty == 1)) {
      readings.push_back(r);
    }
  }
  return readings;
}

std::atomic<muster::EdgeClient*> running{nullptr};

absl::Status TakePart(const std::string& coordinator, const char* readings, const std::string& name, const char* certs) {
  ValveTrainer trainer(ReadCsv(readings));
  if (trainer.num_samples() == 0) return muster::InvalidInput(std::string(readings) + ": holds no readings");
  const auto compressor = muster::Registry<muster::Compressor>::Get().Create({"identity", {}}, {});
  if (!compressor.ok()) return compressor.status();
  const auto feedback = muster::Registry<muster::ErrorFeedback>::Get().Create(
      {"none", {}}, {.compressor = compressor->get(), .layout = &trainer.layout()});
  if (!feedback.ok()) return feedback.status();

  muster::EdgeOptions options;
  options.coordinator = coordinator;
  options.state_dir = "state-" + name;
  options.version = "valve_client 1.0";
  options.on_event = [](const muster::EdgeEvent& event) { std::puts(muster::Describe(event).c_str()); };
  if (certs == nullptr) {
    options.identity = name;
  } else {
    auto tls = muster::LoadTls(muster::TlsFilesIn(certs, name), muster::TlsRole::kClient);
    if (!tls.ok()) return tls.status();
    options.tls = *std::move(tls);
  }
  const auto client = muster::EdgeClient::Create(trainer, **feedback, options);
  if (!client.ok()) return client.status();
  running = client->get();
  signal(SIGTERM, [](int) {
    if (muster::EdgeClient* client = running.load()) client->Stop();
  });
  const absl::Status status = (*client)->Run();
  running = nullptr;
  return status;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 4 || argc > 5) {
    std::fprintf(stderr, "valve_client HOST:PORT READINGS.csv NAME [CERTS]\n");
    return 2;
  }
  const absl::Status status = TakePart(argv[1], argv[2], argv[3], argc == 5 ? argv[4] : nullptr);
  if (!status.ok()) std::fprintf(stderr, "valve_client: %s\n", muster::Message(status).c_str());
  return muster::ExitCode(status);
}
