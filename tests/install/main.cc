// Trains a line with Muster's SGD and sends its weights through a compressor: two libraries of the installed
// package, found by name, their plug-ins registered.
#include <torch/torch.h>

#include <cstdio>

#include "compression/compressor.h"
#include "optim/local_optimizer.h"
#include "optim/sgd.h"

int main() {
  torch::manual_seed(1);
  torch::nn::Linear line(1, 1);
  const auto x = torch::linspace(-1, 1, 64).unsqueeze(1);
  const auto y = 3 * x + 1;
  muster::optim::Sgd sgd(line->parameters(), muster::optim::SgdOptions(0.1).momentum(0.9));
  double loss_value = 1;
  for (int i = 0; i < 200; ++i) {
    sgd.zero_grad();
    auto loss = torch::mse_loss(line(x), y);
    loss.backward();
    sgd.step();
    loss_value = loss.item<double>();
  }
  muster::Layout layout;
  layout.Add("weight", {1}, true);
  layout.Add("bias", {1}, true);
  const std::vector<float> weights = {line->weight.item<float>(), line->bias.item<float>()};
  const auto compressor = muster::Registry<muster::Compressor>::Get().Create({"identity", {}}, {});
  if (!compressor.ok()) return 1;
  const auto payload = (*compressor)->Compress(weights, layout, {});
  if (!payload.ok()) return 1;
  const auto decoded = muster::DecodePayload(*payload, layout);
  const bool registered = muster::Registry<muster::LocalOptimizer>::Get().Find("sgd") != nullptr;
  std::printf("loss %g, %zu optimisers, payload %lld bytes\n", loss_value,
              muster::Registry<muster::LocalOptimizer>::Get().Names().size(),
              static_cast<long long>(payload->size()));
  return decoded.ok() && *decoded == weights && loss_value < 1e-4 && registered ? 0 : 1;
}
