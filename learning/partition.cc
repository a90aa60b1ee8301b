#include "learning/partition.h"

#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"

namespace muster {
namespace {

constexpr char kForm[] = "write {\"clients\": [[sample, ...], ...]}";

absl::StatusOr<nlohmann::json> ParseJson(const std::string& text, const std::string& name) {
  try {
    return nlohmann::json::parse(text);
  } catch (const nlohmann::json::parse_error& error) {
    return InvalidInput(absl::StrCat(name, ": not valid JSON at byte ", error.byte, "; ", kForm));
  } catch (const nlohmann::json::exception&) {  // a number that no double holds
    return InvalidInput(absl::StrCat(name, ": not valid JSON; ", kForm));
  }
}

}  // namespace

void Partition::AddClient(std::span<const uint32_t> samples) {
  samples_.insert(samples_.end(), samples.begin(), samples.end());
  offsets_.push_back(samples_.size());
}

std::string PartitionToJson(const Partition& partition) {
  std::string json = "{\"clients\": [";
  for (int64_t client = 0; client < partition.clients(); ++client) {
    absl::StrAppend(&json, client > 0 ? ",\n[" : "\n[");
    const char* separator = "";
    for (const uint32_t sample : partition.samples(client)) {
      absl::StrAppend(&json, separator, sample);
      separator = ", ";
    }
    json += ']';
  }
  return json + "\n]}\n";
}

absl::StatusOr<Partition> PartitionFromJson(const std::string& json, int64_t num_samples,
                                            const std::string& name) {
  MUSTER_ASSIGN_OR_RETURN(const nlohmann::json root, ParseJson(json, name));
  if (!root.is_object() || !root.contains("clients") || root.size() != 1) {
    return InvalidInput(absl::StrCat(name, ": must be an object with the one key 'clients'; ", kForm));
  }
  const nlohmann::json& clients = root["clients"];
  if (!clients.is_array() || clients.empty()) {
    return InvalidInput(absl::StrCat(name, ": 'clients' must be a list of at least one client; ", kForm));
  }
  Partition partition;
  std::vector<uint32_t> samples;
  for (const nlohmann::json& client : clients) {
    const int64_t number = partition.clients();
    if (!client.is_array()) {
      return InvalidInput(absl::StrCat(name, ": client ", number, " must be a list of samples; ", kForm));
    }
    samples.clear();
    for (const nlohmann::json& sample : client) {
      if (!sample.is_number_unsigned() || sample.get<uint64_t>() >= static_cast<uint64_t>(num_samples)) {
        return InvalidInput(absl::StrCat(
            name, ": entry ", samples.size(), " of client ", number,
            " is not a sample of the training set; write whole numbers from 0 to ", num_samples - 1));
      }
      samples.push_back(sample.get<uint32_t>());
    }
    partition.AddClient(samples);
  }
  return partition;
}

}  // namespace muster
