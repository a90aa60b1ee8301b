// A simulated round (the in-process pool with one worker: load, train, encode, fold) against a bare LibTorch
// loop on the same batches, one thread, interleaved in one process; where the model is linear layers, against
// a loop written by hand with cblas, too:
//   training_bench [ROUNDS]
// prints samples per CPU-second of each at their fastest, ratios of those (noise only ever slows a run
// down), and the median of the paired ratios. Clients of 600 samples of Fashion-MNIST, or of noise if it is
// absent.
#include <cblas.h>
#include <time.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <numeric>
#include <string>
#include <vector>

#include "core/random.h"
#include "server/aggregation/aggregator.h"
#include "simulation/in_process_pool.h"

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

// What one writes with LibTorch alone. Gradients are dropped, not zeroed: the faster of its two ways.
class Bare {
 public:
  Bare(const Dataset& data, std::unique_ptr<Model> model) : model_(std::move(model)) {
    inputs_ = at::tensor(at::ArrayRef<float>(data.inputs)).view({data.size(), 1, 28, 28});
    labels_ = at::tensor(at::ArrayRef<int64_t>(data.labels));
    for (const auto& [name, tensor] : model_->Parameters()) parameters_.push_back(tensor);
    model_->SetTraining(true);
  }
  void Train(std::span<const uint32_t> samples, int64_t batch_size, uint64_t round, uint64_t client) {
    torch::optim::SGD sgd(parameters_, torch::optim::SGDOptions(kLearningRate));
    std::vector<int64_t> order(samples.begin(), samples.end());
    Random({.seed = 1, .purpose = Purpose::kBatchOrder, .round = round, .client = client})
        .Shuffle(std::span<int64_t>(order));
    const at::Tensor indices = at::tensor(at::ArrayRef<int64_t>(order));
    for (int64_t begin = 0; begin < indices.numel(); begin += batch_size) {
      const at::Tensor batch = indices.narrow(0, begin, std::min(batch_size, indices.numel() - begin));
      const at::Tensor outputs = model_->Forward(inputs_.index_select(0, batch));
      const at::Tensor loss = at::cross_entropy_loss(outputs, labels_.index_select(0, batch));
      for (const at::Tensor& parameter : parameters_) parameter.mutable_grad().reset();
      loss.backward();
      sgd.step();
      sum_ += loss.item<double>();
    }
  }

 private:
  std::unique_ptr<Model> model_;
  at::Tensor inputs_, labels_;
  std::vector<at::Tensor> parameters_;
  double sum_ = 0;
};

// What one writes by hand for linear layers with relu between: one pass of sgemm forward, two backward, the
// step of SGD on the way. From random weights: its work is compared, not its model.
class ByHand {
 public:
  ByHand(const Dataset& data, std::vector<int64_t> widths, int64_t batch_size)
      : data_(data), batch_size_(batch_size) {
    Random random({.seed = 4});
    for (size_t l = 0; l + 1 < widths.size(); ++l) {
      Layer& layer =
          layers_.emplace_back(Layer{static_cast<int>(widths[l]), static_cast<int>(widths[l + 1])});
      layer.weight.resize(static_cast<size_t>(widths[l] * widths[l + 1]));
      for (float& value : layer.weight) value = static_cast<float>(0.01 * random.Normal());
      layer.bias.resize(static_cast<size_t>(widths[l + 1]));
      layer.in.resize(static_cast<size_t>(batch_size * widths[l]));
      layer.by_out.resize(static_cast<size_t>(batch_size * widths[l + 1]));
    }
  }
  void Train(std::span<const uint32_t> samples, uint64_t round, uint64_t client) {
    std::vector<uint32_t> order(samples.begin(), samples.end());
    Random({.seed = 1, .purpose = Purpose::kBatchOrder, .round = round, .client = client})
        .Shuffle(std::span<uint32_t>(order));
    for (size_t begin = 0; begin < order.size(); begin += static_cast<size_t>(batch_size_)) {
      Step(std::span(order).subspan(begin, std::min(static_cast<size_t>(batch_size_), order.size() - begin)));
    }
  }

 private:
  struct Layer {
    int inputs, outputs;
    std::vector<float> weight = {}, bias = {}, in = {}, by_out = {};
  };
  void Step(std::span<const uint32_t> batch) {
    const int n = static_cast<int>(batch.size());
    const auto size = static_cast<size_t>(layers_[0].inputs);
    for (size_t i = 0; i < batch.size(); ++i) {
      std::copy_n(&data_.inputs[batch[i] * size], size, &layers_[0].in[i * size]);
    }
    for (size_t l = 0; l < layers_.size(); ++l) {
      Layer& layer = layers_[l];
      const bool last = l + 1 == layers_.size();
      float* const out = last ? layer.by_out.data() : layers_[l + 1].in.data();
      for (int i = 0; i < n; ++i) std::copy(layer.bias.begin(), layer.bias.end(), out + i * layer.outputs);
      cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, n, layer.outputs, layer.inputs, 1, layer.in.data(),
                  layer.inputs, layer.weight.data(), layer.inputs, 1, out, layer.outputs);
      if (!last) {
        for (int i = 0; i < n * layer.outputs; ++i) out[i] = out[i] > 0 ? out[i] : 0;
      }
    }
    Layer& top = layers_.back();
    for (int i = 0; i < n; ++i) {
      float* const out = &top.by_out[static_cast<size_t>(i * top.outputs)];
      const float largest = *std::max_element(out, out + top.outputs);
      float total = 0;
      for (int c = 0; c < top.outputs; ++c) total += out[c] = std::exp(out[c] - largest);
      for (int c = 0; c < top.outputs; ++c) out[c] /= total * static_cast<float>(n);
      out[data_.labels[batch[static_cast<size_t>(i)]]] -= 1 / static_cast<float>(n);
    }
    const auto rate = static_cast<float>(kLearningRate);
    for (size_t l = layers_.size(); l-- > 0;) {
      Layer& layer = layers_[l];
      if (l > 0) {
        Layer& below = layers_[l - 1];
        cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, n, layer.inputs, layer.outputs, 1,
                    layer.by_out.data(), layer.outputs, layer.weight.data(), layer.inputs, 0,
                    below.by_out.data(), layer.inputs);
        for (int i = 0; i < n * layer.inputs; ++i) below.by_out[i] *= layer.in[i] > 0 ? 1.0F : 0.0F;
      }
      cblas_sgemm(CblasRowMajor, CblasTrans, CblasNoTrans, layer.outputs, layer.inputs, n, -rate,
                  layer.by_out.data(), layer.outputs, layer.in.data(), layer.inputs, 1, layer.weight.data(),
                  layer.inputs);
      for (int i = 0; i < n; ++i) {
        cblas_saxpy(layer.outputs, -rate, &layer.by_out[static_cast<size_t>(i * layer.outputs)], 1,
                    layer.bias.data(), 1);
      }
    }
  }

  const Dataset& data_;
  const int64_t batch_size_;
  std::vector<Layer> layers_;
};

void Compare(const FederatedData& data, const std::string& name, int64_t batch_size, int64_t clients,
             int rounds) {
  const Model::Context context{.input_shape = data.train().sample_shape, .outputs = 10, .folder = ""};
  Bare bare(data.train(), Must(Registry<Model>::Get().Create({name, {}}, context)));
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
        bare.Train(data.training.samples(client), batch_size, static_cast<uint64_t>(round),
                   static_cast<uint64_t>(client));
      }
    });
  };
  std::unique_ptr<ByHand> by_hand;
  if (name == "softmax")
    by_hand = std::make_unique<ByHand>(data.train(), std::vector<int64_t>{784, 10}, batch_size);
  if (name == "mlp")
    by_hand = std::make_unique<ByHand>(data.train(), std::vector<int64_t>{784, 200, 10}, batch_size);
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
}
