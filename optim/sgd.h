// Stochastic gradient descent in one pass over memory.
#ifndef MUSTER_OPTIM_SGD_H_
#define MUSTER_OPTIM_SGD_H_

#include <ATen/core/Tensor.h>
#include <torch/optim/optimizer.h>
#include <torch/optim/serialize.h>

#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

namespace muster::optim {

struct SgdOptions : public torch::optim::OptimizerCloneableOptions<SgdOptions> {
  SgdOptions(double learning_rate) : lr_(learning_rate) {}  // NOLINT: implicit, as in torch::optim
  TORCH_ARG(double, lr);
  TORCH_ARG(double, momentum) = 0;
  TORCH_ARG(double, dampening) = 0;
  TORCH_ARG(double, weight_decay) = 0;
  TORCH_ARG(bool, nesterov) = false;

 public:
  void serialize(torch::serialize::InputArchive& archive) override;
  void serialize(torch::serialize::OutputArchive& archive) const override;
  double get_lr() const override { return lr_; }
  void set_lr(double learning_rate) override { lr_ = learning_rate; }
};

struct SgdParamState : public torch::optim::OptimizerCloneableParamState<SgdParamState> {
  TORCH_ARG(torch::Tensor, momentum_buffer);
  TORCH_ARG(int64_t, step) = 0;  // steps whose gradients momentum_buffer holds

 public:
  void serialize(torch::serialize::InputArchive& archive) override;
  void serialize(torch::serialize::OutputArchive& archive) const override;
};

// The update rule of torch::optim::SGD (momentum after Sutskever et al. 2013), fused: each parameter, its
// gradient and its momentum are read once and nothing is allocated after the first step. Every
// product-and-sum is one fused multiply-add; results agree with torch::optim::SGD's to a few units in the
// last place per step. Parameters are contiguous float32 tensors on the CPU.
class Sgd : public torch::optim::Optimizer {
 public:
  explicit Sgd(std::vector<torch::optim::OptimizerParamGroup> groups, SgdOptions defaults = {0.01});
  explicit Sgd(std::vector<torch::Tensor> parameters, SgdOptions defaults = {0.01});

  torch::Tensor step(LossClosure closure = nullptr) override;
  void save(torch::serialize::OutputArchive& archive) const override;
  void load(torch::serialize::InputArchive& archive) override;

  // Forgets the momentum but keeps its memory.
  void Reset();
  // The first parameter (counted over all groups) whose gradient in the last step held a NaN or an infinity,
  // -1 if none did. Such a step has spoilt that parameter.
  int64_t non_finite_gradient() const { return non_finite_gradient_; }

 private:
  template <typename Self, typename Archive>
  static void Serialize(Self& self, Archive& archive);

  int64_t non_finite_gradient_ = -1;
};

}  // namespace muster::optim

#endif  // MUSTER_OPTIM_SGD_H_
