// The linear layers of many models of one kind at once: one product for all of them, no autograd.
#ifndef MUSTER_CLIENT_BATCHED_LAYERS_H_
#define MUSTER_CLIENT_BATCHED_LAYERS_H_

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <optional>
#include <vector>

#include "core/parameters.h"
#include "learning/loss.h"
#include "learning/model.h"

namespace muster {

// Operations of ATen, on whatever device the tensors are, that nothing waits for. Immutable and thread-safe.
class BatchedLayers {
 public:
  // nullopt if the model is not linear layers from so many inputs to so many outputs
  // (Model::feed_forward).
  static std::optional<BatchedLayers> Of(FlatModel& model, int64_t inputs, int64_t outputs);

  // Elements that a sample takes on its way through them, itself included.
  int64_t width() const;

  // n models' losses and their gradients, by batches of B samples; all float32 but classes.
  struct Batches {
    at::Tensor inputs;   // [n, B, inputs]
    at::Tensor targets;  // [n * B], as for SampleLosses
    at::Tensor weights;  // [n, B]
  };
  // `models` and `gradients` are [n or more, elements of the flat model], of which the first n count. Returns
  // sum_b weight_b * loss_b of every model, [n], and writes its gradient by the models to `gradients`.
  at::Tensor Gradient(LossKind loss, const at::Tensor& models, const Batches& batches,
                      const at::Tensor& gradients) const;

 private:
  struct Layer {
    int64_t inputs = 0, outputs = 0;
    int64_t weight = 0, bias = 0;  // their places in the flat model: [outputs, inputs], [outputs]
  };

  explicit BatchedLayers(FeedForward::Activation activation) : activation_(activation) {}
  // The inputs of every layer, and what the last one gives, [n, B, ...] each.
  std::vector<at::Tensor> Forward(const at::Tensor& models, const at::Tensor& inputs) const;
  // From the gradient by the last of `outputs`.
  void Backward(const at::Tensor& models, const std::vector<at::Tensor>& outputs, at::Tensor gradient,
                const at::Tensor& gradients) const;

  std::vector<Layer> layers_;
  FeedForward::Activation activation_;  // after every layer but the last
};

}  // namespace muster

#endif  // MUSTER_CLIENT_BATCHED_LAYERS_H_
