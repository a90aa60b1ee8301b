// A simulated round (the in-process pool with one worker: load, train, encode, fold) against a bare LibTorch
// loop on the same batches, one thread, interleaved in one process; where the model is linear layers, against
// a loop written by hand with cblas, too; and small clients by BatchedTrainer, with the CPU as the device,
// against the same one by one, there and without a device:
//   training_bench [ROUNDS]
// The same on a device against the bare loop there, clients one by one and, where the model is linear layers,
// in groups; `cpu` is the CPU in place of a GPU:
//   training_bench [ROUNDS] --device DEVICE
// Both print samples per second of each at their fastest (of CPU time, on a GPU by the clock), ratios of
// those (noise only ever slows a run down), and the median of the paired ratios. Clients are slices of
// Fashion-MNIST, or of noise if it is absent.
#include <time.h>
#include <torch/version.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <numeric>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "client/batched_trainer.h"
#include "core/random.h"
#include "server/aggregation/aggregator.h"
#include "simulation/in_process_pool.h"
#include "tests/bench/loops.h"

namespace muster {
namespace {

constexpr double kLearningRate = 0.01;

Dataset Noise() {
  Dataset data;
  data.sample_shape = {1, 28, 28};
  data.num_classes = 10;
  Random random({.seed = 1});
  for (int64_t i = 0; i < 4000 * 784; ++i) data.inputs.push_back(static_cast<float>(random.Uniform()));
  for (int64_t i = 0; i < 4000; ++i) data.labels.push_back(static_cast<int64_t>(random.Below(10)));
  return data;
}

Dataset Load() {
  auto loader = Registry<DatasetLoader>::Get().Create({"fashion_mnist", {}}, {});
  if (loader.ok()) {
    auto data = (*loader)->Load();
    if (data.ok()) return std::move(data->train);
  }
  std::puts("Fashion-MNIST is absent: noise in its place");
  return Noise();
}

// CPU time of the process, one of whose threads works at a time: steadier than the wall clock where other
// programs run. A GPU's time shows on the wall clock alone.
clockid_t ClockOf(const std::shared_ptr<ComputeDevice>& device) {
  return device != nullptr && device->is_cuda() ? CLOCK_MONOTONIC : CLOCK_PROCESS_CPUTIME_ID;
}

double Seconds(clockid_t clock, auto&& work) {
  const auto now = [clock] {
    timespec time;
    clock_gettime(clock, &time);
    return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
  };
  const double start = now();
  work();
  return now() - start;
}

double Median(std::vector<double> values) {
  std::nth_element(values.begin(), values.begin() + values.size() / 2, values.end());
  return values[values.size() / 2];
}

template <typename T>
T Must(absl::StatusOr<T> value) {
  if (value.ok()) return *std::move(value);
  std::fprintf(stderr, "%s\n", Message(value.status()).c_str());
  std::exit(1);
}

// As many clients as `samples` allow, `most` at most, each with the next `size` of them.
FederatedData Slices(std::shared_ptr<const TrainTest> samples, int64_t size, int64_t most) {
  FederatedData data;
  data.samples = std::move(samples);
  for (int64_t client = 0; client < std::min(most, data.train().size() / size); ++client) {
    std::vector<uint32_t> slice(static_cast<size_t>(size));
    std::iota(slice.begin(), slice.end(), static_cast<uint32_t>(client * size));
    data.training.AddClient(slice);
  }
  return data;
}

// What every client of `data` does in a round.
struct Work {
  std::string model;
  int64_t batch_size = 0;
  std::shared_ptr<ComputeDevice> device = nullptr;
  bool in_groups = false;  // on the device
};

Model::Context ContextOf(const Dataset& data) {
  return {.input_shape = data.sample_shape, .outputs = 10, .folder = ""};
}

// A federation of these clients in this process.
class Simulated {
 public:
  // `data` outlives it.
  Simulated(const FederatedData& data, const Work& work) {
    const Model::Context context = ContextOf(data.train());
    const TrainerOptions options{.batch_size = work.batch_size,
                                 .optimizer = {"sgd", {{"learning_rate", kLearningRate}}},
                                 .device = work.device};
    const auto make = [&] { return Must(MakeModel({work.model, {}}, context, 1)); };
    workers_ =
        Must(WorkerThreads::Start(1, [&] { return LocalTrainer::Create(make(), data.train(), options); }));
    const auto model = make();
    model_ = std::make_shared<const std::vector<float>>(model->values().begin(), model->values().end());
    if (work.in_groups) batched_ = Must(BatchedTrainer::Make(*model, data.train(), options));
    feedback_ = Must(Registry<ErrorFeedback>::Get().Create(
        {"none", {}}, {.compressor = compressor_.get(), .layout = &workers_->layout()}));
    clients_.emplace(data, *feedback_, nobody_, Misfortunes(), batched_.get());
    pool_.emplace(*clients_, *states_, *workers_, /*labels=*/false);
    cohort_.resize(pool_->Available().size());
    std::iota(cohort_.begin(), cohort_.end(), 0);
  }

  void Round(int round) {
    const auto aggregator = Must(Registry<Aggregator>::Get().Create(
        {"fedavg", {}},
        {.layout = &workers_->layout(), .cohort = pool_->Available(), .uniform_weights = false}));
    const auto fold = [&](Outcome outcome) { return aggregator->Add(std::get<Update>(outcome)); };
    const Task task{.round = round, .seed = 1, .model = model_, .folding = folding_};
    const absl::Status done = pool_->Run(task, cohort_, fold, [] { return false; });
    if (!done.ok()) Must(absl::StatusOr<int>(done));
    if (Must(std::move(*aggregator).Finish()).updates != static_cast<int64_t>(cohort_.size())) {
      Must(absl::StatusOr<int>(absl::InternalError("an update was refused")));
    }
  }

 private:
  const std::unique_ptr<StateStore> states_ = Must(StateStore::Open(""));
  const std::unique_ptr<Compressor> compressor_ =
      Must(Registry<Compressor>::Get().Create({"identity", {}}, {}));
  const std::shared_ptr<const Folding> folding_ = std::make_shared<Folding>();  // fedavg is sums
  const Adversaries nobody_;
  std::shared_ptr<const std::vector<float>> model_;
  std::unique_ptr<WorkerThreads> workers_;
  std::unique_ptr<BatchedTrainer> batched_;
  std::unique_ptr<ErrorFeedback> feedback_;
  std::optional<VirtualClients> clients_;
  std::optional<InProcessPool> pool_;
  std::vector<ClientId> cohort_;
};

void Compare(const FederatedData& data, const Work& work, int rounds) {
  const LoopOptions options{
      .batch_size = work.batch_size, .learning_rate = kLearningRate, .seed = 1, .device = work.device};
  const auto bare = MakeBareLoop(
      data.train(), Must(Registry<Model>::Get().Create({work.model, {}}, ContextOf(data.train()))), options);
  Simulated simulated(data, work);
  const auto seconds = [clock = ClockOf(work.device)](auto&& run) { return Seconds(clock, run); };
  const auto ours = [&](int round) { return seconds([&] { simulated.Round(round); }); };
  const auto by = [&](Loop& loop, int round) {
    return seconds([&] {
      for (ClientId client = 0; client < data.clients(); ++client) {
        loop.Train(data.training.samples(client), static_cast<uint64_t>(round),
                   static_cast<uint64_t>(client));
      }
    });
  };
  const auto theirs = [&](int round) { return by(*bare, round); };
  std::unique_ptr<Loop> by_hand;
  if (work.device == nullptr && work.model == "softmax") {
    by_hand = MakeLoopByHand(data.train(), {784, 10}, options);
  }
  if (work.device == nullptr && work.model == "mlp") {
    by_hand = MakeLoopByHand(data.train(), {784, 200, 10}, options);
  }
  int64_t count = 0;
  for (ClientId client = 0; client < data.clients(); ++client) {
    count += static_cast<int64_t>(data.training.samples(client).size());
  }
  ours(0), theirs(0);  // warm-up
  std::vector<double> our_rates, their_rates, hand_rates, ratios;
  for (int round = 1; round <= rounds; ++round) {
    const bool first = round % 2 == 0;
    const double a = first ? ours(round) : 0;
    const double b = theirs(round);
    const double a_seconds = first ? a : ours(round);
    our_rates.push_back(static_cast<double>(count) / a_seconds);
    their_rates.push_back(static_cast<double>(count) / b);
    ratios.push_back(b / a_seconds);
    if (by_hand) hand_rates.push_back(static_cast<double>(count) / by(*by_hand, round));
  }
  const double our_best = *std::max_element(our_rates.begin(), our_rates.end());
  const double their_best = *std::max_element(their_rates.begin(), their_rates.end());
  std::printf("%-8s batch %2ld", work.model.c_str(), static_cast<long>(work.batch_size));
  if (work.device != nullptr) {
    std::printf(", %2ld x %3ld samples %s", static_cast<long>(data.clients()),
                static_cast<long>(count / data.clients()), work.in_groups ? "in groups" : "one by one");
  }
  std::printf(": %8.0f samples/s, bare loop %8.0f, ratio %.3f, median of pairs %.3f", our_best, their_best,
              our_best / their_best, Median(ratios));
  if (by_hand) {
    const double hand_best = *std::max_element(hand_rates.begin(), hand_rates.end());
    std::printf(", by hand %8.0f, ratio %.3f", hand_best, our_best / hand_best);
  }
  std::printf("\n");
  std::fflush(stdout);
}

// One epoch of as many clients as the data have full ones of `samples`, by one thread.
void CompareBatched(const Dataset& data, const std::string& name, int64_t samples, int rounds) {
  const Model::Context context = ContextOf(data);
  TrainerOptions options{.batch_size = 10, .optimizer = {"sgd", {{"learning_rate", kLearningRate}}}};
  const auto host = Must(LocalTrainer::Create(Must(MakeModel({name, {}}, context, 1)), data, options));
  options.device = std::make_shared<ComputeDevice>(at::kCPU);
  const auto device = Must(LocalTrainer::Create(Must(MakeModel({name, {}}, context, 1)), data, options));
  const auto model = Must(MakeModel({name, {}}, context, 1));
  const auto batched = Must(BatchedTrainer::Make(*model, data, options));
  const std::vector<float> global(model->values().begin(), model->values().end());

  const int64_t count = std::min(batched->group(), data.size() / samples);
  std::vector<uint32_t> places(static_cast<size_t>(count * samples));
  std::iota(places.begin(), places.end(), 0U);
  std::vector<float> deltas(static_cast<size_t>(count) * global.size());
  std::vector<BatchedTrainer::Client> clients;
  for (int64_t c = 0; c < count; ++c) {
    clients.push_back(
        {.job = {.seed = 1, .client = c},
         .samples = std::span(places).subspan(static_cast<size_t>(c * samples), static_cast<size_t>(samples)),
         .delta = std::span(deltas).subspan(static_cast<size_t>(c) * global.size(), global.size())});
  }
  const auto rate = [&](auto&& train) {
    return static_cast<double>(count) / Seconds(ClockOf(nullptr), train);
  };
  const auto one_by_one = [&](LocalTrainer& trainer) {
    return rate([&] {
      for (const auto& client : clients)
        Must(trainer.Train(client.job, global, client.samples, client.delta));
    });
  };
  double together = 0, on_device = 0, on_host = 0;  // at their fastest
  for (int round = 0; round <= rounds; ++round) {
    together = std::max(together, rate([&] {
                          for (const auto& result : batched->Train(clients, global)) Must(result);
                        }));
    on_device = std::max(on_device, one_by_one(*device));
    on_host = std::max(on_host, one_by_one(*host));
  }
  std::printf(
      "%-8s %2ld clients of %2ld samples: batched %8.0f clients/s, one by one on the device %8.0f, ratio "
      "%.3f; "
      "without a device %8.0f, ratio %.3f\n",
      name.c_str(), static_cast<long>(count), static_cast<long>(samples), together, on_device,
      together / on_device, on_host, together / on_host);
  std::fflush(stdout);
}

void CompareAll(const std::shared_ptr<ComputeDevice>& device, const std::shared_ptr<const TrainTest>& samples,
                int rounds) {
  for (const auto& [model, clients] :
       {std::pair<const char*, int64_t>{"softmax", 6}, {"mlp", 6}, {"lenet", 2}, {"cnn", 1}}) {
    const FederatedData data = Slices(samples, 600, clients);
    for (const int64_t batch : {20, 32}) Compare(data, {model, batch, device}, rounds);
  }
  for (const char* model : {"softmax", "mlp"}) {
    if (device == nullptr) {
      for (const int64_t size : {20, 60}) CompareBatched(samples->train, model, size, rounds);
    } else {
      for (const int64_t size : {60, 600}) {
        Compare(Slices(samples, size, 64), {model, 10, device, /*in_groups=*/true}, rounds);
      }
    }
  }
}

}  // namespace
}  // namespace muster

int main(int argc, char** argv) {
  int rounds = 15;
  std::optional<std::string> device_name;
  for (int i = 1; i < argc; ++i) {
    if (argv[i] == std::string_view("--device")) {
      device_name = i + 1 < argc ? argv[++i] : "";
    } else {
      rounds = std::max(1, std::atoi(argv[i]));
    }
  }
  std::shared_ptr<muster::ComputeDevice> device;
  if (device_name) {
    device = muster::Must(muster::ComputeDevice::Find(*device_name, /*local_rank=*/0));
    if (device == nullptr) device = std::make_shared<muster::ComputeDevice>(at::kCPU);
    std::printf("device %s, LibTorch %s, seconds of %s\n", device->place().str().c_str(), TORCH_VERSION,
                device->is_cuda() ? "the clock" : "CPU time");
  }
  at::globalContext().setFlushDenormal(true);
  at::set_num_threads(1);
  const auto samples = std::make_shared<const muster::TrainTest>(muster::TrainTest{muster::Load(), {}});
  muster::CompareAll(device, samples, rounds);
}
