#include "server/rounds/round_record.h"

#include <limits>
#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"

namespace muster {
namespace {

using Json = nlohmann::ordered_json;

// JSON has no NaN: the library writes null, and null is read as NaN.
double Number(const Json& json) {
  return json.is_null() ? std::numeric_limits<double>::quiet_NaN() : json.get<double>();
}
std::optional<double> OptionalNumber(const Json& json, const char* key) {
  const auto found = json.find(key);
  return found == json.end() ? std::nullopt : std::optional(Number(*found));
}

Json EvaluationToJson(const Evaluation& evaluation) {
  return {{"samples", evaluation.samples},
          {"loss", evaluation.loss},
          {"accuracy", evaluation.accuracy},
          {"macro_f1", evaluation.macro_f1},
          {"class_recall", evaluation.class_recall}};
}

Evaluation EvaluationFromJson(const Json& json) {
  Evaluation evaluation;
  evaluation.samples = json.at("samples").get<int64_t>();
  evaluation.loss = Number(json.at("loss"));
  evaluation.accuracy = Number(json.at("accuracy"));
  evaluation.macro_f1 = Number(json.at("macro_f1"));
  for (const Json& recall : json.at("class_recall")) evaluation.class_recall.push_back(Number(recall));
  return evaluation;
}

Json SearchToJson(const SearchRecord& search) {
  Json candidates = Json::array();
  for (const Candidate& candidate : search.candidates) {
    candidates.push_back({{"clients", candidate.clients}, {"loss", candidate.loss}});
  }
  return {{"reference_loss", search.reference_loss},
          {"candidates", std::move(candidates)},
          {"found", search.found},
          {"chosen", search.chosen},
          {"previous", search.previous},
          {"why", search.why}};
}

SearchRecord SearchFromJson(const Json& json) {
  SearchRecord search;
  search.reference_loss = Number(json.at("reference_loss"));
  for (const Json& candidate : json.at("candidates")) {
    search.candidates.push_back({candidate.at("clients").get<int64_t>(), Number(candidate.at("loss"))});
  }
  search.found = json.at("found").get<int64_t>();
  search.chosen = json.at("chosen").get<int64_t>();
  search.previous = json.at("previous").get<int64_t>();
  search.why = json.at("why").get<std::string>();
  return search;
}

Json FailureToJson(const ClientFailure& failure) {
  return {{"client", failure.client},
          {"stage", failure.stage},
          {"code", failure.code},
          {"message", failure.message},
          {"download_bytes", failure.download_bytes}};
}

ClientFailure FailureFromJson(const Json& json) {
  return {.client = json.at("client").get<ClientId>(),
          .stage = json.at("stage").get<std::string>(),
          .code = json.at("code").get<std::string>(),
          .message = json.at("message").get<std::string>(),
          .download_bytes = json.at("download_bytes").get<int64_t>()};
}

RoundRecord Parse(const Json& json) {
  RoundRecord record;
  record.round = json.at("round").get<int64_t>();
  record.reason = json.at("reason").get<std::string>();
  if (const auto changes = json.find("changes"); changes != json.end()) {
    record.changes = changes->get<std::vector<std::string>>();
  }
  record.cohort = json.at("cohort").get<std::vector<ClientId>>();
  record.accepted = json.at("accepted").get<int64_t>();
  for (const Json& failure : json.at("failures")) record.failures.push_back(FailureFromJson(failure));
  record.train_loss = OptionalNumber(json, "train_loss");
  record.upload_bytes = json.at("upload_bytes").get<int64_t>();
  record.download_bytes = json.at("download_bytes").get<int64_t>();
  record.learning_rate_factor = Number(json.at("learning_rate_factor"));
  record.update_norm = Number(json.at("update_norm"));
  if (const auto numbers = json.find("numbers"); numbers != json.end()) {
    for (const auto& [name, values] : numbers->items()) {
      for (const Json& value : values) record.numbers[name].push_back(Number(value));
    }
  }
  record.trust_loss = OptionalNumber(json, "trust_loss");
  if (const auto search = json.find("search"); search != json.end()) record.search = SearchFromJson(*search);
  if (const auto saved = json.find("saved_bytes"); saved != json.end())
    record.saved_bytes = saved->get<int64_t>();
  if (const auto test = json.find("test"); test != json.end()) record.test = EvaluationFromJson(*test);
  if (const auto clients = json.find("clients"); clients != json.end()) {
    for (const Json& client : *clients) {
      record.clients.push_back(
          {client.at("client").get<ClientId>(), EvaluationFromJson(client.at("evaluation"))});
    }
  }
  for (const auto& [phase, seconds] : json.at("seconds").items()) record.seconds[phase] = Number(seconds);
  const Json& totals = json.at("totals");
  record.totals.client_trainings = totals.at("client_trainings").get<int64_t>();
  record.totals.uploads = totals.at("uploads").get<int64_t>();
  record.totals.upload_bytes = totals.at("upload_bytes").get<int64_t>();
  record.totals.download_bytes = totals.at("download_bytes").get<int64_t>();
  record.totals.samples_trained = totals.at("samples_trained").get<int64_t>();
  return record;
}

}  // namespace

std::string ToJson(const RoundRecord& record) {
  Json json = {{"round", record.round}, {"reason", record.reason}, {"cohort", record.cohort}};
  if (!record.changes.empty()) json["changes"] = record.changes;
  json["accepted"] = record.accepted;
  json["failures"] = Json::array();
  for (const ClientFailure& failure : record.failures) json["failures"].push_back(FailureToJson(failure));
  if (record.train_loss) json["train_loss"] = *record.train_loss;
  json["upload_bytes"] = record.upload_bytes;
  json["download_bytes"] = record.download_bytes;
  json["learning_rate_factor"] = record.learning_rate_factor;
  json["update_norm"] = record.update_norm;
  if (!record.numbers.empty()) json["numbers"] = record.numbers;
  if (record.trust_loss) json["trust_loss"] = *record.trust_loss;
  if (record.search) json["search"] = SearchToJson(*record.search);
  if (record.saved_bytes) json["saved_bytes"] = *record.saved_bytes;
  if (record.test) json["test"] = EvaluationToJson(*record.test);
  if (!record.clients.empty()) {
    Json& clients = json["clients"] = Json::array();
    for (const ClientEvaluation& client : record.clients) {
      clients.push_back({{"client", client.client}, {"evaluation", EvaluationToJson(client.evaluation)}});
    }
  }
  json["seconds"] = record.seconds;
  json["totals"] = {{"client_trainings", record.totals.client_trainings},
                    {"uploads", record.totals.uploads},
                    {"upload_bytes", record.totals.upload_bytes},
                    {"download_bytes", record.totals.download_bytes},
                    {"samples_trained", record.totals.samples_trained}};
  // A client's own words need not be UTF-8.
  return json.dump(-1, ' ', /*ensure_ascii=*/false, Json::error_handler_t::replace);
}

absl::StatusOr<RoundRecord> RoundRecordFromJson(const std::string& text) {
  const Json json = Json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (!json.is_object()) return InvalidInput("round record: not a JSON object");
  try {
    return Parse(json);
  } catch (const Json::exception& error) {
    return InvalidInput(absl::StrCat("round record: ", error.what()));
  }
}

}  // namespace muster
