// A small vision transformer: patches, learnt positions, pre-norm blocks, mean pooling.
#include <cmath>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "learning/model.h"
#include "learning/models/module_model.h"

namespace muster {
namespace {

struct VitOptions {
  int64_t patch = 4;
  int64_t dim = 64;
  int64_t depth = 4;
  int64_t heads = 4;
  int64_t mlp = 128;
};

class EncoderImpl : public torch::nn::Module {
 public:
  explicit EncoderImpl(const VitOptions& options)
      : heads_(options.heads),
        norm1_(register_module("norm1", Norm(options.dim))),
        qkv_(register_module("qkv", torch::nn::Linear(options.dim, 3 * options.dim))),
        merge_(register_module("merge", torch::nn::Linear(options.dim, options.dim))),
        norm2_(register_module("norm2", Norm(options.dim))),
        widen_(register_module("widen", torch::nn::Linear(options.dim, options.mlp))),
        narrow_(register_module("narrow", torch::nn::Linear(options.mlp, options.dim))) {}

  // x is [batch, tokens, dim].
  at::Tensor Forward(const at::Tensor& x) {
    const at::Tensor y = x + Attend(norm1_->forward(x));
    return y + narrow_->forward(at::gelu(widen_->forward(norm2_->forward(y))));
  }
  static torch::nn::LayerNorm Norm(int64_t dim) {
    return torch::nn::LayerNorm(torch::nn::LayerNormOptions({dim}));
  }

 private:
  at::Tensor Attend(const at::Tensor& x) {
    const int64_t batch = x.size(0);
    const int64_t tokens = x.size(1);
    const int64_t head_dim = x.size(2) / heads_;
    // [3, batch, heads, tokens, head_dim]
    const at::Tensor qkv =
        qkv_->forward(x).view({batch, tokens, 3, heads_, head_dim}).permute({2, 0, 3, 1, 4});
    const at::Tensor scores = at::matmul(qkv[0], qkv[1].transpose(-2, -1)) / std::sqrt(double(head_dim));
    const at::Tensor mixed = at::matmul(at::softmax(scores, -1), qkv[2]);
    return merge_->forward(mixed.transpose(1, 2).reshape({batch, tokens, heads_ * head_dim}));
  }

  int64_t heads_;
  torch::nn::LayerNorm norm1_;
  torch::nn::Linear qkv_;
  torch::nn::Linear merge_;
  torch::nn::LayerNorm norm2_;
  torch::nn::Linear widen_;
  torch::nn::Linear narrow_;
};
TORCH_MODULE(Encoder);

class Vit final : public ModuleModel {
 public:
  static absl::StatusOr<std::unique_ptr<Model>> Create(const VitOptions& options, const Context& context) {
    MUSTER_RETURN_IF_ERROR(NeedImages("vit", context));
    if (context.input_shape[1] % options.patch != 0 || context.input_shape[2] % options.patch != 0) {
      return InvalidInput(absl::StrCat("patch: ", options.patch, " does not divide the sides of the images, ",
                                       ShapeText(context.input_shape)));
    }
    if (options.dim % options.heads != 0) {
      return InvalidInput(absl::StrCat("heads: ", options.heads, " does not divide dim ", options.dim));
    }
    return std::make_unique<Vit>(options, context);
  }

  Vit(const VitOptions& options, const Context& context) {
    const int64_t tokens = context.input_shape[1] / options.patch * (context.input_shape[2] / options.patch);
    patches_ = register_module(
        "patches",
        torch::nn::Conv2d(torch::nn::Conv2dOptions(context.input_shape[0], options.dim, options.patch)
                              .stride(options.patch)));
    positions_ = register_parameter("positions", at::randn({1, tokens, options.dim}) * 0.02);
    for (int64_t i = 1; i <= options.depth; ++i) {
      blocks_.push_back(register_module("block" + std::to_string(i), Encoder(options)));
    }
    norm_ = register_module("norm", EncoderImpl::Norm(options.dim));
    head_ = register_module("head", torch::nn::Linear(options.dim, context.outputs));
  }

  at::Tensor Forward(const at::Tensor& x) override {
    at::Tensor y = patches_->forward(x).flatten(2).transpose(1, 2) + positions_;
    for (Encoder& block : blocks_) y = block->Forward(y);
    return head_->forward(norm_->forward(y).mean(1));
  }

 private:
  torch::nn::Conv2d patches_{nullptr};
  at::Tensor positions_;
  std::vector<Encoder> blocks_;
  torch::nn::LayerNorm norm_{nullptr};
  torch::nn::Linear head_{nullptr};
};

MUSTER_REGISTER(Model,
                Plugin<VitOptions>("vit", "Small vision transformer with mean pooling",
                                   "Dosovitskiy et al. 2021; mean pooling: Beyer et al. 2022")
                    .Option("patch", &VitOptions::patch, "side of a patch in pixels; divides the image's",
                            AtLeast(1))
                    .Option("dim", &VitOptions::dim, "width of a token", AtLeast(1))
                    .Option("depth", &VitOptions::depth, "encoder blocks", AtLeast(1))
                    .Option("heads", &VitOptions::heads, "attention heads; divides dim", AtLeast(1))
                    .Option("mlp", &VitOptions::mlp, "hidden width of each block's perceptron", AtLeast(1))
                    .Make<Vit>());

}  // namespace
}  // namespace muster
