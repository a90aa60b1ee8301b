#include "app/sweep_grid.h"

#include <algorithm>
#include <cctype>
#include <filesystem>
#include <map>
#include <set>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "core/yaml_value.h"

namespace muster {
namespace {

constexpr size_t kMaxCells = 100'000;

// A setting's overrides before arms are made of them.
struct Setting {
  std::string label;
  std::string where;
  std::vector<ConfigOverride> overrides;
};
struct Axis {
  std::string name;
  std::string where;
  bool is_path = false;
  std::vector<Setting> settings;
};

absl::Status Wrong(const YamlValue& value, const std::string& what) {
  return ErrorAt(value.where, value.key, what);
}

// A value as a label: "0.1", "[1, 2]", "trimmed_mean trim=0.3".
std::string Label(const YamlValue& value) {
  std::vector<std::string> parts;
  switch (value.kind) {
    case YamlValue::kNull:
      return "none";
    case YamlValue::kScalar:
      if (const auto* text = std::get_if<std::string>(&value.scalar)) return *text;
      return ToString(value.scalar);
    case YamlValue::kList:
      for (const YamlValue& child : value.children) parts.push_back(Label(child));
      return absl::StrCat("[", absl::StrJoin(parts, ", "), "]");
    default:
      for (const YamlValue& child : value.children) {
        parts.push_back(child.key == "name" ? Label(child) : absl::StrCat(child.key, "=", Label(child)));
      }
      return absl::StrJoin(parts, " ");
  }
}

std::string Folder(const std::string& name) {
  std::string folder;
  for (const char c : name) {
    const bool keep =
        std::isalnum(static_cast<unsigned char>(c)) || c == '-' || c == '_' || c == '.' || c == '=';
    if (keep) {
      folder += c;
    } else if (!folder.empty() && folder.back() != '_') {
      folder += '_';
    }
  }
  return folder.empty() || folder[0] == '.' ? absl::StrCat("arm", folder) : folder;
}

class GridReader {
 public:
  GridReader(std::string file, YamlValue root) : file_(std::move(file)), root_(std::move(root)) {}

  absl::StatusOr<SweepGrid> Read() {
    MUSTER_RETURN_IF_ERROR(CheckKeys(root_, {"name", "base", "seeds", "arms", "grid", "baseline", "target",
                                             "final_evaluations", "table"}));
    MUSTER_RETURN_IF_ERROR(ReadNames());
    MUSTER_RETURN_IF_ERROR(ReadSeeds());
    MUSTER_RETURN_IF_ERROR(ReadAxes());
    MUSTER_RETURN_IF_ERROR(CheckAxes());
    MUSTER_RETURN_IF_ERROR(MakeArms());
    if (const YamlValue* value = root_.Find("baseline")) {
      MUSTER_ASSIGN_OR_RETURN(grid_.baseline, ReadSelection(*value));
    }
    if (const YamlValue* value = root_.Find("target")) MUSTER_RETURN_IF_ERROR(ReadTarget(*value));
    if (const YamlValue* value = root_.Find("table")) MUSTER_RETURN_IF_ERROR(ReadTable(*value));
    return std::move(grid_);
  }

 private:
  absl::Status CheckKeys(const YamlValue& map, const std::vector<std::string>& known) const {
    if (map.kind != YamlValue::kMap) {
      return ErrorAt(map.where, map.key, absl::StrCat("must be a map, not ", Describe(map)));
    }
    for (const YamlValue& child : map.children) {
      if (std::find(known.begin(), known.end(), child.key) == known.end()) {
        return ErrorAt(child.where, JoinPath(map.key, child.key),
                       absl::StrCat("unknown key", Suggestion(child.key, known)));
      }
    }
    return absl::OkStatus();
  }

  static absl::StatusOr<std::string> Text(const YamlValue& value) {
    if (value.kind == YamlValue::kScalar) {
      if (const auto* text = std::get_if<std::string>(&value.scalar); text != nullptr && !text->empty()) {
        return *text;
      }
    }
    return Wrong(value, absl::StrCat("must be text, not ", Describe(value)));
  }
  static absl::StatusOr<int64_t> Integer(const YamlValue& value, int64_t min) {
    const auto* integer = value.kind == YamlValue::kScalar ? std::get_if<int64_t>(&value.scalar) : nullptr;
    if (integer == nullptr || *integer < min) {
      return Wrong(value, absl::StrCat("must be an integer, at least ", min, ", not ", Describe(value)));
    }
    return *integer;
  }
  // Above 0 and at most 1.
  static absl::StatusOr<double> Share(const YamlValue& value) {
    double share = 0;
    if (value.kind == YamlValue::kScalar) {
      if (const auto* number = std::get_if<double>(&value.scalar)) share = *number;
      if (const auto* integer = std::get_if<int64_t>(&value.scalar)) share = static_cast<double>(*integer);
    }
    if (!(share > 0 && share <= 1)) {
      return Wrong(value, absl::StrCat("must be a number above 0 and at most 1, not ", Describe(value)));
    }
    return share;
  }

  absl::Status ReadNames() {
    const std::filesystem::path path(file_);
    grid_.name = path.stem().string();
    if (const YamlValue* value = root_.Find("name")) {
      MUSTER_ASSIGN_OR_RETURN(grid_.name, Text(*value));
    }
    const YamlValue* base = root_.Find("base");
    if (base == nullptr) {
      return ErrorAt(file_, "base", "is missing; name the configuration that all cells start from");
    }
    MUSTER_ASSIGN_OR_RETURN(const std::string text, Text(*base));
    grid_.base = (path.parent_path() / text).string();
    std::error_code error;
    if (!std::filesystem::exists(grid_.base, error)) {
      return Wrong(*base, absl::StrCat("no such file: ", grid_.base));
    }
    if (const YamlValue* value = root_.Find("final_evaluations")) {
      MUSTER_ASSIGN_OR_RETURN(grid_.final_evaluations, Integer(*value, 1));
    }
    return absl::OkStatus();
  }

  absl::Status ReadSeeds() {
    const YamlValue* value = root_.Find("seeds");
    if (value == nullptr) return absl::OkStatus();
    if (value->kind != YamlValue::kList || value->children.empty()) {
      return Wrong(*value, absl::StrCat("must be a list such as [0, 1, 2], not ", Describe(*value)));
    }
    for (const YamlValue& child : value->children) {
      YamlValue seed = child;
      seed.key = "seeds";
      MUSTER_ASSIGN_OR_RETURN(const int64_t number, Integer(seed, 0));
      grid_.seeds.push_back(static_cast<uint64_t>(number));
      if (std::count(grid_.seeds.begin(), grid_.seeds.end(), grid_.seeds.back()) > 1) {
        return Wrong(seed, absl::StrCat(number, " is given twice; remove one"));
      }
    }
    return absl::OkStatus();
  }

  // {path: value, ...}
  absl::StatusOr<std::vector<ConfigOverride>> ReadOverrides(const YamlValue& value) const {
    std::vector<ConfigOverride> overrides;
    if (value.kind == YamlValue::kNull) return overrides;
    if (value.kind != YamlValue::kMap) {
      return Wrong(value, absl::StrCat("must be a map of paths and values, e.g. {training.epochs: 2}, not ",
                                       Describe(value)));
    }
    for (const YamlValue& child : value.children) overrides.push_back({child.key, child});
    return overrides;
  }

  absl::StatusOr<Axis> ReadNamed(const YamlValue& value) const {
    Axis axis{.name = value.key, .where = value.where, .is_path = false, .settings = {}};
    if (value.kind != YamlValue::kMap || value.children.empty()) {
      return Wrong(value, "must be a map of names and what each sets, e.g. {one: {training.epochs: 1}}");
    }
    for (const YamlValue& child : value.children) {
      Setting setting{child.key, child.where, {}};
      MUSTER_ASSIGN_OR_RETURN(setting.overrides, ReadOverrides(child));
      axis.settings.push_back(std::move(setting));
    }
    return axis;
  }

  absl::Status ReadAxes() {
    const YamlValue* arms = root_.Find("arms");
    const YamlValue* grid = root_.Find("grid");
    if ((arms == nullptr) == (grid == nullptr)) {
      return ErrorAt(grid != nullptr ? grid->where : file_, "",
                     "give either 'arms' (a list of named settings) or 'grid' (every combination)");
    }
    if (arms != nullptr) {
      MUSTER_ASSIGN_OR_RETURN(Axis axis, ReadNamed(*arms));
      axis.name = "arm";
      axes_.push_back(std::move(axis));
      return absl::OkStatus();
    }
    if (grid->kind != YamlValue::kMap || grid->children.empty()) {
      return Wrong(*grid, "must be a map of paths and lists of values, e.g. {training.epochs: [1, 2]}");
    }
    for (const YamlValue& child : grid->children) {
      if (child.kind == YamlValue::kMap) {
        MUSTER_ASSIGN_OR_RETURN(axes_.emplace_back(), ReadNamed(child));
        continue;
      }
      if (child.kind != YamlValue::kList || child.children.empty()) {
        return Wrong(child, absl::StrCat("must be a list of values (or a map of named settings), not ",
                                         child.kind == YamlValue::kList ? "an empty list" : Describe(child)));
      }
      Axis axis{.name = child.key, .where = child.where, .is_path = true, .settings = {}};
      for (const YamlValue& value : child.children) {
        axis.settings.push_back({Label(value), value.where, {{child.key, value}}});
      }
      axes_.push_back(std::move(axis));
    }
    return absl::OkStatus();
  }

  absl::Status CheckAxes() {
    std::map<std::string, int> last_parts;
    const auto last_part = [](const Axis& axis) {
      return axis.is_path ? axis.name.substr(axis.name.rfind('.') + 1) : axis.name;
    };
    for (const Axis& axis : axes_) ++last_parts[last_part(axis)];
    std::map<std::string, std::string> path_axes;  // a path and the axis that sets it
    for (const Axis& axis : axes_) {
      const std::string header = last_part(axis);
      SweepAxis known{axis.name, last_parts[header] == 1 ? header : axis.name, {}};
      std::set<std::string> paths;
      for (const Setting& setting : axis.settings) {
        if (std::find(known.settings.begin(), known.settings.end(), setting.label) != known.settings.end()) {
          return ErrorAt(setting.where, axis.name,
                         absl::StrCat("'", setting.label, "' is given twice; remove one"));
        }
        known.settings.push_back(setting.label);
        for (const ConfigOverride& change : setting.overrides) paths.insert(change.path);
      }
      for (const std::string& path : paths) {
        if (path == "seed") return ErrorAt(axis.where, axis.name, "sets 'seed'; list seeds under 'seeds'");
        const auto [other, fresh] = path_axes.emplace(path, axis.name);
        if (!fresh) {
          return ErrorAt(
              axis.where, axis.name,
              absl::StrCat("sets '", path, "', and so does '", other->second, "'; let one of them do it"));
        }
      }
      grid_.axes.push_back(std::move(known));
    }
    return absl::OkStatus();
  }

  absl::Status MakeArms() {
    size_t count = 1;
    for (const Axis& axis : axes_) {
      count *= axis.settings.size();
      if (count * std::max<size_t>(1, grid_.seeds.size()) > kMaxCells) {
        return ErrorAt(file_, "", absl::StrCat("makes more than ", kMaxCells, " cells; split it"));
      }
    }
    std::map<std::string, std::string> folders;
    for (size_t i = 0; i < count; ++i) {
      SweepArm arm;
      arm.settings.resize(axes_.size());
      size_t rest = i;
      for (size_t a = axes_.size(); a-- > 0;) {
        arm.settings[a] = rest % axes_[a].settings.size();
        rest /= axes_[a].settings.size();
      }
      std::vector<std::string> labels;
      for (size_t a = 0; a < axes_.size(); ++a) {
        const Setting& setting = axes_[a].settings[arm.settings[a]];
        // A bare value needs its name beside it where there are other axes.
        const bool bare = axes_[a].is_path && axes_.size() > 1 &&
                          setting.label.find_first_not_of("0123456789.eE+-") == std::string::npos;
        labels.push_back(bare ? absl::StrCat(grid_.axes[a].header, "=", setting.label) : setting.label);
        arm.overrides.insert(arm.overrides.end(), setting.overrides.begin(), setting.overrides.end());
      }
      arm.name = absl::StrJoin(labels, ", ");
      arm.folder = Folder(arm.name);
      const auto [other, fresh] = folders.emplace(arm.folder, arm.name);
      if (!fresh) {
        return ErrorAt(file_, "",
                       absl::StrCat("'", other->second, "' and '", arm.name,
                                    "' would share a folder; give them other names"));
      }
      grid_.arms.push_back(std::move(arm));
    }
    return absl::OkStatus();
  }

  absl::StatusOr<size_t> FindAxis(const YamlValue& value, const std::string& name) const {
    std::vector<std::string> known;
    for (size_t a = 0; a < grid_.axes.size(); ++a) {
      if (grid_.axes[a].name == name || grid_.axes[a].header == name) return a;
      known.push_back(grid_.axes[a].name);
    }
    return Wrong(value, absl::StrCat("there is no axis '", name, "'", Suggestion(name, known)));
  }

  // An arm's name where there is one axis, or {axis: setting, ...}.
  absl::StatusOr<SweepSelection> ReadSelection(const YamlValue& value) const {
    SweepSelection selection;
    const auto add = [&](size_t axis, const YamlValue& of) -> absl::Status {
      const std::vector<std::string>& settings = grid_.axes[axis].settings;
      const std::string label = Label(of);
      const auto found = std::find(settings.begin(), settings.end(), label);
      if (found == settings.end()) {
        return Wrong(of, absl::StrCat("there is no '", label, "' in '", grid_.axes[axis].name, "'",
                                      Suggestion(label, settings)));
      }
      selection.emplace_back(axis, static_cast<size_t>(found - settings.begin()));
      return absl::OkStatus();
    };
    if (value.kind == YamlValue::kScalar && grid_.axes.size() == 1) {
      MUSTER_RETURN_IF_ERROR(add(0, value));
      return selection;
    }
    if (value.kind != YamlValue::kMap || value.children.empty()) {
      return Wrong(value, absl::StrCat("must name settings, e.g. {", grid_.axes[0].name, ": ",
                                       grid_.axes[0].settings[0], "}, not ", Describe(value)));
    }
    for (const YamlValue& child : value.children) {
      MUSTER_ASSIGN_OR_RETURN(const size_t axis, FindAxis(child, child.key));
      MUSTER_RETURN_IF_ERROR(add(axis, child));
    }
    return selection;
  }

  absl::Status ReadTarget(const YamlValue& value) {
    MUSTER_RETURN_IF_ERROR(CheckKeys(value, {"accuracy", "share", "of"}));
    SweepTarget target;
    const YamlValue* accuracy = value.Find("accuracy");
    const YamlValue* share = value.Find("share");
    const YamlValue* of = value.Find("of");
    if ((accuracy == nullptr) == (share == nullptr) || (accuracy != nullptr && of != nullptr)) {
      return Wrong(value, "give either {accuracy: 0.8} or {share: 0.95, of: SETTINGS}");
    }
    if (accuracy != nullptr) {
      MUSTER_ASSIGN_OR_RETURN(target.accuracy, Share(*accuracy));
    } else {
      MUSTER_ASSIGN_OR_RETURN(target.share, Share(*share));
      if (of != nullptr) {
        MUSTER_ASSIGN_OR_RETURN(target.of, ReadSelection(*of));
      } else if (grid_.baseline) {
        target.of = *grid_.baseline;
      } else {
        return Wrong(value, "a share needs 'of: SETTINGS', or a 'baseline' for the whole sweep");
      }
    }
    grid_.target = std::move(target);
    return absl::OkStatus();
  }

  absl::Status ReadTable(const YamlValue& value) {
    MUSTER_RETURN_IF_ERROR(CheckKeys(value, {"rows", "columns"}));
    SweepTable table;
    for (const auto& [key, axis] : {std::pair("rows", &table.rows), std::pair("columns", &table.columns)}) {
      const YamlValue* name = value.Find(key);
      if (name == nullptr) return Wrong(value, absl::StrCat("needs '", key, "', the name of an axis"));
      MUSTER_ASSIGN_OR_RETURN(const std::string text, Text(*name));
      MUSTER_ASSIGN_OR_RETURN(*axis, FindAxis(*name, text));
    }
    if (table.rows == table.columns) return Wrong(value, "rows and columns must be two axes");
    grid_.table = table;
    return absl::OkStatus();
  }

  const std::string file_;
  const YamlValue root_;
  std::vector<Axis> axes_;
  SweepGrid grid_;
};

}  // namespace

size_t SweepGrid::ArmWith(size_t arm, const SweepSelection& selection) const {
  std::vector<size_t> settings = arms[arm].settings;
  for (const auto& [axis, setting] : selection) settings[axis] = setting;
  size_t index = 0;
  for (size_t a = 0; a < axes.size(); ++a) index = index * axes[a].settings.size() + settings[a];
  return index;
}

std::string SweepGrid::Name(const SweepSelection& selection) const {
  std::vector<std::string> labels;
  for (const auto& [axis, setting] : selection) labels.push_back(axes[axis].settings[setting]);
  return absl::StrJoin(labels, ", ");
}

absl::StatusOr<SweepGrid> ParseSweepGrid(const std::string& yaml, const std::string& file) {
  MUSTER_ASSIGN_OR_RETURN(YamlValue root, ParseYaml(yaml, file, /*numbered=*/true));
  if (root.kind != YamlValue::kMap) {
    return ErrorAt(file, "",
                   absl::StrCat("must hold a map with 'base' and 'arms' or 'grid', not ", Describe(root)));
  }
  return GridReader(file, std::move(root)).Read();
}

}  // namespace muster
