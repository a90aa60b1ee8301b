#include "optim/gradient_method.h"

#include "absl/strings/str_cat.h"
#include "optim/norms.h"

namespace muster {

int64_t FindNonFiniteGradient(const std::vector<at::Tensor>& parameters) {
  for (size_t i = 0; i < parameters.size(); ++i) {
    if (!parameters[i].grad().defined()) continue;
    const at::Tensor gradient = parameters[i].grad().contiguous();
    if (!optim::AllFinite(gradient.data_ptr<float>(), gradient.numel())) return static_cast<int64_t>(i);
  }
  return -1;
}

absl::Status CheckGradients(int64_t index) {
  if (index < 0) return absl::OkStatus();
  return InvalidInput(absl::StrCat("the gradient of parameter ", index,
                                   " holds a NaN or an infinity; a lower learning rate may help"));
}

OptimizerMethod::OptimizerMethod(const Context& context, std::unique_ptr<optim::Optimizer> optimizer)
    : optimizer_(std::move(optimizer)) {
  optimizer_->set_names(context.names);
  if (context.by_tensors) optimizer_->StepByTensors();
  for (const auto& group : optimizer_->param_groups()) learning_rates_.push_back(group.options().get_lr());
}

void OptimizerMethod::SetLearningRateFactor(double factor) {
  auto& groups = optimizer_->param_groups();
  for (size_t i = 0; i < groups.size(); ++i) groups[i].options().set_lr(learning_rates_[i] * factor);
}

}  // namespace muster
