#include "learning/model.h"

#include <exception>
#include <map>
#include <unordered_map>

#include "absl/strings/str_cat.h"
#include "core/random.h"
#include "learning/models/forward_random.h"

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
  const torch::NoGradGuard no_grad;
  flat->buffer_ = at::empty({flat->layout_.size}, at::kFloat);
  flat->values_ = {flat->buffer_.data_ptr<float>(), static_cast<size_t>(flat->layout_.size)};
  for (size_t i = 0; i < tensors.size(); ++i) {
    const Layout::Entry& entry = flat->layout_.entries[i];
    at::Tensor& tensor = tensors[i].second;
    const at::Tensor view = flat->buffer_.narrow(0, entry.offset, entry.size()).view(entry.shape);
    view.copy_(tensor);
    tensor.set_data(view);
    if (i < trainable) flat->parameters_.push_back(tensor);
  }
  flat->model_ = std::move(model);
  return flat;
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
    const std::string what = e.what();
    return InternalError(absl::StrCat("model: ", config.name, ": ", what.substr(0, what.find('\n'))));
  }
}

}  // namespace muster
