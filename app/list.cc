#include <cstdio>
#include <string>

#include "absl/strings/str_cat.h"
#include "app/commands.h"
#include "core/registry.h"

namespace muster {
namespace {

void PrintPlugin(const PluginInfo& info) {
  std::printf("  %-14s %s\n", info.name.c_str(), info.summary.c_str());
  if (!info.source.empty()) std::printf("  %-14s   source: %s\n", "", info.source.c_str());
  for (const OptionInfo& option : info.options) {
    std::string facts =
        option.required ? "required" : absl::StrCat("default ", ToString(option.default_value));
    if (!option.range().empty()) absl::StrAppend(&facts, "; ", option.range());
    std::printf("  %-14s   %s: %s (%s; %s)\n", "", option.name.c_str(), option.doc.c_str(),
                option.type().c_str(), facts.c_str());
  }
}

}  // namespace

absl::Status List(const std::string& section, const std::string& name) {
  const auto& all = RegistryBase::All();
  if (!section.empty() && !all.contains(section)) {
    std::vector<std::string> sections;
    for (const auto& [known, registry] : all) sections.push_back(known);
    return InvalidInput(absl::StrCat("list: unknown section '", section, "'", Suggestion(section, sections)));
  }
  for (const auto& [list, registry] : all) {
    if (!section.empty() && list != section) continue;
    if (!name.empty()) {
      const PluginInfo* info = registry->Find(name);
      if (info == nullptr) {
        return InvalidInput(
            absl::StrCat("list ", list, ": unknown '", name, "'", Suggestion(name, registry->Names())));
      }
      PrintPlugin(*info);
      continue;
    }
    std::printf("%s\n", list.c_str());
    for (const std::string& plugin : registry->Names()) PrintPlugin(*registry->Find(plugin));
    std::printf("\n");
  }
  return absl::OkStatus();
}

}  // namespace muster
