#include "learning/model.h"

#include <ATen/ATen.h>

#include <exception>
#include <map>
#include <unordered_map>

#include "absl/strings/str_cat.h"
#include "core/random.h"
#include "learning/models/forward_random.h"
#include "learning/torch_message.h"

namespace muster {
namespace {

absl::Status CheckTensor(const std::string& name, const at::Tensor& tensor) {
  if (tensor.scalar_type() == at::kFloat && tensor.is_cpu() && tensor.layout() == at::kStrided) {
    return absl::OkStatus();
  }
  return InvalidInput(
      absl::StrCat("model: '", name, "' is ", tensor.toString(), ", needs to be float32 on the CPU"));
}

// The tensors without second names for the same one. INVALID_ARGUMENT for a wrong type, or for two tensors
// over the same memory: as views of the flat vector they would part.
absl::StatusOr<Model::NamedTensors> Distinct(
    const Model::NamedTensors& tensors, std::map<const void*, std::pair<std::string, at::Tensor>>& seen) {
  Model::NamedTensors result;
  for (const auto& [name, tensor] : tensors) {
    MUSTER_RETURN_IF_ERROR(CheckTensor(name, tensor));
    if (tensor.numel() > 0) {
      const auto [place, is_new] = seen.try_emplace(tensor.data_ptr(), name, tensor);
      if (!is_new && !place->second.second.is_same(tensor)) {
        return InvalidInput(absl::StrCat("model: '", place->second.first, "' and '", name,
                                         "' share memory, which is not supported; give each its own tensor"));
      }
      if (!is_new) continue;
    }
    result.emplace_back(name, tensor);
  }
  return result;
}

}  // namespace

absl::StatusOr<std::unique_ptr<FlatModel>> FlatModel::Create(std::unique_ptr<Model> model) {
  std::map<const void*, std::pair<std::string, at::Tensor>> seen;
  MUSTER_ASSIGN_OR_RETURN(Model::NamedTensors tensors, Distinct(model->Parameters(), seen));
  if (tensors.empty()) return InvalidInput("model: it has no parameters to train");
  const size_t trainable = tensors.size();
  Model::NamedTensors floating;
  for (auto& named : model->Buffers()) {
    if (named.second.is_floating_point()) floating.push_back(std::move(named));
  }
  MUSTER_ASSIGN_OR_RETURN(const Model::NamedTensors buffers, Distinct(floating, seen));
  tensors.insert(tensors.end(), buffers.begin(), buffers.end());

  std::unique_ptr<FlatModel> flat(new FlatModel);
  for (size_t i = 0; i < tensors.size(); ++i) {
    flat->layout_.Add(tensors[i].first, tensors[i].second.sizes().vec(), i < trainable);
  }
  for (auto& named : tensors) flat->tensors_.push_back(std::move(named.second));
  flat->parameters_.assign(flat->tensors_.begin(), flat->tensors_.begin() + static_cast<int64_t>(trainable));
  for (const at::Tensor& parameter : flat->parameters_) flat->trainable_ += parameter.numel();
  flat->buffer_ = at::empty({flat->layout_.size}, at::kFloat);
  flat->values_ = {flat->buffer_.data_ptr<float>(), static_cast<size_t>(flat->layout_.size)};
  flat->Rebase(flat->tensors_, flat->buffer_);
  flat->model_ = std::move(model);
  return flat;
}

void FlatModel::Rebase(std::vector<at::Tensor>& tensors, const at::Tensor& buffer) const {
  const torch::NoGradGuard no_grad;
  for (size_t i = 0; i < tensors.size(); ++i) {
    const Layout::Entry& entry = layout_.entries[i];
    const at::Tensor view = buffer.narrow(0, entry.offset, entry.size()).view(entry.shape);
    view.copy_(tensors[i]);
    tensors[i].set_data(view);
  }
}

void FlatModel::MoveTo(std::shared_ptr<ComputeDevice> device) {
  const torch::NoGradGuard no_grad;
  device_ = std::move(device);
  module_parameters_ = parameters_;
  at::Tensor host = device_->HostVector(layout_.size);
  host.copy_(buffer_);
  buffer_ = host;
  values_ = {buffer_.data_ptr<float>(), static_cast<size_t>(layout_.size)};
  for (size_t i = 0; i < parameters_.size(); ++i) {
    const Layout::Entry& entry = layout_.entries[i];
    parameters_[i] = buffer_.narrow(0, entry.offset, entry.size()).view(entry.shape).detach();
    parameters_[i].requires_grad_();
  }
  const at::TensorOptions there(device_->place());
  device_values_ = at::empty({layout_.size}, there.dtype(at::kFloat));
  Rebase(tensors_, device_values_);
  for (const auto& [name, buffer] : model_->Buffers()) {
    at::Tensor tensor = buffer;
    if (!tensor.is_floating_point()) tensor.set_data(tensor.to(device_->place()));
  }
  collected_ = MakeGradients(at::empty({trainable_}, there.dtype(at::kFloat)));
  pulled_ = MakeGradients(device_->HostVector(trainable_));
}

FlatModel::Gradients FlatModel::MakeGradients(at::Tensor flat) const {
  Gradients gradients{std::move(flat), {}};
  for (size_t i = 0; i < parameters_.size(); ++i) {
    const Layout::Entry& entry = layout_.entries[i];
    gradients.views.push_back(gradients.flat.narrow(0, entry.offset, entry.size()).view(entry.shape));
  }
  return gradients;
}

void FlatModel::ClearGradients() {
  for (const at::Tensor& parameter : module_parameters()) parameter.mutable_grad().reset();
}

void FlatModel::PushValues() {
  if (device_ != nullptr) device_values_.copy_(buffer_);
}

void FlatModel::PushParameters() {
  if (device_ != nullptr) device_values_.narrow(0, 0, trainable_).copy_(buffer_.narrow(0, 0, trainable_));
}

void FlatModel::PullBuffers() {
  if (device_ == nullptr || trainable_ == layout_.size) return;
  const int64_t rest = layout_.size - trainable_;
  buffer_.narrow(0, trainable_, rest).copy_(device_values_.narrow(0, trainable_, rest));
}

void FlatModel::Pull(const at::Tensor& vector) { buffer_.copy_(vector); }

void FlatModel::CollectGradients() {
  if (device_ == nullptr) return;
  const torch::NoGradGuard no_grad;
  std::vector<at::Tensor> parts;
  for (size_t i = 0; i < module_parameters_.size(); ++i) {
    const at::Tensor& gradient = module_parameters_[i].grad();
    parts.push_back(gradient.defined() ? gradient.reshape({-1})
                                       : at::zeros_like(collected_.views[i]).reshape({-1}));
  }
  at::cat_out(collected_.flat, parts);
  for (size_t i = 0; i < module_parameters_.size(); ++i) {
    at::Tensor& gradient = module_parameters_[i].mutable_grad();
    if (gradient.defined()) gradient = collected_.views[i];
  }
}

void FlatModel::PullGradients() {
  if (device_ == nullptr) return;
  CollectGradients();
  pulled_.flat.copy_(collected_.flat);
  for (size_t i = 0; i < parameters_.size(); ++i) {
    const bool has_one = module_parameters_[i].grad().defined();
    parameters_[i].mutable_grad() = has_one ? pulled_.views[i] : at::Tensor();
  }
}

absl::StatusOr<std::unique_ptr<FlatModel>> MakeModel(const PluginConfig& config,
                                                     const Model::Context& context, uint64_t seed) {
  const MutexLock lock(&LibTorchGeneratorMutex());
  try {
    Random random({.seed = seed, .purpose = Purpose::kModelInit});
    torch::manual_seed(random());
    MUSTER_ASSIGN_OR_RETURN(std::unique_ptr<Model> model, Registry<Model>::Get().Create(config, context));
    return FlatModel::Create(std::move(model));
  } catch (const std::exception& e) {
    return InternalError(absl::StrCat("model: ", config.name, ": ", TorchMessage(e.what())));
  }
}

}  // namespace muster
