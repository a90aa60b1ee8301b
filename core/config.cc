#include "core/config.h"

#include <google/protobuf/descriptor.h>

#include <algorithm>
#include <filesystem>
#include <limits>
#include <optional>
#include <system_error>
#include <type_traits>
#include <utility>
#include <variant>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "core/yaml_value.h"
#include "muster/v1/rule.pb.h"

namespace muster {
namespace {

namespace pb = google::protobuf;
using pb::Descriptor;
using pb::FieldDescriptor;
using pb::Reflection;

// ---- Overrides
// ---------------------------------------------------------------------------------------------------

// Puts one value into the tree. `type` tells where a plug-in's plain name must first become a map.
absl::Status Override(ConfigOverride given, const Descriptor* type, YamlValue& root) {
  const std::string where = given.value.where;
  const std::vector<std::string> names = absl::StrSplit(given.path, '.');
  if (std::any_of(names.begin(), names.end(), [](const std::string& name) { return name.empty(); })) {
    return ErrorAt(where, "", absl::StrCat("'", given.path, "' has an empty name in it; write a.b"));
  }
  YamlValue* at = &root;
  std::string so_far;
  for (const std::string& name : names) {
    if (at->kind == YamlValue::kScalar && type == v1::Plugin::descriptor()) {
      YamlValue plugin_name{at->where, "name", YamlValue::kScalar, at->scalar, {}};
      at->kind = YamlValue::kMap;
      at->children = {std::move(plugin_name)};
    }
    if (at->kind == YamlValue::kList) {
      return ErrorAt(where, so_far,
                     absl::StrCat("is a list; set it as a whole, e.g. --set ", so_far, "=[1, 2]"));
    }
    if (at->kind == YamlValue::kScalar) {
      return ErrorAt(where, so_far,
                     absl::StrCat("is ", Describe(*at), ", not a map; nothing can be set in it"));
    }
    at->kind = YamlValue::kMap;
    YamlValue* child = at->Find(name);
    if (child == nullptr) {
      at->children.push_back({where, name, YamlValue::kNull, {}, {}});
      child = &at->children.back();
    }
    at = child;
    so_far = JoinPath(so_far, name);
    const FieldDescriptor* field = type == nullptr ? nullptr : type->FindFieldByName(name);
    type = field == nullptr ? nullptr : field->message_type();
  }
  given.value.key = names.back();
  *at = std::move(given.value);
  return absl::OkStatus();
}

// ---- Values to messages
// ------------------------------------------------------------------------------------------

// A list of one type; integers among numbers are numbers. nullopt for a mixed list. An empty one is of
// integers, as CheckOption expects it.
std::optional<OptionValue> MakeList(const std::vector<OptionValue>& values) {
  std::vector<int64_t> integers;
  std::vector<double> numbers;
  std::vector<std::string> texts;
  for (const OptionValue& value : values) {
    if (const auto* integer = std::get_if<int64_t>(&value)) {
      integers.push_back(*integer);
      numbers.push_back(static_cast<double>(*integer));
    } else if (const auto* number = std::get_if<double>(&value)) {
      numbers.push_back(*number);
    } else if (const auto* text = std::get_if<std::string>(&value)) {
      texts.push_back(*text);
    }
  }
  if (integers.size() == values.size()) return integers;
  if (numbers.size() == values.size()) return numbers;
  if (texts.size() == values.size()) return texts;
  return std::nullopt;
}

// What a field or an option may be given: a scalar or a list of scalars.
absl::StatusOr<OptionValue> ToOption(const YamlValue& value, const std::string& path) {
  if (value.kind == YamlValue::kScalar) return value.scalar;
  if (value.kind == YamlValue::kNull)
    return ErrorAt(value.where, path, "has no value; give one or remove it");
  if (value.kind == YamlValue::kMap)
    return ErrorAt(value.where, path, "must be a single value or a list, not a map");
  std::vector<OptionValue> values;
  for (const YamlValue& child : value.children) {
    if (child.kind == YamlValue::kScalar) values.push_back(child.scalar);
  }
  std::optional<OptionValue> list;
  if (values.size() == value.children.size()) list = MakeList(values);
  if (!list) return ErrorAt(value.where, path, "must be a list of numbers or a list of texts, all alike");
  return *std::move(list);
}

v1::OptionValue ToProto(const OptionValue& value) {
  v1::OptionValue result;
  const auto set = [&result](const auto& v) {
    using T = std::decay_t<decltype(v)>;
    if constexpr (std::is_same_v<T, bool>) {
      result.set_boolean(v);
    } else if constexpr (std::is_same_v<T, int64_t>) {
      result.set_integer(v);
    } else if constexpr (std::is_same_v<T, double>) {
      result.set_number(v);
    } else if constexpr (std::is_same_v<T, std::string>) {
      result.set_text(v);
    } else {
      result.mutable_list();
      for (const auto& element : v) *result.mutable_list()->add_values() = ToProto(OptionValue(element));
    }
  };
  std::visit(set, value);
  return result;
}

OptionValue FromProto(const v1::OptionValue& value) {
  switch (value.kind_case()) {
    case v1::OptionValue::kBoolean:
      return value.boolean();
    case v1::OptionValue::kInteger:
      return value.integer();
    case v1::OptionValue::kNumber:
      return value.number();
    case v1::OptionValue::kList: {
      std::vector<OptionValue> values;
      for (const v1::OptionValue& v : value.list().values()) values.push_back(FromProto(v));
      return MakeList(values).value_or(std::vector<int64_t>());
    }
    default:
      return value.text();
  }
}

// A scalar field's type, default and rule in the terms of plug-in options: CheckOption checks both. `name`:
// for errors.
OptionInfo FieldInfo(const FieldDescriptor& field, const std::string& name) {
  const v1::Rule& rule = field.options().GetExtension(v1::rule);
  OptionInfo info;
  info.name = name;
  if (rule.has_min()) info.allowed.min = rule.min();
  if (rule.has_max()) info.allowed.max = rule.max();
  info.allowed.above_min = rule.above_min();
  info.allowed.choices.assign(rule.choices().begin(), rule.choices().end());
  const auto at_least = [&info](double min) { info.allowed.min = std::max(info.allowed.min, min); };
  const auto at_most = [&info](double max) { info.allowed.max = std::min(info.allowed.max, max); };
  switch (field.cpp_type()) {
    case FieldDescriptor::CPPTYPE_BOOL:
      info.default_value = field.default_value_bool();
      break;
    case FieldDescriptor::CPPTYPE_INT32:
      info.default_value = int64_t{field.default_value_int32()};
      at_least(std::numeric_limits<int32_t>::min());
      at_most(std::numeric_limits<int32_t>::max());
      break;
    case FieldDescriptor::CPPTYPE_UINT32:
      info.default_value = int64_t{field.default_value_uint32()};
      at_least(0);
      at_most(std::numeric_limits<uint32_t>::max());
      break;
    case FieldDescriptor::CPPTYPE_INT64:
      info.default_value = field.default_value_int64();
      break;
    case FieldDescriptor::CPPTYPE_UINT64:
      info.default_value = static_cast<int64_t>(field.default_value_uint64());
      at_least(0);
      break;
    case FieldDescriptor::CPPTYPE_DOUBLE:
      info.default_value = field.default_value_double();
      break;
    default:
      info.default_value = field.default_value_string();
  }
  return info;
}

void SetField(pb::Message& message, const FieldDescriptor& field, const OptionValue& value) {
  const Reflection& reflection = *message.GetReflection();
  switch (field.cpp_type()) {
    case FieldDescriptor::CPPTYPE_BOOL:
      return reflection.SetBool(&message, &field, std::get<bool>(value));
    case FieldDescriptor::CPPTYPE_INT32:
      return reflection.SetInt32(&message, &field, static_cast<int32_t>(std::get<int64_t>(value)));
    case FieldDescriptor::CPPTYPE_UINT32:
      return reflection.SetUInt32(&message, &field, static_cast<uint32_t>(std::get<int64_t>(value)));
    case FieldDescriptor::CPPTYPE_INT64:
      return reflection.SetInt64(&message, &field, std::get<int64_t>(value));
    case FieldDescriptor::CPPTYPE_UINT64:
      return reflection.SetUInt64(&message, &field, static_cast<uint64_t>(std::get<int64_t>(value)));
    case FieldDescriptor::CPPTYPE_DOUBLE:
      return reflection.SetDouble(&message, &field, std::get<double>(value));
    default:
      return reflection.SetString(&message, &field, std::get<std::string>(value));
  }
}

OptionValue GetField(const pb::Message& message, const FieldDescriptor& field) {
  const Reflection& reflection = *message.GetReflection();
  switch (field.cpp_type()) {
    case FieldDescriptor::CPPTYPE_BOOL:
      return reflection.GetBool(message, &field);
    case FieldDescriptor::CPPTYPE_INT32:
      return int64_t{reflection.GetInt32(message, &field)};
    case FieldDescriptor::CPPTYPE_UINT32:
      return int64_t{reflection.GetUInt32(message, &field)};
    case FieldDescriptor::CPPTYPE_INT64:
      return reflection.GetInt64(message, &field);
    case FieldDescriptor::CPPTYPE_UINT64:
      return static_cast<int64_t>(reflection.GetUInt64(message, &field));
    case FieldDescriptor::CPPTYPE_DOUBLE:
      return reflection.GetDouble(message, &field);
    default:
      return reflection.GetString(message, &field);
  }
}

class Loader {
 public:
  // Relative paths are resolved against `folder`.
  explicit Loader(std::string folder) : folder_(std::move(folder)) {}

  // Fills every field of `message` from the map `value`, or from defaults where it is nullptr. `where`: of
  // the enclosing map, for what is missing.
  absl::Status Fill(const YamlValue* value, std::string where, const std::string& path,
                    pb::Message& message) const {
    const Descriptor& type = *message.GetDescriptor();
    if (value != nullptr && value->kind == YamlValue::kNull)
      value = nullptr;  // all lines below commented out
    if (value != nullptr) {
      MUSTER_RETURN_IF_ERROR(CheckKeys(*value, path, type));
      where = value->where;
    }
    for (int i = 0; i < type.field_count(); ++i) {
      const FieldDescriptor& field = *type.field(i);
      const YamlValue* child = value == nullptr ? nullptr : value->Find(field.name());
      const std::string child_path = JoinPath(path, field.name());
      if (field.message_type() == v1::Plugin::descriptor()) {
        MUSTER_RETURN_IF_ERROR(FillPlugins(child, where, child_path, field, message));
      } else if (field.message_type() != nullptr) {
        pb::Message& part = *message.GetReflection()->MutableMessage(&message, &field);
        MUSTER_RETURN_IF_ERROR(Fill(child, where, child_path, part));
      } else {
        MUSTER_RETURN_IF_ERROR(FillScalar(child, where, child_path, field, message));
      }
    }
    return absl::OkStatus();
  }

 private:
  static absl::Status CheckKeys(const YamlValue& value, const std::string& path, const Descriptor& type) {
    if (value.kind != YamlValue::kMap) {
      return ErrorAt(value.where, path, absl::StrCat("must be a map of settings, not ", Describe(value)));
    }
    std::vector<std::string> names;
    names.reserve(static_cast<size_t>(type.field_count()));
    for (int i = 0; i < type.field_count(); ++i) names.push_back(type.field(i)->name());
    for (const YamlValue& child : value.children) {
      if (type.FindFieldByName(child.key) == nullptr) {
        return ErrorAt(child.where, JoinPath(path, child.key), "unknown key" + Suggestion(child.key, names));
      }
    }
    return absl::OkStatus();
  }

  absl::Status FillScalar(const YamlValue* value, const std::string& where, const std::string& path,
                          const FieldDescriptor& field, pb::Message& message) const {
    const v1::Rule& rule = field.options().GetExtension(v1::rule);
    const OptionInfo info = FieldInfo(field, path);
    if (value == nullptr) {
      if (rule.required()) {
        return ErrorAt(where, path, absl::StrCat("is missing; it must be given (", info.type(), ")"));
      }
      SetField(message, field, info.default_value);
      return absl::OkStatus();
    }
    MUSTER_ASSIGN_OR_RETURN(const OptionValue given, ToOption(*value, path));
    absl::StatusOr<OptionValue> checked = CheckOption(info, given);
    if (!checked.ok()) return Annotate(checked.status(), value->where);
    if (rule.file()) {
      ResolvePaths(value->where, *checked);
      MUSTER_RETURN_IF_ERROR(CheckFile(std::get<std::string>(*checked), value->where, path));
    }
    SetField(message, field, *checked);
    return absl::OkStatus();
  }

  // One plug-in, or a list of them where the field is repeated.
  absl::Status FillPlugins(const YamlValue* value, const std::string& where, const std::string& path,
                           const FieldDescriptor& field, pb::Message& message) const {
    const Reflection& reflection = *message.GetReflection();
    const v1::Rule& rule = field.options().GetExtension(v1::rule);
    if (!field.is_repeated()) {
      v1::Plugin plugin;
      MUSTER_RETURN_IF_ERROR(FillPlugin(value, where, path, rule, plugin));
      if (!plugin.name().empty()) reflection.MutableMessage(&message, &field)->CopyFrom(plugin);
      return absl::OkStatus();
    }
    if (value == nullptr || value->kind == YamlValue::kNull) return absl::OkStatus();
    if (value->kind != YamlValue::kList) {
      return ErrorAt(value->where, path,
                     absl::StrCat("must be a list, e.g. [{name: ...}], not ", Describe(*value)));
    }
    for (size_t i = 0; i < value->children.size(); ++i) {
      auto& plugin = static_cast<v1::Plugin&>(*reflection.AddMessage(&message, &field));
      MUSTER_RETURN_IF_ERROR(
          FillPlugin(&value->children[i], where, absl::StrCat(path, "[", i, "]"), rule, plugin));
    }
    return absl::OkStatus();
  }

  // `plugin` stays without a name where an optional one is not given.
  absl::Status FillPlugin(const YamlValue* value, const std::string& where, const std::string& path,
                          const v1::Rule& rule, v1::Plugin& plugin) const {
    const auto section = RegistryBase::All().find(rule.plugin());
    const RegistryBase* registry = section == RegistryBase::All().end() ? nullptr : section->second;
    PluginConfig config{rule.default_plugin(), {}};
    if (value != nullptr) {
      MUSTER_RETURN_IF_ERROR(ReadPlugin(*value, path, config));
    } else if (config.name.empty() && !rule.required()) {
      return absl::OkStatus();
    }
    if (config.name.empty()) {
      const std::string known =
          registry == nullptr ? "" : absl::StrCat(", one of: ", absl::StrJoin(registry->Names(), ", "));
      return ErrorAt(value == nullptr ? where : value->where,
                     value == nullptr ? path : JoinPath(path, "name"),
                     absl::StrCat("is missing; it must be given", known));
    }
    if (registry != nullptr) {
      absl::StatusOr<PluginConfig> checked = registry->Check(config);
      if (!checked.ok()) return PluginError(checked.status(), value, where, path);
      config = *std::move(checked);
      for (const OptionInfo& info : registry->Find(config.name)->options) {
        if (!info.allowed.file) continue;
        const YamlValue* given = value == nullptr ? nullptr : value->Find(info.name);
        ResolvePaths(given == nullptr ? where : given->where, config.options.at(info.name));
      }
    }
    plugin.set_name(config.name);
    for (const auto& [name, option] : config.options) (*plugin.mutable_options())[name] = ToProto(option);
    return absl::OkStatus();
  }

  // A plain name, or a map of options with or without `name`.
  static absl::Status ReadPlugin(const YamlValue& value, const std::string& path, PluginConfig& config) {
    const bool plain_name =
        value.kind == YamlValue::kScalar && std::holds_alternative<std::string>(value.scalar);
    if (plain_name) {
      config.name = std::get<std::string>(value.scalar);
      return absl::OkStatus();
    }
    if (value.kind != YamlValue::kMap) {
      return ErrorAt(value.where, path,
                     absl::StrCat("must be a name, or a map of 'name' and options, not ", Describe(value)));
    }
    for (const YamlValue& child : value.children) {
      const std::string child_path = JoinPath(path, child.key);
      MUSTER_ASSIGN_OR_RETURN(OptionValue option, ToOption(child, child_path));
      if (child.key != "name") {
        config.options[child.key] = std::move(option);
      } else if (auto* name = std::get_if<std::string>(&option)) {
        config.name = std::move(*name);
      } else {
        return ErrorAt(child.where, child_path, absl::StrCat("must be text, not ", Describe(option)));
      }
    }
    return absl::OkStatus();
  }

  // RegistryBase::Check's "OPTION: what is wrong", at the line of that option if it was given.
  static absl::Status PluginError(const absl::Status& status, const YamlValue* value, std::string where,
                                  const std::string& path) {
    const std::string message = Message(status);
    if (value != nullptr) {
      where = value->where;
      for (const YamlValue& child : value->children) {
        if (message.starts_with(child.key + ": ")) where = child.where;
      }
    }
    return Annotate(InvalidInput(JoinPath(path, message)), where);
  }

  // Makes a path, or each of a list of paths, absolute: the effective configuration runs from anywhere. What
  // a file says is seen from its folder, what a command line says from where it was typed.
  void ResolvePaths(const std::string& where, OptionValue& value) const {
    const std::filesystem::path folder = where.starts_with("--set") ? "" : folder_;
    const auto resolve = [&folder](std::string& path) {
      if (path.empty()) return;
      const std::filesystem::path joined = folder / path;
      std::error_code error;
      const std::filesystem::path absolute = std::filesystem::absolute(joined, error);
      path = (error ? joined : absolute).lexically_normal().string();
    };
    if (auto* text = std::get_if<std::string>(&value)) resolve(*text);
    if (auto* texts = std::get_if<std::vector<std::string>>(&value))
      std::for_each(texts->begin(), texts->end(), resolve);
  }

  static absl::Status CheckFile(const std::string& file, const std::string& where, const std::string& path) {
    if (file.empty()) return absl::OkStatus();
    std::error_code error;
    const std::filesystem::file_status status = std::filesystem::status(file, error);
    if (!std::filesystem::exists(status)) return ErrorAt(where, path, "no such file: " + file);
    if (std::filesystem::is_directory(status))
      return ErrorAt(where, path, file + " is a folder, a file is needed");
    return absl::OkStatus();
  }

  const std::string folder_;
};

absl::Status Load(const std::string& yaml, const std::string& file, const std::string& folder,
                  const std::vector<ConfigOverride>& overrides, pb::Message& message) {
  MUSTER_ASSIGN_OR_RETURN(YamlValue root, ParseYaml(yaml, file, /*numbered=*/true));
  if (root.kind == YamlValue::kNull) return ErrorAt(file, "", "is empty; it must hold a map of settings");
  for (const ConfigOverride& override : overrides) {
    MUSTER_RETURN_IF_ERROR(Override(override, message.GetDescriptor(), root));
  }
  message.Clear();
  return Loader(folder).Fill(&root, file, "", message);
}

// The error's text on one line: it may quote the user's, line breaks and all.
absl::Status OnOneLine(const absl::Status& status) {
  if (status.ok()) return status;
  std::string line = Message(status);
  std::replace_if(
      line.begin(), line.end(), [](unsigned char c) { return c < 0x20; }, ' ');
  return InvalidInput(line);
}

// ---- Messages to YAML
// --------------------------------------------------------------------------------------------

void WritePlugin(const PluginConfig& plugin, const std::string& indent, std::string& out) {
  absl::StrAppend(&out, "name: ", ToString(plugin.name), "\n");
  for (const auto& [name, option] : plugin.options) {
    absl::StrAppend(&out, indent, ToString(name), ": ", ToString(option), "\n");
  }
}

void Write(const pb::Message& message, const std::string& indent, std::string& out) {
  const Descriptor& type = *message.GetDescriptor();
  const Reflection& reflection = *message.GetReflection();
  for (int i = 0; i < type.field_count(); ++i) {
    const FieldDescriptor& field = *type.field(i);
    if (field.message_type() == nullptr) {
      absl::StrAppend(&out, indent, field.name(), ": ", ToString(GetField(message, field)), "\n");
    } else if (field.is_repeated()) {
      const int count = reflection.FieldSize(message, &field);
      absl::StrAppend(&out, indent, field.name(), ":", count == 0 ? " []" : "", "\n");
      for (int k = 0; k < count; ++k) {
        absl::StrAppend(&out, indent, "  - ");
        const auto& plugin =
            static_cast<const v1::Plugin&>(reflection.GetRepeatedMessage(message, &field, k));
        WritePlugin(ToPluginConfig(plugin), indent + "    ", out);
      }
    } else if (const pb::Message& part = reflection.GetMessage(message, &field);
               field.message_type() != v1::Plugin::descriptor()) {
      absl::StrAppend(&out, indent, field.name(), ":\n");
      Write(part, indent + "  ", out);
    } else if (const PluginConfig plugin = ToPluginConfig(static_cast<const v1::Plugin&>(part));
               !plugin.name.empty()) {  // optional, and not given
      absl::StrAppend(&out, indent, field.name(), ":\n", indent, "  ");
      WritePlugin(plugin, indent + "  ", out);
    }
  }
}

}  // namespace

absl::StatusOr<ConfigOverride> ParseOverride(const std::string& text) {
  const std::string where = absl::StrCat("--set ", text);
  const size_t equals = text.find('=');
  if (equals == std::string::npos) {
    return OnOneLine(ErrorAt(where, "", "has no '='; write --set PATH=VALUE"));
  }
  absl::StatusOr<YamlValue> value = ParseYaml(text.substr(equals + 1), where, /*numbered=*/false);
  if (!value.ok()) return OnOneLine(value.status());
  return ConfigOverride{text.substr(0, equals), *std::move(value)};
}

absl::Status LoadConfigWith(const std::string& yaml, const std::string& file, const std::string& folder,
                            const std::vector<ConfigOverride>& overrides, pb::Message& message) {
  return OnOneLine(Load(yaml, file, folder, overrides, message));
}

absl::Status LoadConfig(const std::string& yaml, const std::string& file, const std::string& folder,
                        const std::vector<std::string>& overrides, pb::Message& message) {
  std::vector<ConfigOverride> parsed;
  for (const std::string& text : overrides) {
    MUSTER_ASSIGN_OR_RETURN(parsed.emplace_back(), ParseOverride(text));
  }
  return LoadConfigWith(yaml, file, folder, parsed, message);
}

std::string ConfigToYaml(const pb::Message& message) {
  std::string out;
  Write(message, "", out);
  return out;
}

PluginConfig ToPluginConfig(const v1::Plugin& plugin) {
  PluginConfig config{plugin.name(), {}};
  for (const auto& [name, option] : plugin.options()) config.options[name] = FromProto(option);
  return config;
}

}  // namespace muster
