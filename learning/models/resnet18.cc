// ResNet-18 with group normalisation: batch statistics of unlike clients do not average (Hsieh et al. 2020).
// The stem is a 3x3 convolution for images of up to 64 pixels a side, the original 7x7 with pooling beyond.
#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "learning/model.h"
#include "learning/models/module_model.h"

namespace muster {
namespace {

struct ResNet18Options {
  int64_t groups = 2;  // as in Reddi et al. 2021
};

torch::nn::Conv2d Conv(int64_t inputs, int64_t outputs, int64_t kernel, int64_t stride) {
  return torch::nn::Conv2d(
      torch::nn::Conv2dOptions(inputs, outputs, kernel).stride(stride).padding(kernel / 2).bias(false));
}

class BlockImpl : public torch::nn::Module {
 public:
  BlockImpl(int64_t inputs, int64_t outputs, int64_t stride, int64_t groups)
      : conv1_(register_module("conv1", Conv(inputs, outputs, 3, stride))),
        norm1_(register_module("norm1", torch::nn::GroupNorm(groups, outputs))),
        conv2_(register_module("conv2", Conv(outputs, outputs, 3, 1))),
        norm2_(register_module("norm2", torch::nn::GroupNorm(groups, outputs))) {
    if (stride != 1 || inputs != outputs) {
      shortcut_ = register_module("shortcut", Conv(inputs, outputs, 1, stride));
      shortcut_norm_ = register_module("shortcut_norm", torch::nn::GroupNorm(groups, outputs));
    }
  }

  at::Tensor Forward(const at::Tensor& x) {
    const at::Tensor y = norm2_->forward(conv2_->forward(at::relu(norm1_->forward(conv1_->forward(x)))));
    return at::relu(y + (shortcut_.is_empty() ? x : shortcut_norm_->forward(shortcut_->forward(x))));
  }

 private:
  torch::nn::Conv2d conv1_;
  torch::nn::GroupNorm norm1_;
  torch::nn::Conv2d conv2_;
  torch::nn::GroupNorm norm2_;
  torch::nn::Conv2d shortcut_{nullptr};
  torch::nn::GroupNorm shortcut_norm_{nullptr};
};
TORCH_MODULE(Block);

class ResNet18 final : public ModuleModel {
 public:
  static absl::StatusOr<std::unique_ptr<Model>> Create(const ResNet18Options& options,
                                                       const Context& context) {
    MUSTER_RETURN_IF_ERROR(NeedImages("resnet18", context));
    if (kChannels[0] % options.groups != 0) {
      return InvalidInput(absl::StrCat("groups: must divide ", kChannels[0], " channels, ", options.groups,
                                       " does not; use a power of two"));
    }
    return std::make_unique<ResNet18>(options, context);
  }

  ResNet18(const ResNet18Options& options, const Context& context)
      : large_(std::max(context.input_shape[1], context.input_shape[2]) > 64) {
    int64_t width = kChannels[0];
    stem_ = register_module("stem", Conv(context.input_shape[0], width, large_ ? 7 : 3, large_ ? 2 : 1));
    stem_norm_ = register_module("stem_norm", torch::nn::GroupNorm(options.groups, width));
    for (const int64_t channels : kChannels) {
      for (int half = 0; half < 2; ++half) {
        const int64_t stride = channels != width ? 2 : 1;
        blocks_.push_back(register_module("block" + std::to_string(blocks_.size() + 1),
                                          Block(width, channels, stride, options.groups)));
        width = channels;
      }
    }
    fc_ = register_module("fc", torch::nn::Linear(width, context.outputs));
  }

  at::Tensor Forward(const at::Tensor& x) override {
    at::Tensor y = at::relu(stem_norm_->forward(stem_->forward(x)));
    if (large_) y = at::max_pool2d(y, 3, 2, 1);
    for (Block& block : blocks_) y = block->Forward(y);
    return fc_->forward(y.mean({2, 3}));
  }

 private:
  static constexpr int64_t kChannels[] = {64, 128, 256, 512};

  bool large_;
  torch::nn::Conv2d stem_{nullptr};
  torch::nn::GroupNorm stem_norm_{nullptr};
  std::vector<Block> blocks_;
  torch::nn::Linear fc_{nullptr};
};

MUSTER_REGISTER(Model, Plugin<ResNet18Options>("resnet18", "ResNet-18 with group normalisation",
                                               "He et al. 2016; groups: Reddi et al. 2021")
                           .Option("groups", &ResNet18Options::groups, "channel groups of each normalisation",
                                   Between(1, 64))
                           .Make<ResNet18>());

}  // namespace
}  // namespace muster
