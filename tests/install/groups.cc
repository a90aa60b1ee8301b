// Knows Muster::optim alone: trains one classifier with ALIAS, which finds its step size, and one with ALSO,
// which finds out that the rare class needs weight.
#include <torch/torch.h>

#include <cstdio>

#include "optim/alias.h"
#include "optim/also.h"

int main() {
  torch::manual_seed(1);
  const auto y = (torch::arange(1000) % 10 == 0).to(torch::kLong);  // one in ten
  const auto x = torch::randn({1000, 8}) + 1.5 * y.unsqueeze(1);
  const auto rare_recall = [&](torch::nn::Linear& model) {
    return model(x).argmax(1).masked_select(y == 1).to(torch::kFloat).mean().item<double>();
  };
  torch::nn::Linear by_signs(8, 2);
  muster::optim::Alias alias(by_signs->parameters());
  double loss = 0;
  for (int i = 0; i < 200; ++i) {
    loss = alias
               .step([&] {
                 alias.zero_grad();
                 auto value = torch::cross_entropy_loss(by_signs(x), y);
                 value.backward();
                 return value;
               })
               .item<double>();
  }
  torch::nn::Linear by_groups(8, 2);
  muster::optim::Also also(by_groups->parameters(), {1.0 / 900, 1.0 / 100}, muster::optim::AlsoOptions(0.01));
  for (int i = 0; i < 200; ++i) {
    also.step([&] { return torch::cross_entropy_loss(by_groups(x), y, {}, at::Reduction::None); }, y);
  }
  std::printf(
      "alias: loss %.3f, step %.2g; also: recall of the rare class %.2f (alias %.2f), weights %.2f %.2f\n",
      loss, alias.step_size(), rare_recall(by_groups), rare_recall(by_signs), also.weights()[0],
      also.weights()[1]);
  return loss < 0.2 && rare_recall(by_groups) > 0.95 ? 0 : 1;
}
