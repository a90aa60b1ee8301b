// What LibTorch's exceptions say, for one line of ours.
#ifndef MUSTER_LEARNING_TORCH_MESSAGE_H_
#define MUSTER_LEARNING_TORCH_MESSAGE_H_

#include <string>
#include <string_view>

namespace muster {

// The first line of `what`: LibTorch appends a stack trace.
inline std::string TorchMessage(std::string_view what) {
  return std::string(what.substr(0, what.find('\n')));
}

}  // namespace muster

#endif  // MUSTER_LEARNING_TORCH_MESSAGE_H_
