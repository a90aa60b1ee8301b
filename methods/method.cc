#include "methods/method.h"

#include "absl/strings/str_cat.h"

namespace muster {

absl::StatusOr<std::vector<float>> VectorOrZeros(const State& state, const std::string& name, int64_t size) {
  const auto found = state.vectors.find(name);
  if (found == state.vectors.end()) return std::vector<float>(static_cast<size_t>(size));
  if (static_cast<int64_t>(found->second.size()) == size) return found->second;
  return InvalidInput(absl::StrCat("the method's memory '", name, "' has ", found->second.size(),
                                   " elements, the model has ", size));
}

absl::StatusOr<std::span<const float>> Received(const Method::Job& job, const std::string& name,
                                                int64_t size) {
  const auto found = job.vectors.find(name);
  if (found == job.vectors.end()) {
    return InvalidInput(absl::StrCat("the server did not send the vector '", name,
                                     "'; give server and clients the same training.method"));
  }
  if (static_cast<int64_t>(found->second->size()) == size) return std::span<const float>(*found->second);
  return InvalidInput(absl::StrCat("the server's vector '", name, "' has ", found->second->size(),
                                   " elements, the model has ", size));
}

}  // namespace muster
