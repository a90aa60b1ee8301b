// What models made of LibTorch layers share.
#ifndef MUSTER_LEARNING_MODELS_MODULE_MODEL_H_
#define MUSTER_LEARNING_MODELS_MODULE_MODEL_H_

#include <torch/nn/module.h>

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "learning/model.h"

namespace muster {

// A model that is a LibTorch module: register the layers in the constructor, write Forward.
class ModuleModel : public Model, public torch::nn::Module {
 public:
  NamedTensors Parameters() final;
  NamedTensors Buffers() final;
  void SetTraining(bool training) final { train(training); }
};

// Zeroes each element with probability `rate` in training and scales the rest by 1 / (1 - rate). Its mask
// comes from ForwardRandom().
class Dropout : public torch::nn::Module {
 public:
  explicit Dropout(double rate) : rate_(rate) {}
  at::Tensor Forward(const at::Tensor& x) const;

 private:
  double rate_;
};

// INVALID_ARGUMENT, in the name of `model`, unless samples are {channels, height, width}.
absl::Status NeedImages(const std::string& model, const Model::Context& context);
// ... unless they are {channels, length}.
absl::Status NeedSignals(const std::string& model, const Model::Context& context);
// ... unless they are {columns}.
absl::Status NeedTable(const std::string& model, const Model::Context& context);

// "{1, 28, 28}"
std::string ShapeText(std::span<const int64_t> shape);
// Elements of one sample.
int64_t SampleSize(const Model::Context& context);

}  // namespace muster

#endif  // MUSTER_LEARNING_MODELS_MODULE_MODEL_H_
