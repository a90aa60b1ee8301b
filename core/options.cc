#include "core/options.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace muster {
namespace {

std::string NumberToString(double value) {
  if (!std::isfinite(value)) return std::isnan(value) ? ".nan" : value > 0 ? ".inf" : "-.inf";
  // The shortest text that reads back to the same bits.
  for (int digits = 6; digits <= 17; ++digits) {
    char text[40];
    std::snprintf(text, sizeof text, "%.*g", digits, value);
    double back = 0;
    if (absl::SimpleAtod(text, &back) && back == value) {
      if (std::string_view(text).find_first_of(".e") == std::string_view::npos) {
        return absl::StrCat(text, ".0");
      }
      return text;
    }
  }
  return "";  // not reached: 17 digits are always enough
}

std::string Quoted(const std::string& text) {
  std::string quoted = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') {
      quoted += '\\';
      quoted += c;
    } else if (c == '\n') {
      quoted += "\\n";
    } else if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) {
      absl::StrAppend(&quoted, "\\x", absl::Hex(c, absl::kZeroPad2));
    } else {
      quoted += c;
    }
  }
  return quoted + '"';
}

std::string TextToString(const std::string& text) {
  static const std::vector<std::string> kReserved = {"true", "false", "yes", "no", "on",
                                                     "off",  "null",  "~",   "y",  "n"};
  std::string lower = text;
  std::transform(lower.begin(), lower.end(), lower.begin(), [](unsigned char c) { return std::tolower(c); });
  double number = 0;
  const bool plain =
      !text.empty() && std::find(kReserved.begin(), kReserved.end(), lower) == kReserved.end() &&
      !absl::SimpleAtod(text, &number) &&
      std::all_of(text.begin(), text.end(),
                  [](unsigned char c) {
                    return std::isalnum(c) != 0 || c == '_' || c == '-' || c == '/' || c == '.' || c == '+';
                  }) &&
      text[0] != '-' && text[0] != '.';
  return plain ? text : Quoted(text);
}

template <typename T>
std::string ListToString(const std::vector<T>& values) {
  return absl::StrCat(
      "[",
      absl::StrJoin(values, ", ",
                    [](std::string* out, const T& v) { out->append(ToString(OptionValue(v))); }),
      "]");
}

// Whole numbers as integers: "100000000" and not "1e+08".
std::string Plain(double value) {
  const bool whole = value == std::floor(value) && std::fabs(value) < 1e15;
  return whole ? absl::StrCat(static_cast<int64_t>(value)) : NumberToString(value);
}

absl::Status CheckNumber(const OptionInfo& info, double value) {
  const auto* const number = std::get_if<double>(&info.default_value);
  if (!std::isfinite(value) && !(number != nullptr && *number == value)) {
    return InvalidInput(absl::StrCat(info.name, ": ", NumberToString(value), " is not a finite number"));
  }
  const Allowed& allowed = info.allowed;
  const bool good = (allowed.above_min ? value > allowed.min : value >= allowed.min) &&
                    (allowed.below_max ? value < allowed.max : value <= allowed.max);
  if (good) return absl::OkStatus();
  return InvalidInput(
      absl::StrCat(info.name, ": ", Plain(value), " is out of range, must be ", info.range()));
}

std::string TypeOf(const OptionValue& value) {
  static const char* const kNames[] = {"true or false",    "integer",         "number",       "text",
                                       "list of integers", "list of numbers", "list of texts"};
  return kNames[value.index()];
}

std::string WithArticle(const OptionValue& value) {
  static const char* const kArticles[] = {"", "an ", "a ", "", "a ", "a ", "a "};
  return absl::StrCat(kArticles[value.index()], TypeOf(value));
}

absl::Status WrongType(const OptionInfo& info, const OptionValue& given) {
  const bool text = std::holds_alternative<std::string>(info.default_value) && given.index() < 3;
  if (const auto* const number = std::get_if<double>(&given);
      number != nullptr && std::holds_alternative<int64_t>(info.default_value) &&
      std::fabs(*number) >= 0x1.0p63) {
    return InvalidInput(
        absl::StrCat(info.name, ": ", NumberToString(*number), " does not fit a 64-bit integer"));
  }
  return InvalidInput(absl::StrCat(info.name, ": must be ", WithArticle(info.default_value), ", not ",
                                   Describe(given), text ? "; put it in quotes" : ""));
}

}  // namespace

std::string ToString(const OptionValue& value) {
  struct Visitor {
    std::string operator()(bool v) const { return v ? "true" : "false"; }
    std::string operator()(int64_t v) const { return absl::StrCat(v); }
    std::string operator()(double v) const { return NumberToString(v); }
    std::string operator()(const std::string& v) const { return TextToString(v); }
    std::string operator()(const std::vector<int64_t>& v) const { return ListToString(v); }
    std::string operator()(const std::vector<double>& v) const { return ListToString(v); }
    std::string operator()(const std::vector<std::string>& v) const { return ListToString(v); }
  };
  return std::visit(Visitor(), value);
}

std::string Describe(const OptionValue& value) {
  static const char* const kNames[] = {"",          "the integer ", "the number ", "text ",
                                       "the list ", "the list ",    "the list "};
  const auto* const text = std::get_if<std::string>(&value);
  return absl::StrCat(kNames[value.index()], text != nullptr ? Quoted(*text) : ToString(value));
}

std::string OptionInfo::type() const { return TypeOf(default_value); }

std::string OptionInfo::range() const {
  if (!allowed.choices.empty()) return absl::StrCat("one of ", absl::StrJoin(allowed.choices, ", "));
  const bool has_min = std::isfinite(allowed.min), has_max = std::isfinite(allowed.max);
  if (has_min && has_max && !allowed.above_min && !allowed.below_max) {
    return absl::StrCat("from ", Plain(allowed.min), " to ", Plain(allowed.max));
  }
  const std::string low = absl::StrCat(allowed.above_min ? "above " : "at least ", Plain(allowed.min));
  const std::string high = absl::StrCat(allowed.below_max ? "below " : "at most ", Plain(allowed.max));
  if (has_min && has_max) return absl::StrCat(low, " and ", high);
  return has_min ? low : has_max ? high : "";
}

std::string NearestName(std::string_view name, const std::vector<std::string>& known) {
  // Damerau-Levenshtein (adjacent transpositions count one), at most a third of the length away, at least 2.
  std::string best;
  size_t best_distance = std::max<size_t>(2, name.size() / 3) + 1;
  for (const std::string& candidate : known) {
    const size_t n = name.size(), m = candidate.size();
    std::vector<std::vector<size_t>> d(n + 1, std::vector<size_t>(m + 1));
    for (size_t i = 0; i <= n; ++i) d[i][0] = i;
    for (size_t j = 0; j <= m; ++j) d[0][j] = j;
    for (size_t i = 1; i <= n; ++i) {
      for (size_t j = 1; j <= m; ++j) {
        d[i][j] =
            std::min({d[i - 1][j] + 1, d[i][j - 1] + 1, d[i - 1][j - 1] + (name[i - 1] != candidate[j - 1])});
        if (i > 1 && j > 1 && name[i - 1] == candidate[j - 2] && name[i - 2] == candidate[j - 1]) {
          d[i][j] = std::min(d[i][j], d[i - 2][j - 2] + 1);
        }
      }
    }
    if (d[n][m] < best_distance && d[n][m] < std::max(n, m)) {
      best_distance = d[n][m];
      best = candidate;
    }
  }
  return best;
}

std::string Suggestion(std::string_view name, const std::vector<std::string>& known) {
  const std::string nearest = NearestName(name, known);
  if (!nearest.empty()) return absl::StrCat(", did you mean '", nearest, "'?");
  return known.empty() ? "" : absl::StrCat("; known: ", absl::StrJoin(known, ", "));
}

absl::StatusOr<OptionValue> CheckOption(const OptionInfo& info, const OptionValue& given) {
  OptionValue value = given;
  // What YAML cannot tell apart: 1 is a number too, and an empty list is a list of anything.
  if (std::holds_alternative<double>(info.default_value) && std::holds_alternative<int64_t>(given)) {
    value = static_cast<double>(std::get<int64_t>(given));
  }
  if (const auto* list = std::get_if<std::vector<int64_t>>(&given)) {
    if (std::holds_alternative<std::vector<double>>(info.default_value)) {
      value = std::vector<double>(list->begin(), list->end());
    } else if (list->empty() && std::holds_alternative<std::vector<std::string>>(info.default_value)) {
      value = std::vector<std::string>();
    }
  }
  if (value.index() != info.default_value.index()) {
    return WrongType(info, given);
  }
  if (const auto* number = std::get_if<double>(&value)) {
    MUSTER_RETURN_IF_ERROR(CheckNumber(info, *number));
  } else if (const auto* integer = std::get_if<int64_t>(&value)) {
    MUSTER_RETURN_IF_ERROR(CheckNumber(info, static_cast<double>(*integer)));
  } else if (const auto* integers = std::get_if<std::vector<int64_t>>(&value)) {
    for (const int64_t v : *integers) MUSTER_RETURN_IF_ERROR(CheckNumber(info, static_cast<double>(v)));
  } else if (const auto* numbers = std::get_if<std::vector<double>>(&value)) {
    for (const double v : *numbers) MUSTER_RETURN_IF_ERROR(CheckNumber(info, v));
  } else if (const auto* text = std::get_if<std::string>(&value);
             text != nullptr && !info.allowed.choices.empty()) {
    const auto& choices = info.allowed.choices;
    if (std::find(choices.begin(), choices.end(), *text) == choices.end()) {
      return InvalidInput(absl::StrCat(info.name, ": unknown '", *text, "'", Suggestion(*text, choices)));
    }
  }
  return value;
}

absl::StatusOr<OptionMap> CheckOptions(const std::vector<OptionInfo>& infos, const OptionMap& given) {
  OptionMap result;
  std::vector<std::string> names;
  for (const OptionInfo& info : infos) {
    names.push_back(info.name);
    const auto found = given.find(info.name);
    if (found != given.end()) {
      MUSTER_ASSIGN_OR_RETURN(result[info.name], CheckOption(info, found->second));
    } else if (info.required) {
      return InvalidInput(
          absl::StrCat(info.name, ": is missing; it must be given (", info.type(), ": ", info.doc, ")"));
    } else {
      result[info.name] = info.default_value;
    }
  }
  for (const auto& [name, value] : given) {
    if (!result.contains(name)) {
      return InvalidInput(absl::StrCat(name, ": unknown option",
                                       names.empty() ? "; it takes none" : Suggestion(name, names)));
    }
  }
  return result;
}

}  // namespace muster
