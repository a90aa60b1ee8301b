// YAML files to configuration messages and back: strict, by reflection over any message whose fields carry
// muster.v1.rule options.
#ifndef MUSTER_CORE_CONFIG_H_
#define MUSTER_CORE_CONFIG_H_

#include <google/protobuf/message.h>

#include <string>
#include <vector>

#include "core/registry.h"
#include "core/status.h"
#include "core/yaml_value.h"
#include "muster/v1/experiment.pb.h"

namespace muster {

// Reads `yaml` into `message`, applies `overrides` ("a.b=value", value is YAML) and fills every default in,
// including sub-messages and plug-in options. Every error is one line of the form
//   FILE:LINE: client.optimizer.name: unknown 'sdg', did you mean 'sgd'?
// (overrides: "--set client.epochs=x: ..."): unknown or repeated key (with the nearest valid one), wrong
// type, value out of range, missing required field, file that does not exist, malformed YAML. `file` is the
// name used in errors; relative paths in fields marked `file` and in options marked FilePath() become
// absolute, seen from `folder` (in overrides: from the working directory). A plug-in section that has no
// plug-in in this program is taken as it is. `message` holds singular scalars (no float, no enum), messages,
// v1.Plugin and lists of v1.Plugin.
absl::Status LoadConfig(const std::string& yaml, const std::string& file, const std::string& folder,
                        const std::vector<std::string>& overrides, google::protobuf::Message& message);

// A value that takes the place of the one in the file. `value.where` says where it is written.
struct ConfigOverride {
  std::string path;  // "a.b"
  YamlValue value;
};
// Of "a.b=value", as it is typed behind --set.
absl::StatusOr<ConfigOverride> ParseOverride(const std::string& text);
// LoadConfig with overrides that stand in other files, too: paths in those are seen from `folder`.
absl::Status LoadConfigWith(const std::string& yaml, const std::string& file, const std::string& folder,
                            const std::vector<ConfigOverride>& overrides, google::protobuf::Message& message);

// The message as YAML that LoadConfig reads back to an equal message. Fields in schema order.
std::string ConfigToYaml(const google::protobuf::Message& message);

// A Plugin message as the registries take it.
PluginConfig ToPluginConfig(const v1::Plugin& plugin);

}  // namespace muster

#endif  // MUSTER_CORE_CONFIG_H_
