// The trainer against a bare LibTorch loop on the same batches, one thread, interleaved in one process:
//   training_bench [ROUNDS]
// prints samples per CPU-second of both and the median of the paired ratios. Fashion-MNIST, or noise if it is
// absent.
#include <time.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <numeric>
#include <string>
#include <vector>

#include "client/local_trainer.h"
#include "core/random.h"

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

// CPU time of this thread: steadier than the wall clock where other programs run.
double Seconds(auto&& work) {
  const auto now = [] {
    timespec time;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
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
  void Train(const std::vector<uint32_t>& samples, int64_t batch_size, uint64_t round) {
    torch::optim::SGD sgd(parameters_, torch::optim::SGDOptions(kLearningRate));
    std::vector<int64_t> order(samples.begin(), samples.end());
    Random({.seed = 1, .purpose = Purpose::kBatchOrder, .round = round}).Shuffle(std::span<int64_t>(order));
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

void Compare(const Dataset& data, const std::string& name, int64_t batch_size, int64_t count, int rounds) {
  const Model::Context context{.input_shape = data.sample_shape, .outputs = 10, .folder = ""};
  Bare bare(data, Must(Registry<Model>::Get().Create({name, {}}, context)));
  auto flat = Must(MakeModel({name, {}}, context, 1));
  const std::vector<float> global(flat->values().begin(), flat->values().end());
  std::vector<float> delta(global.size());
  const auto trainer = Must(LocalTrainer::Create(
      std::move(flat), data,
      {.batch_size = batch_size, .optimizer = {"sgd", {{"learning_rate", kLearningRate}}}}));
  std::vector<uint32_t> samples(static_cast<size_t>(count));
  std::iota(samples.begin(), samples.end(), 0U);

  const auto ours = [&](int round) {
    return Seconds([&] { Must(trainer->Train({.seed = 1, .round = round}, global, samples, delta)); });
  };
  const auto theirs = [&](int round) {
    return Seconds([&] { bare.Train(samples, batch_size, static_cast<uint64_t>(round)); });
  };
  ours(0), theirs(0);  // warm-up
  std::vector<double> our_rates, their_rates, ratios;
  for (int round = 1; round <= rounds; ++round) {
    const bool first = round % 2 == 0;
    const double a = first ? ours(round) : 0;
    const double b = theirs(round);
    const double a_seconds = first ? a : ours(round);
    our_rates.push_back(static_cast<double>(count) / a_seconds);
    their_rates.push_back(static_cast<double>(count) / b);
    ratios.push_back(b / a_seconds);
  }
  std::printf("%-8s batch %2ld: %8.0f samples/s, bare loop %8.0f, median ratio %.3f\n", name.c_str(),
              static_cast<long>(batch_size), Median(our_rates), Median(their_rates), Median(ratios));
  std::fflush(stdout);
}

}  // namespace
}  // namespace muster

int main(int argc, char** argv) {
  const int rounds = argc > 1 ? std::max(1, std::atoi(argv[1])) : 15;
  at::globalContext().setFlushDenormal(true);
  at::set_num_threads(1);
  const muster::Dataset data = muster::Load();
  for (const auto& [name, count] :
       {std::pair<const char*, int64_t>{"softmax", 4000}, {"mlp", 4000}, {"lenet", 1200}, {"cnn", 240}}) {
    for (const int64_t batch : {20, 32}) muster::Compare(data, name, batch, count, rounds);
  }
}
