#include "server/optimization/optimizer_state.h"

#include "absl/strings/str_cat.h"

namespace muster {

absl::Status LoadState(ServerOptimizer::State state, int64_t size,
                       const std::map<std::string, std::vector<float>*>& fields) {
  for (const auto& [name, values] : state) {
    if (!fields.contains(name)) {
      return InvalidInput(
          absl::StrCat("server optimizer state has '", name, "', which this optimizer does not keep"));
    }
    if (static_cast<int64_t>(values.size()) != size) {
      return InvalidInput(absl::StrCat("server optimizer state '", name, "' has ", values.size(),
                                       " elements, the model has ", size));
    }
  }
  for (const auto& [name, field] : fields) {
    if (!state.contains(name)) return InvalidInput(absl::StrCat("server optimizer state lacks '", name, "'"));
  }
  for (const auto& [name, field] : fields) *field = std::move(state.at(name));
  return absl::OkStatus();
}

absl::Status CheckStep(std::span<const float> delta, ConstParameters model, int64_t size) {
  if (static_cast<int64_t>(delta.size()) == size && static_cast<int64_t>(model.size()) == size) {
    return absl::OkStatus();
  }
  return InternalError(absl::StrCat("server optimizer made for ", size, " elements was given an update of ",
                                    delta.size(), " and a model of ", model.size()));
}

}  // namespace muster
