// A simulated round (the in-process pool with one worker: load, train, encode, fold) against a bare LibTorch
// loop on the same batches, one thread, interleaved in one process; where the model is linear layers, against
// a loop written by hand with cblas, too; and small clients by BatchedTrainer, with the CPU as the device,
// against the same one by one, there and without a device:
//   training_bench [ROUNDS]
// prints samples per CPU-second of each at their fastest, ratios of those (noise only ever slows a run
// down), and the median of the paired ratios. Clients of 600 samples of Fashion-MNIST, or of noise if it is
// absent.
#include <time.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <numeric>
#include <string>
#include <vector>

#include "client/batched_trainer.h"
#include "core/random.h"
#include "server/aggregation/aggregator.h"
#include "simulation/in_process_pool.h"
#include "tests/bench/loops.h"

namespace muster {
namespace {

constexpr double kLearningRate = 0.01;
constexpr int64_t kClientSamples = 600;

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
// programs run.
double Seconds(auto&& work) {
  const auto now = [] {
    timespec time;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
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

void Compare(const FederatedData& data, const std::string& name, int64_t batch_size, int64_t clients,
             int rounds) {
  const Model::Context context{.input_shape = data.train().sample_shape, .outputs = 10, .folder = ""};
  const LoopOptions options{.batch_size = batch_size, .learning_rate = kLearningRate, .seed = 1};
  const auto bare =
      MakeBareLoop(data.train(), Must(Registry<Model>::Get().Create({name, {}}, context)), options);
  const auto model = std::make_shared<std::vector<float>>();
  const auto workers = Must(WorkerThreads::Start(1, [&]() -> absl::StatusOr<std::unique_ptr<LocalTrainer>> {
    auto flat = Must(MakeModel({name, {}}, context, 1));
    model->assign(flat->values().begin(), flat->values().end());
    return LocalTrainer::Create(
        std::move(flat), data.train(),
        {.batch_size = batch_size, .optimizer = {"sgd", {{"learning_rate", kLearningRate}}}});
  }));
  const auto states = Must(StateStore::Open(""));
  const auto compressor = Must(Registry<Compressor>::Get().Create({"identity", {}}, {}));
  const auto feedback = Must(Registry<ErrorFeedback>::Get().Create(
      {"none", {}}, {.compressor = compressor.get(), .layout = &workers->layout()}));
  const Adversaries nobody;
  const VirtualClients virtual_clients(data, *feedback, nobody, Misfortunes());
  InProcessPool pool(virtual_clients, *states, *workers, /*labels=*/false);
  std::vector<ClientId> cohort(static_cast<size_t>(clients));
  std::iota(cohort.begin(), cohort.end(), 0);

  const auto ours = [&](int round) {
    return Seconds([&] {
      auto aggregator = Must(
          Registry<Aggregator>::Get().Create({"fedavg", {}}, {.layout = &workers->layout(),
                                                              .cohort = pool.Available().first(cohort.size()),
                                                              .uniform_weights = false}));
      const auto fold = [&](Outcome outcome) { return aggregator->Add(std::get<Update>(outcome)); };
      const Task task{.round = round, .seed = 1, .model = model};
      const absl::Status done = pool.Run(task, cohort, fold, [] { return false; });
      if (!done.ok()) Must(absl::StatusOr<int>(done));
      if (Must(std::move(*aggregator).Finish()).updates != static_cast<int64_t>(cohort.size())) {
        Must(absl::StatusOr<int>(absl::InternalError("an update was refused")));
      }
    });
  };
  const auto theirs = [&](int round) {
    return Seconds([&] {
      for (const ClientId client : cohort) {
        bare->Train(data.training.samples(client), static_cast<uint64_t>(round),
                    static_cast<uint64_t>(client));
      }
    });
  };
  std::unique_ptr<Loop> by_hand;
  if (name == "softmax") by_hand = MakeLoopByHand(data.train(), {784, 10}, options);
  if (name == "mlp") by_hand = MakeLoopByHand(data.train(), {784, 200, 10}, options);
  const auto hand = [&](int round) {
    return Seconds([&] {
      for (const ClientId client : cohort) {
        by_hand->Train(data.training.samples(client), static_cast<uint64_t>(round),
                       static_cast<uint64_t>(client));
      }
    });
  };
  const int64_t count = clients * kClientSamples;
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
    if (by_hand) hand_rates.push_back(static_cast<double>(count) / hand(round));
  }
  const double our_best = *std::max_element(our_rates.begin(), our_rates.end());
  const double their_best = *std::max_element(their_rates.begin(), their_rates.end());
  std::printf("%-8s batch %2ld: %8.0f samples/s, bare loop %8.0f, ratio %.3f, median of pairs %.3f",
              name.c_str(), static_cast<long>(batch_size), our_best, their_best, our_best / their_best,
              Median(ratios));
  if (by_hand) {
    const double hand_best = *std::max_element(hand_rates.begin(), hand_rates.end());
    std::printf(", by hand %8.0f, ratio %.3f", hand_best, our_best / hand_best);
  }
  std::printf("\n");
  std::fflush(stdout);
}

// One epoch of as many clients as the data have full ones of `samples`, by one thread.
void CompareBatched(const Dataset& data, const std::string& name, int64_t samples, int rounds) {
  const Model::Context context{.input_shape = data.sample_shape, .outputs = 10, .folder = ""};
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
  const auto rate = [&](auto&& train) { return static_cast<double>(count) / Seconds(train); };
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

}  // namespace
}  // namespace muster

int main(int argc, char** argv) {
  const int rounds = argc > 1 ? std::max(1, std::atoi(argv[1])) : 15;
  at::globalContext().setFlushDenormal(true);
  at::set_num_threads(1);
  muster::FederatedData data;
  data.samples = std::make_shared<const muster::TrainTest>(muster::TrainTest{muster::Load(), {}});
  for (uint32_t client = 0; client < 6; ++client) {
    std::vector<uint32_t> samples(muster::kClientSamples);
    std::iota(samples.begin(), samples.end(), client * static_cast<uint32_t>(muster::kClientSamples));
    data.training.AddClient(samples);
  }
  for (const auto& [name, clients] :
       {std::pair<const char*, int64_t>{"softmax", 6}, {"mlp", 6}, {"lenet", 2}, {"cnn", 1}}) {
    for (const int64_t batch : {20, 32}) muster::Compare(data, name, batch, clients, rounds);
  }
  for (const char* name : {"softmax", "mlp"}) {
    for (const int64_t samples : {20, 60}) muster::CompareBatched(data.train(), name, samples, rounds);
  }
}
