// LeNet-5 with ReLU and max-pooling. Images smaller than 28x28 are padded with zeros to that size.
#include <algorithm>
#include <memory>

#include "learning/model.h"
#include "learning/models/module_model.h"

namespace muster {
namespace {

constexpr int64_t kSmallestSide = 28;

class LeNet final : public ModuleModel {
 public:
  static absl::StatusOr<std::unique_ptr<Model>> Create(const NoOptions& /*options*/, const Context& context) {
    MUSTER_RETURN_IF_ERROR(NeedImages("lenet", context));
    return std::make_unique<LeNet>(context);
  }

  explicit LeNet(const Context& context) {
    const int64_t height = context.input_shape[1];
    const int64_t width = context.input_shape[2];
    pad_bottom_ = std::max<int64_t>(0, kSmallestSide - height);
    pad_right_ = std::max<int64_t>(0, kSmallestSide - width);
    conv1_ = register_module(
        "conv1", torch::nn::Conv2d(torch::nn::Conv2dOptions(context.input_shape[0], 6, 5).padding(2)));
    conv2_ = register_module("conv2", torch::nn::Conv2d(torch::nn::Conv2dOptions(6, 16, 5)));
    const int64_t features = 16 * LastSide(height + pad_bottom_) * LastSide(width + pad_right_);
    fc1_ = register_module("fc1", torch::nn::Linear(features, 120));
    fc2_ = register_module("fc2", torch::nn::Linear(120, 84));
    fc3_ = register_module("fc3", torch::nn::Linear(84, context.outputs));
  }

  at::Tensor Forward(const at::Tensor& x) override {
    at::Tensor y = x;
    if (pad_bottom_ > 0 || pad_right_ > 0) y = at::constant_pad_nd(y, {0, pad_right_, 0, pad_bottom_});
    y = at::max_pool2d(at::relu(conv1_->forward(y)), 2);
    y = at::max_pool2d(at::relu(conv2_->forward(y)), 2);
    y = at::relu(fc1_->forward(y.flatten(1)));
    return fc3_->forward(at::relu(fc2_->forward(y)));
  }
  std::optional<FeedForward> feed_forward() const override {
    if (pad_bottom_ > 0 || pad_right_ > 0) return std::nullopt;
    return FeedForward{.convolutions = {{.padding = 2, .pool = true}, {.padding = 0, .pool = true}}};
  }

 private:
  // Pool, 5x5 convolution without padding, pool.
  static int64_t LastSide(int64_t side) { return (side / 2 - 4) / 2; }

  int64_t pad_bottom_ = 0;
  int64_t pad_right_ = 0;
  torch::nn::Conv2d conv1_{nullptr};
  torch::nn::Conv2d conv2_{nullptr};
  torch::nn::Linear fc1_{nullptr};
  torch::nn::Linear fc2_{nullptr};
  torch::nn::Linear fc3_{nullptr};
};

MUSTER_REGISTER(
    Model,
    Plugin("lenet", "LeNet-5: two 5x5 convolutions, three linear layers", "LeCun et al. 1998").Make<LeNet>());

}  // namespace
}  // namespace muster
