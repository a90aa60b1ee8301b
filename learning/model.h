// Models: what is learnt. A model is a LibTorch module (or TorchScript) behind one small interface, and its
// floating parameters and buffers are views into one flat vector.
#ifndef MUSTER_LEARNING_MODEL_H_
#define MUSTER_LEARNING_MODEL_H_

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "core/parameters.h"
#include "core/registry.h"
#include "core/status.h"
#include "learning/device.h"

namespace muster {

// What a model is if it is convolutions of images, each followed by ReLU, and then linear layers on the
// flattened result; all with a bias. Its Parameters are weight and bias layer by layer, [outputs, inputs,
// kernel, kernel] or [outputs, inputs] and [outputs].
struct FeedForward {
  enum class Activation { kRelu, kTanh };
  struct Convolution {
    int64_t padding = 0;  // on every side; the stride is 1
    bool pool = false;    // every 2x2 pixels become their maximum
  };
  Activation activation = Activation::kRelu;  // after every linear layer but the last
  std::vector<Convolution> convolutions = {};
  // Rates for each linear layer's inputs, drawn from ForwardRandom; empty: none. Only behind convolutions,
  // and with kRelu.
  std::vector<double> dropout = {};
};

// Not thread-safe: one per thread.
class Model {
 public:
  using Interface = Model;
  static constexpr char kKind[] = "model";
  static constexpr char kList[] = "models";
  struct Context {
    std::vector<int64_t> input_shape;  // of one sample
    int64_t outputs = 0;               // classes, or 1 for regression and binary
    std::string folder;                // relative paths in options are relative to this folder
  };
  using NamedTensors = std::vector<std::pair<std::string, at::Tensor>>;

  virtual ~Model() = default;
  // x is [batch, input_shape...] float32; returns [batch, outputs].
  virtual at::Tensor Forward(const at::Tensor& x) = 0;
  // In module order. Parameters require a gradient.
  virtual NamedTensors Parameters() = 0;
  virtual NamedTensors Buffers() = 0;
  // Set if Forward is no more than that: it can then be trained without autograd.
  virtual std::optional<FeedForward> feed_forward() const { return std::nullopt; }
  // Training or evaluation mode (dropout, batch norm).
  virtual void SetTraining(bool training) = 0;
};

// A model whose tensors are views into one flat buffer: loading, making a delta, hashing are one pass over
// memory. Integer buffers (batch norm's num_batches_tracked) stay with the module and are not federated.
//
// On a device there are two such buffers: the module's there, and the host's, which is what optimisers,
// methods and deltas see. Values and gradients pass between them when they are told to, each time as one
// copy.
class FlatModel {
 public:
  // INVALID_ARGUMENT if the model has no parameters or one that is not float32 on the CPU.
  static absl::StatusOr<std::unique_ptr<FlatModel>> Create(std::unique_ptr<Model> model);

  const Layout& layout() const { return layout_; }
  Parameters values() { return values_; }
  Model& model() { return *model_; }
  // The trainable parameters, views into values(), in layout order. Their gradients are theirs to hold.
  const std::vector<at::Tensor>& parameters() const { return parameters_; }

  // Moves the module to `device`, once, and gives values() and parameters() memory that it can copy from. The
  // CPU serves as a device like any other.
  void MoveTo(std::shared_ptr<ComputeDevice> device);
  // nullptr: the module computes on values() themselves.
  const std::shared_ptr<ComputeDevice>& device() const { return device_; }
  // The module's own, which autograd gives its gradients to; without a device parameters().
  const std::vector<at::Tensor>& module_parameters() const {
    return device_ != nullptr ? module_parameters_ : parameters_;
  }
  // The module's, which autograd would else add to instead of handing its own over.
  void ClearGradients();

  // Without a device these do nothing.
  void PushValues();        // to the module, all of them
  void PushParameters();    // ..., those that are trained
  void PullBuffers();       // from the module, those that are not
  void CollectGradients();  // the module's, on the device, into one vector that they become views of
  void PullGradients();     // collects them, too; to those of parameters()

  // Copies a vector of the device, [layout().size], to values(). Only with a device, as the next.
  void Pull(const at::Tensor& vector);
  // The module's values on the device, [layout().size].
  const at::Tensor& device_values() const { return device_values_; }

 private:
  FlatModel() = default;

  // Makes every tensor a view into `buffer`, in layout order.
  void Rebase(std::vector<at::Tensor>& tensors, const at::Tensor& buffer) const;

  std::unique_ptr<Model> model_;
  Layout layout_;
  int64_t trainable_ = 0;  // elements at the front of the layout that are trained
  at::Tensor buffer_;      // owns the memory
  Parameters values_;
  std::vector<at::Tensor> tensors_;  // the module's, one for each entry of the layout
  std::vector<at::Tensor> parameters_;

  std::shared_ptr<ComputeDevice> device_;
  at::Tensor device_values_;
  std::vector<at::Tensor> module_parameters_;
  struct Gradients {
    at::Tensor flat;  // [trainable_]
    std::vector<at::Tensor> views;
  };
  Gradients MakeGradients(at::Tensor flat) const;
  Gradients collected_;  // on the device
  Gradients pulled_;     // with the host
};

// Makes the plug-in `config` with weights drawn from `seed`. The same seed gives the same bits. Thread-safe
// (LibTorch's global generator is locked and seeded inside).
absl::StatusOr<std::unique_ptr<FlatModel>> MakeModel(const PluginConfig& config,
                                                     const Model::Context& context, uint64_t seed);

}  // namespace muster

#endif  // MUSTER_LEARNING_MODEL_H_
