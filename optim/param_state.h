// Access to the state that a torch::optim::Optimizer keeps per parameter.
#ifndef MUSTER_OPTIM_PARAM_STATE_H_
#define MUSTER_OPTIM_PARAM_STATE_H_

#include <ATen/core/Tensor.h>
#include <c10/util/StringUtil.h>

#include <memory>
#include <string>
#include <type_traits>

namespace muster::optim {

// The state of `parameter` in `states` (Optimizer::state()), newly made if there is none. LibTorch keys it by
// the tensor's address: as text up to 2.0, as a pointer since.
template <typename State, typename Map>
State& ParamStateOf(Map& states, const at::Tensor& parameter) {
  using Key = typename Map::key_type;
  const auto key = [&] {
    if constexpr (std::is_same_v<Key, std::string>) {
      return c10::str(parameter.unsafeGetTensorImpl());
    } else {
      return static_cast<Key>(parameter.unsafeGetTensorImpl());
    }
  }();
  auto& state = states[key];
  if (state == nullptr) state = std::make_unique<State>();
  return static_cast<State&>(*state);
}

}  // namespace muster::optim

#endif  // MUSTER_OPTIM_PARAM_STATE_H_
