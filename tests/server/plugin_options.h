// What the options of every plug-in must do, whatever the plug-in.
#ifndef MUSTER_TESTS_SERVER_PLUGIN_OPTIONS_H_
#define MUSTER_TESTS_SERVER_PLUGIN_OPTIONS_H_

#include <cmath>
#include <string>
#include <vector>

#include "core/registry.h"
#include "gmock/gmock.h"

namespace muster {

// Values of the option's type that its range forbids, and one of another type.
inline std::vector<OptionValue> WrongValues(const OptionInfo& info) {
  std::vector<double> outside;
  if (std::isfinite(info.allowed.min)) outside.push_back(info.allowed.min - (info.allowed.above_min ? 0 : 1));
  if (std::isfinite(info.allowed.max)) outside.push_back(info.allowed.max + (info.allowed.below_max ? 0 : 1));
  std::vector<OptionValue> wrong;
  for (const double value : outside) {
    if (std::holds_alternative<int64_t>(info.default_value)) wrong.emplace_back(static_cast<int64_t>(value));
    if (std::holds_alternative<double>(info.default_value)) wrong.emplace_back(value);
    if (std::holds_alternative<std::vector<int64_t>>(info.default_value)) {
      wrong.emplace_back(std::vector<int64_t>{static_cast<int64_t>(value)});
    }
  }
  if (!info.allowed.choices.empty()) wrong.emplace_back(std::string("no such choice"));
  if (std::holds_alternative<std::string>(info.default_value)) {
    wrong.emplace_back(true);
  } else {
    wrong.emplace_back(std::string("text"));
  }
  return wrong;
}

// Every numeric option has a range; a value outside of it, of another type or of another name is refused in
// one line that starts with the option's name.
template <typename Interface>
void ExpectOptionsAreChecked(const std::string& name, const typename Interface::Context& context) {
  const auto& registry = Registry<Interface>::Get();
  const PluginInfo* plugin = registry.Find(name);
  ASSERT_NE(plugin, nullptr);
  for (const OptionInfo& info : plugin->options) {
    SCOPED_TRACE(name + "." + info.name);
    EXPECT_NE(info.doc, "");
    if (std::holds_alternative<int64_t>(info.default_value) ||
        std::holds_alternative<double>(info.default_value)) {
      EXPECT_NE(info.range(), "");
    }
    for (const OptionValue& value : WrongValues(info)) {
      const auto made = registry.Create({name, {{info.name, value}}}, context);
      EXPECT_EQ(made.status().code(), absl::StatusCode::kInvalidArgument) << ToString(value);
      EXPECT_THAT(Message(made.status()), testing::StartsWith(info.name + ": "));
      EXPECT_THAT(Message(made.status()), testing::Not(testing::HasSubstr("\n")));
    }
  }
  const auto made = registry.Create({name, {{"no_such_option", true}}}, context);
  EXPECT_THAT(Message(made.status()), testing::StartsWith("no_such_option: "));
}

}  // namespace muster

#endif  // MUSTER_TESTS_SERVER_PLUGIN_OPTIONS_H_
