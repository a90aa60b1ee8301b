// A static forward and backward plan for feed-forward models of linear layers: no graph is recorded, nothing
// is allocated from batch to batch, samples are read where they lie.
#ifndef MUSTER_LEARNING_PLAN_H_
#define MUSTER_LEARNING_PLAN_H_

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "learning/dataset.h"
#include "learning/loss.h"
#include "learning/model.h"

namespace muster {

// Computes what autograd would, in another order of sums: losses and gradients agree to some units in the
// last place of float32. Its own bits are the same on every processor that has one. One per thread; the model
// outlives it.
class FeedForwardPlan {
 public:
  // nullptr if the model is not of that form (Model::feed_forward), not for such data, or the processor has
  // no fast loops for it.
  static std::unique_ptr<FeedForwardPlan> Make(FlatModel& model, LossKind loss, const Dataset& data);

  // The batch's mean loss at the model's values; leaves the gradient in every parameter's grad(), in memory
  // that the next call uses again. `batch` are places in `data`, which has the shape of that given to Make.
  // `relabel`, if not empty, is what every class is taken for.
  double Gradient(const Dataset& data, std::span<const uint32_t> batch,
                  std::span<const int64_t> relabel = {});

 private:
  struct Layer {
    int64_t inputs = 0, outputs = 0;
    const float* weight = nullptr;  // [outputs][inputs]
    const float* bias = nullptr;    // [outputs]
    float* weight_gradient = nullptr;
    float* bias_gradient = nullptr;
    std::vector<const float*> weight_rows;
    std::vector<float> out;       // [batch][outputs]
    std::vector<float> gradient;  // of the loss by `out`, [batch][outputs]
    std::vector<const float*> out_rows;
  };

  FeedForwardPlan(FlatModel& model, const FeedForward& form, LossKind loss);
  void Reserve(size_t batch);
  // The mean loss; writes its gradient by the last layer's outputs.
  double Loss(const Dataset& data, std::span<const uint32_t> batch, std::span<const int64_t> relabel);
  void Activate(std::span<float> values) const;
  // gradients *= the activation's derivative, where it gave `values`.
  void Deactivate(std::span<const float> values, std::span<float> gradients) const;

  const std::vector<at::Tensor>& parameters_;
  const FeedForward::Activation activation_;
  const LossKind loss_;
  std::vector<Layer> layers_;
  std::vector<at::Tensor> gradients_;  // of the parameters
  std::vector<const float*> samples_;
  size_t capacity_ = 0;  // of the layers' buffers, in samples
};

}  // namespace muster

#endif  // MUSTER_LEARNING_PLAN_H_
