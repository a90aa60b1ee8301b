// Steps of Muster's optimisers on 10 M parameters, one thread, against LibTorch's own steps and against bare
// passes over the same memory, interleaved in one process:
//   optim_bench [REPETITIONS]
// prints the fastest CPU time of each (noise only ever slows a run down), ratios, bytes a parameter, and the
// bandwidth that they come to beside that of a copy.
#include <time.h>
#include <torch/torch.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <string>
#include <vector>

#include "optim/adam.h"
#include "optim/also.h"
#include "optim/clip_sgd.h"
#include "optim/kernel.h"
#include "optim/norms.h"
#include "optim/sgd.h"
#include "optim/sign_sgd.h"

namespace muster::optim {
namespace {

constexpr int64_t kSize = 10'000'000;

MUSTER_KERNEL void Axpy(float* __restrict p, const float* __restrict g, int64_t size, float rate) {
  for (int64_t i = 0; i < size; ++i) p[i] += rate * g[i];
}

double Now() {
  timespec time;
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
  return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
}

at::Tensor Parameter(uint64_t seed) {
  torch::manual_seed(seed);
  at::Tensor tensor = torch::randn({kSize}).requires_grad_();
  tensor.mutable_grad() = 1e-3 * torch::randn({kSize});
  return tensor;
}

struct Contender {
  std::string name;
  std::function<void()> run;
  double seconds = 1e30;
};

struct Row {
  std::string name;
  size_t ours, theirs;
  double bytes;   // that ours must move for a parameter
  double needed;  // ratio asked for: theirs / ours at least
};

}  // namespace
}  // namespace muster::optim

int main(int argc, char** argv) {
  using namespace muster::optim;  // NOLINT: a benchmark's own names
  torch::set_num_threads(1);
  const int repetitions = argc > 1 ? std::atoi(argv[1]) : 10;
  const at::Tensor a = Parameter(1);
  const at::Tensor b = Parameter(2);
  float* const p = b.data_ptr<float>();
  const float* const g = b.grad().data_ptr<float>();
  std::vector<float> target(kSize);
  double sink = 0;

  Sgd sgd({a}, SgdOptions(1e-3));
  Sgd momentum({a}, SgdOptions(1e-3).momentum(0.9));
  Adam adam({a}, AdamOptions(1e-3));
  SignSgd sign({a}, SignSgdOptions(1e-3));
  ClipSgd clip({a}, ClipSgdOptions(1e-3).level(0.1));
  torch::optim::SGD torch_sgd({b}, torch::optim::SGDOptions(1e-3));
  torch::optim::SGD torch_momentum({b}, torch::optim::SGDOptions(1e-3).momentum(0.9));
  torch::optim::Adam torch_adam({b}, torch::optim::AdamOptions(1e-3));
  // ALSO's Adam part: both half-steps of an iteration, without the model's forward and backward passes.
  const at::Tensor start = torch::zeros({kSize});
  const at::Tensor first = torch::zeros({kSize});
  const at::Tensor second = torch::zeros({kSize});
  const AdamRule rule = AdamRule::AtStep(100, 1e-3, 0.9, 0.999, 1e-8);

  std::vector<Contender> all = {
      {"sgd", [&] { sgd.step(); }},
      {"momentum", [&] { momentum.step(); }},
      {"adam", [&] { adam.step(); }},
      {"also half-step",
       [&] {
         AdamStep(a.data_ptr<float>(), start.data_ptr<float>(), a.grad().data_ptr<float>(), 1,
                  first.data_ptr<float>(), second.data_ptr<float>(), kSize, rule);
       }},
      {"sign", [&] { sign.step(); }},
      {"clip", [&] { clip.step(); }},
      {"LibTorch sgd", [&] { torch_sgd.step(); }},
      {"LibTorch momentum", [&] { torch_momentum.step(); }},
      {"LibTorch adam", [&] { torch_adam.step(); }},
      {"axpy pass", [&] { Axpy(p, g, kSize, 1e-3F); }},
      {"read and axpy pass",
       [&] {
         sink += L1Norm(g, kSize);
         Axpy(p, g, kSize, 1e-3F);
       }},
      {"copy", [&] { std::memcpy(target.data(), g, kSize * sizeof(float)); }},
  };
  for (int i = 0; i <= repetitions; ++i) {  // the first warms up
    for (Contender& contender : all) {
      const double begin = Now();
      contender.run();
      if (i > 0) contender.seconds = std::min(contender.seconds, Now() - begin);
    }
  }
  const double copy = 8.0 * kSize / all[11].seconds / 1e9;
  std::printf(
      "%lld parameters, fastest of %d; copy %.1f GB/s (%g)\n\n%-16s %8s   %-20s %8s %7s %7s %10s %7s\n",
      static_cast<long long>(kSize), repetitions, copy, target[0] + sink * 0, "", "ms", "baseline", "ms",
      "ratio", "asked", "bytes/par.", "GB/s");
  const Row rows[] = {{"sgd", 0, 6, 12, 1},        {"sgd, momentum", 1, 7, 20, 1.3},
                      {"adam", 2, 8, 28, 2},       {"also half-step", 3, 8, 28, 2},
                      {"sign", 4, 9, 12, 1 / 1.2}, {"clip", 5, 10, 16, 1 / 1.2}};
  for (const Row& row : rows) {
    const double ours = all[row.ours].seconds;
    const double theirs = all[row.theirs].seconds;
    std::printf("%-16s %8.2f   %-20s %8.2f %7.2f %7.2f %10.0f %7.1f\n", row.name.c_str(), 1e3 * ours,
                all[row.theirs].name.c_str(), 1e3 * theirs, theirs / ours, row.needed, row.bytes,
                row.bytes * kSize / ours / 1e9);
  }
  return 0;
}
