#include "server/rounds/cohorts.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"

namespace muster {

std::string CohortsToJson(const std::vector<std::vector<ClientId>>& cohorts) {
  return nlohmann::json{{"rounds", cohorts}}.dump() + "\n";
}

absl::StatusOr<std::vector<std::vector<ClientId>>> CohortsFromJson(const std::string& json, int64_t rounds,
                                                                   int64_t clients, const std::string& name) {
  const nlohmann::json file = nlohmann::json::parse(json, nullptr, /*allow_exceptions=*/false);
  if (!file.is_object() || !file.contains("rounds") || !file["rounds"].is_array()) {
    return InvalidInput(absl::StrCat(name, R"(: must be JSON of the form {"rounds": [[client, ...], ...]})"));
  }
  if (static_cast<int64_t>(file["rounds"].size()) < rounds) {
    return InvalidInput(absl::StrCat(name, ": has cohorts for ", file["rounds"].size(),
                                     " rounds, federation.rounds asks for ", rounds));
  }
  std::vector<std::vector<ClientId>> cohorts;
  for (const auto& list : file["rounds"]) {
    const std::string where = absl::StrCat(name, ": round ", cohorts.size());
    if (!list.is_array() || list.empty())
      return InvalidInput(absl::StrCat(where, ": must be a list of clients"));
    std::vector<ClientId> cohort;
    for (const auto& id : list) {
      if (!id.is_number_integer() || id.get<int64_t>() < 0 || id.get<int64_t>() >= clients) {
        return InvalidInput(
            absl::StrCat(where, ": ", id.dump(), " is not a client; they are 0 to ", clients - 1));
      }
      cohort.push_back(id.get<int64_t>());
    }
    std::sort(cohort.begin(), cohort.end());
    if (std::adjacent_find(cohort.begin(), cohort.end()) != cohort.end()) {
      return InvalidInput(absl::StrCat(where, ": names a client twice"));
    }
    cohorts.push_back(std::move(cohort));
  }
  return cohorts;
}

}  // namespace muster
