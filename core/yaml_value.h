// YAML text as a tree of typed values that know where they were written.
#ifndef MUSTER_CORE_YAML_VALUE_H_
#define MUSTER_CORE_YAML_VALUE_H_

#include <string>
#include <vector>

#include "core/options.h"
#include "core/status.h"

namespace muster {

struct YamlValue {
  enum Kind { kNull, kScalar, kList, kMap };

  std::string where = {};  // "FILE:LINE", or "--set PATH=VALUE"
  std::string key = {};    // in a map
  Kind kind = kNull;
  OptionValue scalar = {};               // an unquoted one is typed by YAML 1.2's core schema
  std::vector<YamlValue> children = {};  // of a list or a map, in their order

  // The child of a map by its key, or nullptr.
  const YamlValue* Find(const std::string& name) const;
  YamlValue* Find(const std::string& name);
};

// Exactly one YAML document; kNull for an empty one. Errors name `origin`, and the line if `numbered`:
// INVALID_ARGUMENT for malformed YAML, several documents, a key given twice, a tree that aliases make huge.
absl::StatusOr<YamlValue> ParseYaml(const std::string& yaml, const std::string& origin, bool numbered);

// "a list", "a map", "nothing" or the value, for error messages.
std::string Describe(const YamlValue& value);

// "WHERE: PATH: WHAT", or "WHERE: WHAT" for the empty path.
absl::Status ErrorAt(const std::string& where, const std::string& path, const std::string& what);

// "path.name"
std::string JoinPath(const std::string& path, const std::string& name);

}  // namespace muster

#endif  // MUSTER_CORE_YAML_VALUE_H_
