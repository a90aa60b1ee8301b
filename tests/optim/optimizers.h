// Which optimisers are held to what.
#ifndef MUSTER_TESTS_OPTIM_OPTIMIZERS_H_
#define MUSTER_TESTS_OPTIM_OPTIMIZERS_H_

#include <algorithm>
#include <string>
#include <vector>

#include "optim/local_optimizer.h"

namespace muster {

// The registered optimisers that have a learning rate, and so must lower a loss.
inline std::vector<std::string> OptimizersThatLearn() {
  const auto& registry = Registry<LocalOptimizer>::Get();
  std::vector<std::string> names = registry.Names();
  std::erase_if(names, [&](const std::string& name) {
    const auto& options = registry.Find(name)->options;
    return std::none_of(options.begin(), options.end(),
                        [](const OptionInfo& option) { return option.name == "learning_rate"; });
  });
  return names;
}

}  // namespace muster

#endif  // MUSTER_TESTS_OPTIM_OPTIMIZERS_H_
