#include "server/optimization/optimizer_state.h"

#include <cmath>
#include <utility>

#include "absl/strings/str_cat.h"

namespace muster {
namespace {

// Whether both have the same names; the message says which one is missing or too many.
template <typename Values, typename Fields>
absl::Status CheckNames(const Values& values, const Fields& fields) {
  for (const auto& [name, value] : values) {
    if (!fields.contains(name)) {
      return InvalidInput(
          absl::StrCat("server optimizer state has '", name, "', which this optimizer does not keep"));
    }
  }
  for (const auto& [name, field] : fields) {
    if (!values.contains(name))
      return InvalidInput(absl::StrCat("server optimizer state lacks '", name, "'"));
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status LoadState(State state, int64_t size, const std::map<std::string, std::vector<float>*>& vectors,
                       const std::map<std::string, double*>& numbers) {
  MUSTER_RETURN_IF_ERROR(CheckNames(state.vectors, vectors));
  MUSTER_RETURN_IF_ERROR(CheckNames(state.numbers, numbers));
  for (const auto& [name, values] : state.vectors) {
    if (static_cast<int64_t>(values.size()) != size) {
      return InvalidInput(absl::StrCat("server optimizer state '", name, "' has ", values.size(),
                                       " elements, the model has ", size));
    }
  }
  for (const auto& [name, value] : state.numbers) {
    if (!std::isfinite(value))
      return InvalidInput(absl::StrCat("server optimizer state '", name, "' is ", value));
  }
  for (const auto& [name, field] : vectors) *field = std::move(state.vectors.at(name));
  for (const auto& [name, field] : numbers) *field = state.numbers.at(name);
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
