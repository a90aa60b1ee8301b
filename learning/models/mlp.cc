// Multilayer perceptron. The default is the "2NN"-like network of one hidden layer on any flattened input.
#include <string>
#include <vector>

#include "learning/model.h"
#include "learning/models/module_model.h"

namespace muster {
namespace {

struct MlpOptions {
  std::vector<int64_t> hidden = {200};
  std::string activation = "relu";
};

class Mlp final : public ModuleModel {
 public:
  Mlp(const MlpOptions& options, const Context& context) : activation_(options.activation) {
    int64_t width = SampleSize(context);
    for (const int64_t next : options.hidden) {
      AddLayer(width, next);
      width = next;
    }
    AddLayer(width, context.outputs);
  }

  at::Tensor Forward(const at::Tensor& x) override {
    at::Tensor y = x.flatten(1);
    for (size_t i = 0; i + 1 < layers_.size(); ++i) y = Activate(layers_[i]->forward(y));
    return layers_.back()->forward(y);
  }
  std::optional<FeedForward> feed_forward() const override {
    if (activation_ == "gelu") return std::nullopt;
    return FeedForward{activation_ == "tanh" ? FeedForward::Activation::kTanh
                                             : FeedForward::Activation::kRelu};
  }

 private:
  void AddLayer(int64_t inputs, int64_t outputs) {
    const std::string name = "linear" + std::to_string(layers_.size() + 1);
    layers_.push_back(register_module(name, torch::nn::Linear(inputs, outputs)));
  }
  at::Tensor Activate(const at::Tensor& x) const {
    if (activation_ == "tanh") return at::tanh(x);
    if (activation_ == "gelu") return at::gelu(x);
    return at::relu(x);
  }

  std::string activation_;
  std::vector<torch::nn::Linear> layers_;
};

MUSTER_REGISTER(Model, Plugin<MlpOptions>("mlp", "Multilayer perceptron on the flattened input")
                           .Option("hidden", &MlpOptions::hidden, "widths of the hidden layers", AtLeast(1))
                           .Option("activation", &MlpOptions::activation, "after every hidden layer",
                                   OneOf({"relu", "tanh", "gelu"}))
                           .Make<Mlp>());

}  // namespace
}  // namespace muster
