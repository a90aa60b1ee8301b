// Multilayer perceptron for tables: layer normalisation keeps columns of unlike clients on one scale.
#include <memory>
#include <string>
#include <vector>

#include "learning/model.h"
#include "learning/models/module_model.h"

namespace muster {
namespace {

struct TabularMlpOptions {
  std::vector<int64_t> hidden = {128, 64};
  double dropout = 0;
};

class TabularMlp final : public ModuleModel {
 public:
  static absl::StatusOr<std::unique_ptr<Model>> Create(const TabularMlpOptions& options,
                                                       const Context& context) {
    MUSTER_RETURN_IF_ERROR(NeedTable("tabular_mlp", context));
    return std::make_unique<TabularMlp>(options, context);
  }

  TabularMlp(const TabularMlpOptions& options, const Context& context) {
    int64_t width = SampleSize(context);
    for (const int64_t next : options.hidden) {
      const std::string number = std::to_string(blocks_.size() + 1);
      blocks_.push_back(
          {register_module("linear" + number, torch::nn::Linear(width, next)),
           register_module("norm" + number, torch::nn::LayerNorm(torch::nn::LayerNormOptions({next})))});
      width = next;
    }
    output_ = register_module("output", torch::nn::Linear(width, context.outputs));
    dropout_ = register_module("dropout", std::make_shared<Dropout>(options.dropout));
  }

  at::Tensor Forward(const at::Tensor& x) override {
    at::Tensor y = x;
    for (Block& block : blocks_) {
      y = dropout_->Forward(at::relu(block.norm->forward(block.linear->forward(y))));
    }
    return output_->forward(y);
  }

 private:
  struct Block {
    torch::nn::Linear linear;
    torch::nn::LayerNorm norm;
  };

  std::vector<Block> blocks_;
  torch::nn::Linear output_{nullptr};
  std::shared_ptr<Dropout> dropout_;
};

MUSTER_REGISTER(Model,
                Plugin<TabularMlpOptions>("tabular_mlp", "Perceptron for tables, with layer normalisation")
                    .Option("hidden", &TabularMlpOptions::hidden, "widths of the hidden layers", AtLeast(1))
                    .Option("dropout", &TabularMlpOptions::dropout,
                            "share of hidden values dropped in training", Within(0, 1))
                    .Make<TabularMlp>());

}  // namespace
}  // namespace muster
