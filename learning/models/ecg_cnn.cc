// One-dimensional convolutional network for signals such as single heartbeats.
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "learning/model.h"
#include "learning/models/module_model.h"

namespace muster {
namespace {

struct EcgCnnOptions {
  std::vector<int64_t> channels = {16, 32, 64};
  int64_t kernel = 7;
};

class EcgCnn final : public ModuleModel {
 public:
  static absl::StatusOr<std::unique_ptr<Model>> Create(const EcgCnnOptions& options, const Context& context) {
    MUSTER_RETURN_IF_ERROR(NeedSignals("ecg_cnn", context));
    if (options.kernel % 2 == 0) {
      return InvalidInput(absl::StrCat("kernel: must be odd, ", options.kernel, " is not"));
    }
    if (context.input_shape[1] >> options.channels.size() == 0) {
      return InvalidInput(
          absl::StrCat("channels: ", options.channels.size(), " blocks, each halving the length, ",
                       "are too many for signals {channels, length} = ", ShapeText(context.input_shape)));
    }
    return std::make_unique<EcgCnn>(options, context);
  }

  EcgCnn(const EcgCnnOptions& options, const Context& context) {
    int64_t width = context.input_shape[0];
    for (const int64_t next : options.channels) {
      convs_.push_back(register_module(
          "conv" + std::to_string(convs_.size() + 1),
          torch::nn::Conv1d(
              torch::nn::Conv1dOptions(width, next, options.kernel).padding(options.kernel / 2))));
      width = next;
    }
    fc_ = register_module("fc", torch::nn::Linear(width, context.outputs));
  }

  at::Tensor Forward(const at::Tensor& x) override {
    at::Tensor y = x;
    for (torch::nn::Conv1d& conv : convs_) y = at::max_pool1d(at::relu(conv->forward(y)), 2);
    return fc_->forward(y.mean(2));
  }

 private:
  std::vector<torch::nn::Conv1d> convs_;
  torch::nn::Linear fc_{nullptr};
};

MUSTER_REGISTER(Model,
                Plugin<EcgCnnOptions>("ecg_cnn", "1-D convolutions with pooling, then the average over time")
                    .Option("channels", &EcgCnnOptions::channels,
                            "channels of each block; a block halves the length", AtLeast(1))
                    .Option("kernel", &EcgCnnOptions::kernel, "width of the convolutions, odd", AtLeast(1))
                    .Make<EcgCnn>());

}  // namespace
}  // namespace muster
