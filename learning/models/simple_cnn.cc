// The small network of pfl-research's CIFAR-10 benchmark, which is the one that "Adaptive Federated
// Optimization" trains on EMNIST: no padding, one pooling, dropout. 1,626,442 parameters for 32x32x3 images
// and 10 classes.
#include <algorithm>
#include <memory>

#include "absl/strings/str_cat.h"
#include "learning/model.h"
#include "learning/models/module_model.h"

namespace muster {
namespace {

class SimpleCnn final : public ModuleModel {
 public:
  static absl::StatusOr<std::unique_ptr<Model>> Create(const NoOptions& /*options*/, const Context& context) {
    MUSTER_RETURN_IF_ERROR(NeedImages("simple_cnn", context));
    if (std::min(context.input_shape[1], context.input_shape[2]) < 6) {
      return InvalidInput(absl::StrCat("model: simple_cnn needs images of at least 6x6, the data are ",
                                       ShapeText(context.input_shape)));
    }
    return std::make_unique<SimpleCnn>(context);
  }

  explicit SimpleCnn(const Context& context) {
    const auto& shape = context.input_shape;
    conv1_ = register_module("conv1", torch::nn::Conv2d(torch::nn::Conv2dOptions(shape[0], 32, 3)));
    conv2_ = register_module("conv2", torch::nn::Conv2d(torch::nn::Conv2dOptions(32, 64, 3)));
    fc1_ = register_module("fc1", torch::nn::Linear(64 * ((shape[1] - 4) / 2) * ((shape[2] - 4) / 2), 128));
    fc2_ = register_module("fc2", torch::nn::Linear(128, context.outputs));
    dropout1_ = register_module("dropout1", std::make_shared<Dropout>(kDropout1));
    dropout2_ = register_module("dropout2", std::make_shared<Dropout>(kDropout2));
  }

  at::Tensor Forward(const at::Tensor& x) override {
    at::Tensor y = at::relu(conv2_->forward(at::relu(conv1_->forward(x))));
    y = dropout1_->Forward(at::max_pool2d(y, 2)).flatten(1);
    return fc2_->forward(dropout2_->Forward(at::relu(fc1_->forward(y))));
  }
  std::optional<FeedForward> feed_forward() const override {
    return FeedForward{.convolutions = {{.padding = 0, .pool = false}, {.padding = 0, .pool = true}},
                       .dropout = {kDropout1, kDropout2}};
  }

 private:
  static constexpr double kDropout1 = 0.25, kDropout2 = 0.5;

  torch::nn::Conv2d conv1_{nullptr};
  torch::nn::Conv2d conv2_{nullptr};
  torch::nn::Linear fc1_{nullptr};
  torch::nn::Linear fc2_{nullptr};
  std::shared_ptr<Dropout> dropout1_;
  std::shared_ptr<Dropout> dropout2_;
};

MUSTER_REGISTER(Model,
                Plugin("simple_cnn", "Two 3x3 convolutions of 32 and 64 channels, 128 hidden units, dropout",
                       "Reddi et al. 2021, table 4; Granqvist et al. 2024")
                    .Make<SimpleCnn>());

}  // namespace
}  // namespace muster
