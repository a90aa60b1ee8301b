#include "server/rounds/live_change.h"

#include <nlohmann/json.hpp>
#include <utility>
#include <variant>

#include "absl/strings/str_cat.h"

namespace muster {
namespace {

using Json = nlohmann::json;

Json OptionToJson(const OptionValue& value) {
  return std::visit([](const auto& held) { return Json(held); }, value);
}

// Integers stay integers: the registry checks types.
absl::StatusOr<OptionValue> OptionFromJson(const Json& json) {
  if (json.is_boolean()) return json.get<bool>();
  if (json.is_number_integer()) return json.get<int64_t>();
  if (json.is_number()) return json.get<double>();
  if (json.is_string()) return json.get<std::string>();
  if (json.is_array() && !json.empty()) {
    if (json.front().is_string()) return json.get<std::vector<std::string>>();
    if (json.front().is_number_integer()) return json.get<std::vector<int64_t>>();
    return json.get<std::vector<double>>();
  }
  return InvalidInput("an option's value is of no known type");
}

absl::StatusOr<LiveChange> ChangeFromJson(const Json& json) {
  LiveChange change{.round = json.at("round").get<int64_t>(),
                    .deadline_seconds = {},
                    .learning_rate_factor = {},
                    .participation = {}};
  if (json.contains("deadline_seconds")) change.deadline_seconds = json["deadline_seconds"].get<double>();
  if (json.contains("learning_rate_factor")) {
    change.learning_rate_factor = json["learning_rate_factor"].get<double>();
  }
  if (json.contains("participation")) {
    const Json& plugin = json["participation"];
    PluginConfig config{.name = plugin.at("name").get<std::string>(), .options = {}};
    for (const auto& [name, value] : plugin.at("options").items()) {
      MUSTER_ASSIGN_OR_RETURN(config.options[name], OptionFromJson(value));
    }
    change.participation = std::move(config);
  }
  return change;
}

}  // namespace

std::vector<std::string> Describe(const LiveChange& change) {
  std::vector<std::string> lines;
  if (change.deadline_seconds) {
    lines.push_back(absl::StrCat("federation.deadline_seconds = ", *change.deadline_seconds));
  }
  if (change.learning_rate_factor) {
    lines.push_back(absl::StrCat("training.learning_rate_factor = ", *change.learning_rate_factor));
  }
  if (change.participation) {
    std::string line = absl::StrCat("federation.participation = {name: ", change.participation->name);
    for (const auto& [name, value] : change.participation->options) {
      absl::StrAppend(&line, ", ", name, ": ", ToString(value));
    }
    lines.push_back(line + "}");
  }
  return lines;
}

std::string ToJson(const std::vector<LiveChange>& changes) {
  Json list = Json::array();
  for (const LiveChange& change : changes) {
    Json json = {{"round", change.round}};
    if (change.deadline_seconds) json["deadline_seconds"] = *change.deadline_seconds;
    if (change.learning_rate_factor) json["learning_rate_factor"] = *change.learning_rate_factor;
    if (change.participation) {
      Json options = Json::object();
      for (const auto& [name, value] : change.participation->options) options[name] = OptionToJson(value);
      json["participation"] = {{"name", change.participation->name}, {"options", std::move(options)}};
    }
    list.push_back(std::move(json));
  }
  return list.dump();
}

absl::StatusOr<std::vector<LiveChange>> LiveChangesFromJson(const std::string& text) {
  const Json list = Json::parse(text, nullptr, /*allow_exceptions=*/false);
  std::vector<LiveChange> changes;
  try {
    if (!list.is_array()) return InvalidInput("the journal's live changes are damaged");
    for (const Json& json : list) {
      MUSTER_ASSIGN_OR_RETURN(LiveChange change, ChangeFromJson(json));
      changes.push_back(std::move(change));
    }
  } catch (const Json::exception& error) {
    return InvalidInput(absl::StrCat("the journal's live changes are damaged: ", error.what()));
  }
  return changes;
}

}  // namespace muster
