#include "core/registry.h"

namespace muster {
namespace {

std::map<std::string, RegistryBase*>& MutableAll() {
  static auto* const all = new std::map<std::string, RegistryBase*>;
  return *all;
}

}  // namespace

const std::map<std::string, RegistryBase*>& RegistryBase::All() { return MutableAll(); }

void RegistryBase::Announce(const char* list, RegistryBase* registry) { MutableAll()[list] = registry; }

absl::StatusOr<PluginConfig> RegistryBase::Check(const PluginConfig& config) const {
  const PluginInfo* info = Find(config.name);
  if (info == nullptr) {
    return InvalidInput(absl::StrCat("name: unknown '", config.name, "'", Suggestion(config.name, Names())));
  }
  MUSTER_ASSIGN_OR_RETURN(OptionMap options, CheckOptions(info->options, config.options));
  return PluginConfig{config.name, std::move(options)};
}

}  // namespace muster
