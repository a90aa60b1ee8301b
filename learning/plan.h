// A static forward and backward plan for feed-forward models of convolutions and linear layers: no graph is
// recorded, nothing is allocated from batch to batch, samples are read where they lie.
#ifndef MUSTER_LEARNING_PLAN_H_
#define MUSTER_LEARNING_PLAN_H_

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "learning/convolution.h"
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
  // Dropout draws from ForwardRandom, what autograd would.
  double Gradient(const Dataset& data, std::span<const uint32_t> batch,
                  std::span<const int64_t> relabel = {});
  // The model's outputs in evaluation mode, [batch, outputs], in memory that the next call uses again. A
  // sample's do not depend on the rest of the batch.
  at::Tensor Outputs(const Dataset& data, std::span<const uint32_t> batch);

 private:
  struct Filter {  // a convolution's parameters
    Convolution convolution;
    const float* weight = nullptr;
    const float* bias = nullptr;
    float* weight_gradient = nullptr;
    float* bias_gradient = nullptr;
  };
  struct Layer {
    int64_t inputs = 0, outputs = 0;
    double dropout = 0;             // rate for its inputs
    const float* weight = nullptr;  // [outputs][inputs]
    const float* bias = nullptr;    // [outputs]
    float* weight_gradient = nullptr;
    float* bias_gradient = nullptr;
    std::vector<const float*> weight_rows;
    std::vector<float> out;       // [batch][outputs]
    std::vector<float> gradient;  // of the loss by `out`, [batch][outputs]
    std::vector<const float*> out_rows;
    std::vector<float> mask;  // of the inputs, [batch][inputs]
  };

  FeedForwardPlan(FlatModel& model, const FeedForward& form, LossKind loss);
  // False if the data or the parameters' shapes are not of that form.
  bool AddFilters(const FeedForward& form, const Dataset& data);
  bool AddLayers(const FeedForward& form, int64_t inputs, int64_t outputs);
  void Reserve(size_t batch);
  // Up to the last layer's `out`.
  void Forward(const Dataset& data, std::span<const uint32_t> batch, bool training);
  // Through the convolutions into flat_, and back.
  void Convolve(const Dataset& data, std::span<const uint32_t> batch);
  void ConvolveBack();
  // The last convolution's images in flat_ and its like.
  Images Flat(std::vector<float>& values) const;
  // The batch's of a buffer that may be larger.
  std::span<float> ValuesOf(std::vector<float>& values, int64_t width) const;
  // What layer `l` reads.
  std::span<const float* const> InputsOf(size_t l) const;
  void DropInputs(size_t l, std::span<float> inputs);
  // The mean loss; writes its gradient by the last layer's outputs.
  double Loss(const Dataset& data, std::span<const uint32_t> batch, std::span<const int64_t> relabel);
  void Activate(std::span<float> values) const;
  // gradients *= the activation's derivative, where it gave `values`.
  void Deactivate(std::span<const float> values, std::span<float> gradients) const;

  const std::vector<at::Tensor>& parameters_;
  const FeedForward::Activation activation_;
  const LossKind loss_;
  std::vector<Filter> filters_;
  std::vector<Layer> layers_;
  std::vector<at::Tensor> gradients_;  // of the parameters
  std::vector<const float*> samples_;  // rows of the first linear layer
  std::vector<float> flat_, by_flat_;  // those rows behind convolutions, and the loss' gradient by them
  size_t capacity_ = 0;                // of the layers' buffers, in samples
};

}  // namespace muster

#endif  // MUSTER_LEARNING_PLAN_H_
