// What one writes without a framework, as baselines: training loops of one client, and federated averaging
// around them. One thread; the same batches as a federation with the same seed.
#ifndef MUSTER_TESTS_BENCH_LOOPS_H_
#define MUSTER_TESTS_BENCH_LOOPS_H_

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "core/parameters.h"
#include "learning/dataset.h"
#include "learning/device.h"
#include "learning/model.h"
#include "learning/partition.h"

namespace muster {

struct LoopOptions {
  int64_t batch_size = 20;
  double learning_rate = 0.01;
  uint64_t seed = 1;  // of the batches' order and of what a forward pass draws
  // Where the bare loop's model and data set are. nullptr: with the host.
  std::shared_ptr<ComputeDevice> device = nullptr;
};

// A resident model and its plain SGD on cross-entropy.
class Loop {
 public:
  virtual ~Loop() = default;
  // One epoch of client `client` in round `round`, from where the model is.
  virtual void Train(std::span<const uint32_t> samples, uint64_t round, uint64_t client) = 0;
  // The model's values, piece by piece in layout order. With the host.
  virtual std::vector<std::span<float>> values() = 0;
};

// Autograd and torch::optim::SGD. Gradients are dropped, not zeroed: the faster of its two ways. On a device
// it waits once a client, for the losses.
std::unique_ptr<Loop> MakeBareLoop(const Dataset& data, std::unique_ptr<Model> model, LoopOptions options);

// By hand for linear layers of these widths with relu between: one pass of sgemm forward, two backward, the
// step of SGD on the way.
std::unique_ptr<Loop> MakeLoopByHand(const Dataset& data, const std::vector<int64_t>& widths,
                                     LoopOptions options);

// One round of federated averaging: every client of `cohort` trains from `model`, which becomes the mean of
// their models, weighed by samples.
void AverageRound(Loop& loop, const Partition& partition, std::span<const int64_t> cohort, uint64_t round,
                  std::vector<float>& model);

}  // namespace muster

#endif  // MUSTER_TESTS_BENCH_LOOPS_H_
