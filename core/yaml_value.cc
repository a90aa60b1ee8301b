#include "core/yaml_value.h"

#include <yaml-cpp/yaml.h>

#include <algorithm>
#include <cctype>
#include <exception>
#include <limits>
#include <set>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

namespace muster {
namespace {

// Aliases let a small file unfold to a huge tree, or to an endless one.
constexpr int kMaxDepth = 64;
constexpr int kMaxValues = 100'000;

// The type of an unquoted scalar, by YAML 1.2's core schema; only `true` and `false` are booleans.
OptionValue ParsePlain(const std::string& text) {
  if (text == "true" || text == "false") return text == "true";
  const bool negative = text[0] == '-';
  const std::string unsigned_text = text.substr(negative || text[0] == '+' ? 1 : 0);
  if (unsigned_text == ".inf") {
    return negative ? -std::numeric_limits<double>::infinity() : std::numeric_limits<double>::infinity();
  }
  if (text == ".nan") return std::numeric_limits<double>::quiet_NaN();
  const auto is_digit = [](unsigned char c) { return std::isdigit(c) != 0; };
  const bool number = std::any_of(unsigned_text.begin(), unsigned_text.end(), is_digit) &&
                      unsigned_text.find_first_not_of("0123456789.eE+-") == std::string::npos;
  int64_t integer = 0;
  if (number && std::all_of(unsigned_text.begin(), unsigned_text.end(), is_digit) &&
      absl::SimpleAtoi(text, &integer)) {
    return integer;
  }
  double value = 0;
  if (number && absl::SimpleAtod(text, &value)) return value;
  return text;
}

class YamlReader {
 public:
  // `numbered`: errors name lines of `origin`.
  YamlReader(std::string origin, bool numbered) : origin_(std::move(origin)), numbered_(numbered) {}

  absl::StatusOr<YamlValue> Read(const std::string& yaml) {
    try {
      // yaml-cpp 0.7 takes an unclosed quote for closed where the text ends in a line break.
      const std::vector<YAML::Node> documents = YAML::LoadAll(yaml + "\n#");
      if (documents.size() > 1) {
        return ErrorAt(
            origin_, "",
            absl::StrCat("holds ", documents.size(), " YAML documents, must be one; remove '---'"));
      }
      YamlValue root;
      root.where = origin_;
      if (!documents.empty()) MUSTER_RETURN_IF_ERROR(Convert(documents[0], 0, "", root));
      return root;
    } catch (const YAML::Exception& e) {
      return Malformed(yaml, e.mark.line, e.msg);
    } catch (const std::exception& e) {
      return Malformed(yaml, -1, e.what());
    }
  }

 private:
  std::string Where(const YAML::Mark& mark) const { return WhereLine(mark.line); }
  std::string WhereLine(int line) const {
    return numbered_ && line >= 0 ? absl::StrCat(origin_, ":", line + 1) : origin_;
  }

  absl::Status Malformed(const std::string& yaml, int line, const std::string& what) const {
    // yaml-cpp stumbles over a tab late and names another cause.
    std::vector<std::string> lines = absl::StrSplit(yaml, '\n');
    while (lines.size() > 1 && lines.back().empty()) lines.pop_back();
    for (size_t i = 0; numbered_ && i < lines.size(); ++i) {
      const size_t text = lines[i].find_first_not_of(" \t");
      if (text != std::string::npos && lines[i][text] != '#' && lines[i].find('\t') < text) {
        return ErrorAt(WhereLine(static_cast<int>(i)), "", "indented with a tab; YAML needs spaces");
      }
    }
    line =
        std::min(line, static_cast<int>(lines.size()) - 1);  // what is not closed is noticed behind the end
    return ErrorAt(WhereLine(line), "", absl::StrCat("not valid YAML: ", what));
  }

  // value.where is set by the caller.
  absl::Status Convert(const YAML::Node& node, int depth, const std::string& path, YamlValue& value) {
    if (depth > kMaxDepth || ++values_ > kMaxValues) {
      return ErrorAt(value.where, path, "nested too deeply or too large for a configuration");
    }
    if (node.IsMap()) {
      value.kind = YamlValue::kMap;
      std::set<std::string> seen;
      for (const auto& entry : node) {
        YamlValue child;
        child.where = Where(entry.first.Mark());
        if (!entry.first.IsScalar()) return ErrorAt(child.where, path, "a key must be a name");
        child.key = entry.first.Scalar();
        const std::string child_path = JoinPath(path, child.key);
        if (!seen.insert(child.key).second)
          return ErrorAt(child.where, child_path, "is given twice; remove one");
        MUSTER_RETURN_IF_ERROR(Convert(entry.second, depth + 1, child_path, child));
        value.children.push_back(std::move(child));
      }
    } else if (node.IsSequence()) {
      value.kind = YamlValue::kList;
      for (const YAML::Node& item : node) {
        YamlValue child;
        child.where = Where(item.Mark());
        MUSTER_RETURN_IF_ERROR(Convert(item, depth + 1, path, child));
        value.children.push_back(std::move(child));
      }
    } else if (node.IsScalar()) {
      value.kind = YamlValue::kScalar;
      const bool plain = node.Tag() == "?" || node.Tag().empty();
      value.scalar = plain && !node.Scalar().empty() ? ParsePlain(node.Scalar()) : OptionValue(node.Scalar());
    }
    return absl::OkStatus();
  }

  const std::string origin_;
  const bool numbered_;
  int values_ = 0;
};

}  // namespace

const YamlValue* YamlValue::Find(const std::string& name) const {
  const auto found = std::find_if(children.begin(), children.end(),
                                  [&](const YamlValue& child) { return child.key == name; });
  return kind == kMap && found != children.end() ? &*found : nullptr;
}

YamlValue* YamlValue::Find(const std::string& name) {
  return const_cast<YamlValue*>(std::as_const(*this).Find(name));
}

absl::StatusOr<YamlValue> ParseYaml(const std::string& yaml, const std::string& origin, bool numbered) {
  return YamlReader(origin, numbered).Read(yaml);
}

std::string Describe(const YamlValue& value) {
  switch (value.kind) {
    case YamlValue::kNull:
      return "nothing";
    case YamlValue::kList:
      return "a list";
    case YamlValue::kMap:
      return "a map";
    default:
      return Describe(value.scalar);
  }
}

absl::Status ErrorAt(const std::string& where, const std::string& path, const std::string& what) {
  return InvalidInput(absl::StrCat(where, ": ", path, path.empty() ? "" : ": ", what));
}

std::string JoinPath(const std::string& path, const std::string& name) {
  return path.empty() ? name : absl::StrCat(path, ".", name);
}

}  // namespace muster
