// Typed options of plug-ins. A plug-in keeps its options in a plain struct whose initialisers are the
// defaults and describes each field once; from that come parsing, range checks, defaults in config.yaml and
// `muster list`.
#ifndef MUSTER_CORE_OPTIONS_H_
#define MUSTER_CORE_OPTIONS_H_

#include <cstdint>
#include <functional>
#include <limits>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

#include "core/status.h"

namespace muster {

// A value as a configuration gives it. Lists are of one type.
using OptionValue = std::variant<bool, int64_t, double, std::string, std::vector<int64_t>,
                                 std::vector<double>, std::vector<std::string>>;
using OptionMap = std::map<std::string, OptionValue>;

// "true", "3", "0.1", "text", "[1, 2]": as YAML writes it (a string that YAML would read as another type is
// quoted).
std::string ToString(const OptionValue& value);
// "true", "the integer 3", "text \"many\"", "the list [1, 2]": for error messages.
std::string Describe(const OptionValue& value);

// What a value may be.
struct Allowed {
  double min = -std::numeric_limits<double>::infinity();
  double max = std::numeric_limits<double>::infinity();
  bool above_min = false;                 // min itself is not allowed
  bool below_max = false;                 // max itself is not allowed
  std::vector<std::string> choices = {};  // for strings; empty: any
  bool file = false;  // for strings: a path, relative to the configuration's folder; "": none
};
inline Allowed AtLeast(double min) { return {.min = min}; }
inline Allowed Above(double min) { return {.min = min, .above_min = true}; }
inline Allowed Between(double min, double max) { return {.min = min, .max = max}; }
// min <= value < max
inline Allowed Within(double min, double max) { return {.min = min, .max = max, .below_max = true}; }
// min < value <= max
inline Allowed AboveUpTo(double min, double max) { return {.min = min, .max = max, .above_min = true}; }
inline Allowed OneOf(std::vector<std::string> choices) { return {.choices = std::move(choices)}; }
// A path. Loading a configuration makes it absolute; that the file is there is for the plug-in to check.
inline Allowed FilePath() { return {.file = true}; }

// One described option.
struct OptionInfo {
  std::string name;
  std::string doc;            // one line
  OptionValue default_value;  // also tells the type
  Allowed allowed;
  bool required = false;  // no default makes sense

  std::string type() const;   // "integer", "number", "list of numbers", ...
  std::string range() const;  // "at least 0 and below 1", "one of a, b", "" if anything goes
};

// The option closest in spelling to `name`, or "" if nothing is close.
std::string NearestName(std::string_view name, const std::vector<std::string>& known);
// ", did you mean 'sgd'?" or "; known: a, b, c".
std::string Suggestion(std::string_view name, const std::vector<std::string>& known);

// Checks and converts `given` (an integer where a number is needed is one; a list of integers likewise) to
// the type and range of `info`. NaN is never good, infinity only where it is the default. Errors read "NAME:
// what is wrong".
absl::StatusOr<OptionValue> CheckOption(const OptionInfo& info, const OptionValue& given);

// The described fields of an options struct `S`.
template <typename S>
class OptionTable {
 public:
  template <typename T>
  void Add(std::string name, T S::*field, std::string doc, Allowed allowed, bool required) {
    OptionInfo info{std::move(name), std::move(doc), ToValue(S{}.*field), std::move(allowed), required};
    entries_.push_back({std::move(info), [field](S& options, const OptionValue& value) {
                          options.*field = FromValue<T>(value);
                        }});
  }
  std::vector<OptionInfo> infos() const {
    std::vector<OptionInfo> result;
    for (const Entry& entry : entries_) result.push_back(entry.info);
    return result;
  }
  // Defaults overlaid with `given`. Precondition: `given` was completed by CheckOptions.
  S Parse(const OptionMap& given) const {
    S options;
    for (const Entry& entry : entries_) {
      const auto found = given.find(entry.info.name);
      if (found != given.end()) entry.set(options, found->second);
    }
    return options;
  }

 private:
  struct Entry {
    OptionInfo info;
    std::function<void(S&, const OptionValue&)> set;
  };

  template <typename T>
  static OptionValue ToValue(const T& value) {
    if constexpr (std::is_integral_v<T> && !std::is_same_v<T, bool>) {
      return static_cast<int64_t>(value);
    } else if constexpr (std::is_floating_point_v<T>) {
      return static_cast<double>(value);
    } else {
      return value;
    }
  }
  template <typename T>
  static T FromValue(const OptionValue& value) {
    if constexpr (std::is_same_v<T, bool>) {
      return std::get<bool>(value);
    } else if constexpr (std::is_integral_v<T>) {
      return static_cast<T>(std::get<int64_t>(value));
    } else if constexpr (std::is_floating_point_v<T>) {
      return static_cast<T>(std::get<double>(value));
    } else {
      return std::get<T>(value);
    }
  }

  std::vector<Entry> entries_;
};

// `given` checked against `infos` and completed by defaults. Errors: unknown option (with the nearest name),
// wrong type, out of range, missing required option; each reads "OPTION: what is wrong".
absl::StatusOr<OptionMap> CheckOptions(const std::vector<OptionInfo>& infos, const OptionMap& given);

}  // namespace muster

#endif  // MUSTER_CORE_OPTIONS_H_
