#include "simulation/adversaries.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <utility>
#include <variant>

#include "absl/strings/str_cat.h"
#include "core/config.h"
#include "core/random.h"

namespace muster {

absl::StatusOr<Adversaries> Adversaries::Create(const v1::Simulation& config, int64_t clients,
                                                int64_t num_classes, uint64_t seed) {
  Adversaries result;
  if (config.adversaries().empty()) return result;
  std::vector<int64_t> order(static_cast<size_t>(clients));
  std::iota(order.begin(), order.end(), 0);
  Random({.seed = seed, .purpose = Purpose::kAdversaries}).Shuffle(std::span(order));
  result.group_of_.assign(order.size(), kHonest);
  size_t taken = 0;
  for (int i = 0; i < config.adversaries_size(); ++i) {
    const PluginConfig plugin = ToPluginConfig(config.adversaries(i));
    const std::string field = absl::StrCat("simulation.adversaries[", i, "] (", plugin.name, ")");
    auto made = Registry<Adversary>::Get().Create(plugin, {.num_classes = num_classes});
    if (!made.ok()) return Annotate(made.status(), field);
    const double share = std::get<double>(plugin.options.at("fraction"));
    const int64_t count =
        share > 0 ? std::max<int64_t>(1, std::llround(share * static_cast<double>(clients))) : 0;
    if (taken + static_cast<size_t>(count) > order.size()) {
      return InvalidInput(absl::StrCat(field, ": fraction: asks for ", count, " clients, only ",
                                       order.size() - taken, " of ", clients,
                                       " are left; lower the fractions"));
    }
    Group& group = result.groups_.emplace_back();
    group.name = plugin.name;
    group.adversary = *std::move(made);
    group.clients.assign(order.begin() + static_cast<int64_t>(taken),
                         order.begin() + static_cast<int64_t>(taken) + count);
    std::sort(group.clients.begin(), group.clients.end());
    for (const int64_t client : group.clients) result.group_of_[static_cast<size_t>(client)] = i;
    taken += static_cast<size_t>(count);
  }
  return result;
}

}  // namespace muster
