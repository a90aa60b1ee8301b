// Softmax regression: one linear layer. With one output, linear or logistic regression.
#include "learning/model.h"
#include "learning/models/module_model.h"

namespace muster {
namespace {

class Softmax final : public ModuleModel {
 public:
  Softmax(const NoOptions& /*options*/, const Context& context)
      : linear_(register_module("linear", torch::nn::Linear(SampleSize(context), context.outputs))) {
    torch::NoGradGuard no_grad;  // the problem is convex: no symmetry to break
    linear_->weight.zero_();
    linear_->bias.zero_();
  }
  at::Tensor Forward(const at::Tensor& x) override { return linear_->forward(x.flatten(1)); }
  std::optional<FeedForward> feed_forward() const override { return FeedForward(); }

 private:
  torch::nn::Linear linear_;
};

MUSTER_REGISTER(Model, Plugin("softmax", "Softmax regression: one linear layer, from zero").Make<Softmax>());

}  // namespace
}  // namespace muster
