// Any TorchScript module from a file: a model made in Python trains here unchanged.
#include <torch/csrc/jit/passes/inliner.h>
#include <torch/csrc/jit/runtime/graph_executor.h>
#include <torch/script.h>

#include <exception>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "learning/model.h"
#include "learning/models/forward_random.h"
#include "learning/models/module_model.h"
#include "learning/torch_message.h"

namespace muster {
namespace {

struct TorchScriptOptions {
  std::string file;
};

// The graph draws random numbers in training (dropout and the like).
bool DrawsRandom(const at::ArrayRef<const torch::jit::Block*> blocks) {
  for (const torch::jit::Block* block : blocks) {
    for (const torch::jit::Node* node : block->nodes()) {
      if (node->isNondeterministic() || DrawsRandom(node->blocks())) return true;
      const std::string name = node->kind().toQualString();
      if (name.find("dropout") != std::string::npos || name.find("rand") != std::string::npos) return true;
    }
  }
  return false;
}

class TorchScript final : public Model {
 public:
  static absl::StatusOr<std::unique_ptr<Model>> Create(const TorchScriptOptions& options,
                                                       const Context& context) {
    namespace fs = std::filesystem;
    const std::string path = (fs::path(context.folder) / options.file).string();
    std::error_code error;
    if (!fs::is_regular_file(path, error)) {
      return absl::NotFoundError(absl::StrCat("file: there is no file ", path));
    }
    try {
      auto model = std::make_unique<TorchScript>(torch::jit::load(path, at::kCPU));
      MUSTER_RETURN_IF_ERROR(model->Try(path, context));
      return model;
    } catch (const std::exception& e) {
      return InvalidInput(absl::StrCat("file: ", path, " is not a TorchScript module (write it with ",
                                       "torch.jit.script(model).save(...)): ", TorchMessage(e.what())));
    }
  }

  explicit TorchScript(torch::jit::Module module) : module_(std::move(module)) {
    const std::shared_ptr<torch::jit::Graph> graph = module_.get_method("forward").graph()->copy();
    torch::jit::Inline(*graph);
    draws_random_ = DrawsRandom({graph->block()});
  }

  // A module's own random layers use LibTorch's global generator: one forward pass at a time, seeded from
  // ours.
  at::Tensor Forward(const at::Tensor& x) override {
    if (!draws_random_) return Run(x);
    const MutexLock lock(&LibTorchGeneratorMutex());
    torch::manual_seed(ForwardRandom()());
    return Run(x);
  }

  // A parameter that is frozen is federated like a buffer.
  NamedTensors Parameters() override {
    NamedTensors result;
    for (const auto& item : module_.named_parameters()) {
      if (item.value.requires_grad()) result.emplace_back(item.name, item.value);
    }
    return result;
  }
  NamedTensors Buffers() override {
    NamedTensors result;
    for (const auto& item : module_.named_parameters()) {
      if (!item.value.requires_grad()) result.emplace_back(item.name, item.value);
    }
    for (const auto& item : module_.named_buffers()) result.emplace_back(item.name, item.value);
    return result;
  }
  void SetTraining(bool training) override { module_.train(training); }

 private:
  at::Tensor Run(const at::Tensor& x) {
    // The optimising executor rewrites a graph after its first runs: bits would depend on what ran before.
    const torch::jit::GraphOptimizerEnabledGuard no_rewriting(false);
    return module_.forward({x}).toTensor();
  }

  // Runs two samples through the module.
  absl::Status Try(const std::string& path, const Context& context) {
    const std::string where = absl::StrCat("file: ", path);
    std::vector<int64_t> shape = {2};
    shape.insert(shape.end(), context.input_shape.begin(), context.input_shape.end());
    const torch::NoGradGuard no_grad;
    SetTraining(false);
    at::Tensor output;
    try {
      output = Run(at::zeros(shape));
    } catch (const std::exception& e) {
      return InvalidInput(
          absl::StrCat(where, " does not take inputs of shape ", ShapeText(shape), ": ", Cause(e)));
    }
    SetTraining(true);
    const std::vector<int64_t> wanted = {2, context.outputs};
    if (output.sizes().vec() == wanted && output.scalar_type() == at::kFloat) return absl::OkStatus();
    return InvalidInput(absl::StrCat(where, " gives outputs of shape ", ShapeText(output.sizes().vec()),
                                     " for inputs ", ShapeText(shape), ", must be float32 ",
                                     ShapeText(wanted)));
  }

  // The interpreter's message ends with the cause, after a stack of source lines.
  static std::string Cause(const std::exception& e) {
    const std::string text = e.what();
    const size_t at = text.rfind("RuntimeError: ");
    return at == std::string::npos ? TorchMessage(e.what()) : TorchMessage(text.c_str() + at);
  }

  torch::jit::Module module_;
  bool draws_random_ = false;
};

MUSTER_REGISTER(Model, Plugin<TorchScriptOptions>("torchscript",
                                                  "A TorchScript module from a file, as Python saves it")
                           .Required("file", &TorchScriptOptions::file,
                                     "path of the module, relative to the configuration's folder", FilePath())
                           .Make<TorchScript>());

}  // namespace
}  // namespace muster
