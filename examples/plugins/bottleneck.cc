// Worked example, a model: everything squeezed through a few numbers. In the tree it would be
// learning/models/bottleneck.cc, its test tests/learning/bottleneck_test.cc (the shared tests cover it
// already).
#include "learning/model.h"
#include "learning/models/module_model.h"

namespace muster {
namespace {

struct BottleneckOptions {
  int64_t width = 8;
};

class Bottleneck final : public ModuleModel {
 public:
  Bottleneck(const BottleneckOptions& options, const Context& context)
      : squeeze_(register_module("squeeze", torch::nn::Linear(SampleSize(context), options.width))),
        expand_(register_module("expand", torch::nn::Linear(options.width, context.outputs))) {}

  at::Tensor Forward(const at::Tensor& x) override {
    return expand_->forward(at::tanh(squeeze_->forward(x.flatten(1))));
  }

 private:
  torch::nn::Linear squeeze_, expand_;
};

MUSTER_REGISTER(Model, Plugin<BottleneckOptions>("bottleneck", "Two linear layers with a narrow middle")
                           .Option("width", &BottleneckOptions::width, "of the middle", AtLeast(1))
                           .Make<Bottleneck>());

}  // namespace
}  // namespace muster
