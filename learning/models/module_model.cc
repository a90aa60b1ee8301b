#include "learning/models/module_model.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "learning/models/forward_random.h"

namespace muster {
namespace {

absl::Status NeedDimensions(const std::string& model, const Model::Context& context, size_t dimensions,
                            const char* what) {
  if (context.input_shape.size() == dimensions) return absl::OkStatus();
  return InvalidInput(
      absl::StrCat("model: ", model, " needs ", what, ", the data are ", ShapeText(context.input_shape)));
}

}  // namespace

Model::NamedTensors ModuleModel::Parameters() {
  NamedTensors result;
  for (const auto& item : named_parameters()) result.emplace_back(item.key(), item.value());
  return result;
}

Model::NamedTensors ModuleModel::Buffers() {
  NamedTensors result;
  for (const auto& item : named_buffers()) result.emplace_back(item.key(), item.value());
  return result;
}

at::Tensor Dropout::Forward(const at::Tensor& x) const {
  if (!is_training() || rate_ == 0) return x;
  at::Tensor mask = at::empty(x.sizes(), at::kFloat);
  DrawDropout(rate_, {mask.data_ptr<float>(), static_cast<size_t>(mask.numel())});
  return x * mask.to(x.device());
}

absl::Status NeedImages(const std::string& model, const Model::Context& context) {
  return NeedDimensions(model, context, 3, "images {channels, height, width}");
}
absl::Status NeedSignals(const std::string& model, const Model::Context& context) {
  return NeedDimensions(model, context, 2, "signals {channels, length}");
}
absl::Status NeedTable(const std::string& model, const Model::Context& context) {
  return NeedDimensions(model, context, 1, "a table {columns}");
}

std::string ShapeText(std::span<const int64_t> shape) {
  return absl::StrCat("{", absl::StrJoin(shape, ", "), "}");
}

int64_t SampleSize(const Model::Context& context) {
  int64_t size = 1;
  for (const int64_t side : context.input_shape) size *= side;
  return size;
}

}  // namespace muster
