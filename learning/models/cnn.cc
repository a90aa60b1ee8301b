// The convolutional network of the FedAvg paper: 1,663,370 parameters for 28x28x1 images and 10 classes.
#include <algorithm>
#include <memory>

#include "absl/strings/str_cat.h"
#include "learning/model.h"
#include "learning/models/module_model.h"

namespace muster {
namespace {

class Cnn final : public ModuleModel {
 public:
  static absl::StatusOr<std::unique_ptr<Model>> Create(const NoOptions& /*options*/, const Context& context) {
    MUSTER_RETURN_IF_ERROR(NeedImages("cnn", context));
    if (std::min(context.input_shape[1], context.input_shape[2]) < 4) {
      return InvalidInput(absl::StrCat("model: cnn needs images of at least 4x4, the data are ",
                                       ShapeText(context.input_shape)));
    }
    return std::make_unique<Cnn>(context);
  }

  explicit Cnn(const Context& context) {
    const auto& shape = context.input_shape;
    conv1_ =
        register_module("conv1", torch::nn::Conv2d(torch::nn::Conv2dOptions(shape[0], 32, 5).padding(2)));
    conv2_ = register_module("conv2", torch::nn::Conv2d(torch::nn::Conv2dOptions(32, 64, 5).padding(2)));
    fc1_ = register_module("fc1", torch::nn::Linear(64 * (shape[1] / 4) * (shape[2] / 4), 512));
    fc2_ = register_module("fc2", torch::nn::Linear(512, context.outputs));
  }

  at::Tensor Forward(const at::Tensor& x) override {
    at::Tensor y = at::max_pool2d(at::relu(conv1_->forward(x)), 2);
    y = at::max_pool2d(at::relu(conv2_->forward(y)), 2);
    return fc2_->forward(at::relu(fc1_->forward(y.flatten(1))));
  }
  std::optional<FeedForward> feed_forward() const override {
    return FeedForward{.convolutions = {{.padding = 2, .pool = true}, {.padding = 2, .pool = true}}};
  }

 private:
  torch::nn::Conv2d conv1_{nullptr};
  torch::nn::Conv2d conv2_{nullptr};
  torch::nn::Linear fc1_{nullptr};
  torch::nn::Linear fc2_{nullptr};
};

MUSTER_REGISTER(Model, Plugin("cnn", "Two 5x5 convolutions of 32 and 64 channels, 512 hidden units",
                              "McMahan et al. 2017, section 3")
                           .Make<Cnn>());

}  // namespace
}  // namespace muster
