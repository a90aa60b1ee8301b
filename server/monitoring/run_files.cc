#include "server/monitoring/run_files.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <limits>
#include <nlohmann/json.hpp>
#include <numeric>
#include <type_traits>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/file.h"

namespace muster {
namespace {

using nlohmann::ordered_json;

constexpr int64_t kMaxListedClients = 2000;
constexpr int64_t kThinnedClients = 200;
constexpr int64_t kMaxBins = 20;

std::string Dump(const ordered_json& json) {
  // A name may hold bytes that are not UTF-8; they must not stop a run that has finished.
  return json.dump(-1, ' ', /*ensure_ascii=*/false, ordered_json::error_handler_t::replace);
}

// One top-level key a line: long lists stay on one.
std::string DumpByKey(const ordered_json& object) {
  std::string text = "{";
  for (const auto& [key, value] : object.items()) {
    absl::StrAppend(&text, text.size() > 1 ? "," : "", "\n  \"", key, "\": ", Dump(value));
  }
  return absl::StrCat(text, "\n}\n");
}

// Reads the values of one JSON object; remembers the first that is missing or of the wrong type.
class Reader {
 public:
  Reader(const ordered_json& object, std::string prefix = "") : object_(object), prefix_(std::move(prefix)) {}

  template <typename T>
  void Get(const char* key, T& value) {
    if (!error_.empty()) return;
    const auto found = object_.is_object() ? object_.find(key) : object_.end();
    if (!object_.is_object() || found == object_.end()) {
      error_ = absl::StrCat("key '", prefix_, key, "' is missing");
    } else if (!Convert(*found, value)) {
      error_ = absl::StrCat("key '", prefix_, key, "' has a value of the wrong type");
    }
  }
  // Reads with `read(reader)` the object at `key`, unless it is null.
  template <typename T>
  void GetObject(const char* key, std::optional<T>& value, void (*read)(Reader&, T&)) {
    ordered_json inner;
    Get(key, inner);
    if (!error_.empty() || inner.is_null()) return;
    Reader reader(inner, absl::StrCat(prefix_, key, "."));
    read(reader, value.emplace());
    error_ = reader.error_;
  }
  const std::string& error() const { return error_; }

 private:
  template <typename T>
  static bool Convert(const ordered_json& json, T& value) {
    if constexpr (std::is_same_v<T, ordered_json>) {
      value = json;
      return true;
    } else if constexpr (std::is_same_v<T, std::string>) {
      if (json.is_string()) value = json.get<std::string>();
      return json.is_string();
    } else if constexpr (std::is_same_v<T, double>) {
      // JSON has no NaN: a loss that is none is written as null.
      if (json.is_number()) value = json.get<double>();
      if (json.is_null()) value = std::numeric_limits<double>::quiet_NaN();
      return json.is_number() || json.is_null();
    } else if constexpr (std::is_integral_v<T>) {
      if (json.is_number_integer()) value = json.get<T>();
      return json.is_number_integer();
    } else {  // a list
      if (!json.is_array()) return false;
      value.clear();
      for (const ordered_json& element : json) {
        if (!Convert(element, value.emplace_back())) return false;
      }
      return true;
    }
  }

  const ordered_json& object_;
  const std::string prefix_;
  std::string error_;
};

absl::StatusOr<ordered_json> ReadJson(const std::string& path) {
  MUSTER_ASSIGN_OR_RETURN(const std::string text, ReadFile(path));
  ordered_json json = ordered_json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (!json.is_object()) {
    return InvalidInput(absl::StrCat(path, ": not a JSON object; the file is damaged, copy the run anew"));
  }
  return json;
}

absl::Status Damaged(const std::string& path, const std::string& error) {
  return InvalidInput(absl::StrCat(path, ": ", error, "; the file is damaged or of another program"));
}

std::string DataPath(const std::string& directory) { return absl::StrCat(directory, "/data.json"); }
std::string SummaryPath(const std::string& directory) { return absl::StrCat(directory, "/summary.json"); }

ordered_json ToJson(const std::optional<RoundMetrics>& metrics) {
  if (!metrics) return nullptr;
  return {{"round", metrics->round},
          {"loss", metrics->loss},
          {"accuracy", metrics->accuracy},
          {"macro_f1", metrics->macro_f1}};
}

void ReadMetrics(Reader& reader, RoundMetrics& metrics) {
  reader.Get("round", metrics.round);
  reader.Get("loss", metrics.loss);
  reader.Get("accuracy", metrics.accuracy);
  reader.Get("macro_f1", metrics.macro_f1);
}

bool Better(const Evaluation& test, const RoundMetrics& best) {
  if (test.class_recall.empty()) return test.loss < best.loss || std::isnan(best.loss);
  return test.accuracy > best.accuracy;
}

}  // namespace

void DataSummary::Thin() {
  if (client_samples.empty()) return;
  clients = static_cast<int64_t>(client_samples.size());
  const auto [least, most] = std::minmax_element(client_samples.begin(), client_samples.end());
  const int64_t from = *least;
  const int64_t width = (*most - from) / kMaxBins + 1;
  samples_histogram.clear();
  for (int64_t begin = from; begin <= *most; begin += width)
    samples_histogram.push_back({begin, begin + width - 1, 0});
  for (const int64_t count : client_samples)
    ++samples_histogram[static_cast<size_t>((count - from) / width)].clients;
  if (clients > kMaxListedClients) {
    client_samples.resize(kThinnedClients);
    if (label_counts.size() > kThinnedClients) label_counts.resize(kThinnedClients);
  }
}

RunSummary Summarize(std::span<const RoundRecord> rounds) {
  RunSummary summary;
  summary.rounds = static_cast<int64_t>(rounds.size());
  for (const RoundRecord& record : rounds) {
    summary.participants.push_back(static_cast<int64_t>(record.cohort.size()));
    const auto total = record.seconds.find("total");
    if (total != record.seconds.end()) summary.training_seconds += total->second;
    if (!record.test) continue;
    summary.final = {record.round, record.test->loss, record.test->accuracy, record.test->macro_f1};
    if (!summary.best || Better(*record.test, *summary.best)) summary.best = summary.final;
  }
  if (!rounds.empty()) summary.totals = rounds.back().totals;
  return summary;
}

std::string Run::name() const {
  if (summary && !summary->name.empty()) return summary->name;
  const std::filesystem::path path = std::filesystem::path(directory).lexically_normal();
  return (path.has_filename() ? path : path.parent_path()).filename().string();
}

absl::Status WriteDataSummary(const std::string& directory, DataSummary data) {
  data.Thin();
  ordered_json bins = ordered_json::array();
  for (const DataSummary::Bin& bin : data.samples_histogram) {
    bins.push_back({{"from", bin.from}, {"to", bin.to}, {"clients", bin.clients}});
  }
  const ordered_json json = {{"dataset", data.dataset},
                             {"train_samples", data.train_samples},
                             {"test_samples", data.test_samples},
                             {"classes", data.classes},
                             {"clients", data.clients},
                             {"samples_histogram", bins},
                             {"client_samples", data.client_samples},
                             {"label_counts", data.label_counts}};
  return WriteFileAtomic(DataPath(directory), DumpByKey(json));
}

absl::StatusOr<DataSummary> ReadDataSummary(const std::string& directory) {
  const std::string path = DataPath(directory);
  MUSTER_ASSIGN_OR_RETURN(const ordered_json json, ReadJson(path));
  DataSummary data;
  std::vector<ordered_json> bins;
  Reader reader(json);
  reader.Get("dataset", data.dataset);
  reader.Get("train_samples", data.train_samples);
  reader.Get("test_samples", data.test_samples);
  reader.Get("classes", data.classes);
  reader.Get("clients", data.clients);
  reader.Get("samples_histogram", bins);
  reader.Get("client_samples", data.client_samples);
  reader.Get("label_counts", data.label_counts);
  if (!reader.error().empty()) return Damaged(path, reader.error());
  for (const ordered_json& bin : bins) {
    Reader bin_reader(bin, "samples_histogram.");
    DataSummary::Bin& out = data.samples_histogram.emplace_back();
    bin_reader.Get("from", out.from);
    bin_reader.Get("to", out.to);
    bin_reader.Get("clients", out.clients);
    if (!bin_reader.error().empty()) return Damaged(path, bin_reader.error());
  }
  for (const std::vector<int64_t>& counts : data.label_counts) {
    if (counts.size() != data.classes.size())
      return Damaged(path, "'label_counts' and 'classes' do not match");
  }
  return data;
}

absl::Status WriteRunSummary(const std::string& directory, const RunSummary& summary) {
  ordered_json json = {{"name", summary.name},
                       {"seed", summary.seed},
                       {"finish_reason", summary.finish_reason},
                       {"rounds", summary.rounds},
                       {"final", ToJson(summary.final)},
                       {"best", ToJson(summary.best)},
                       {"client_trainings", summary.totals.client_trainings},
                       {"uploads", summary.totals.uploads},
                       {"upload_bytes", summary.totals.upload_bytes},
                       {"download_bytes", summary.totals.download_bytes},
                       {"samples_trained", summary.totals.samples_trained},
                       {"participants", summary.participants},
                       {"wall_seconds", summary.wall_seconds},
                       {"training_seconds", summary.training_seconds},
                       {"model_sha256", summary.model_sha256},
                       {"parameters", summary.parameters},
                       {"muster_version", summary.muster_version},
                       {"libtorch_version", summary.libtorch_version}};
  if (!summary.adversaries.empty()) json["adversaries"] = summary.adversaries;
  return WriteFileAtomic(SummaryPath(directory), DumpByKey(json));
}

absl::StatusOr<RunSummary> ReadRunSummary(const std::string& directory) {
  const std::string path = SummaryPath(directory);
  MUSTER_ASSIGN_OR_RETURN(const ordered_json json, ReadJson(path));
  RunSummary summary;
  Reader reader(json);
  reader.Get("name", summary.name);
  reader.Get("seed", summary.seed);
  reader.Get("finish_reason", summary.finish_reason);
  reader.Get("rounds", summary.rounds);
  reader.GetObject("final", summary.final, ReadMetrics);
  reader.GetObject("best", summary.best, ReadMetrics);
  reader.Get("client_trainings", summary.totals.client_trainings);
  reader.Get("uploads", summary.totals.uploads);
  reader.Get("upload_bytes", summary.totals.upload_bytes);
  reader.Get("download_bytes", summary.totals.download_bytes);
  reader.Get("samples_trained", summary.totals.samples_trained);
  reader.Get("participants", summary.participants);
  reader.Get("wall_seconds", summary.wall_seconds);
  reader.Get("training_seconds", summary.training_seconds);
  reader.Get("model_sha256", summary.model_sha256);
  reader.Get("parameters", summary.parameters);
  reader.Get("muster_version", summary.muster_version);
  reader.Get("libtorch_version", summary.libtorch_version);
  if (const auto adversaries = json.find("adversaries"); adversaries != json.end()) {
    Reader groups(*adversaries, "adversaries.");
    for (const auto& [name, clients] : adversaries->items())
      groups.Get(name.c_str(), summary.adversaries[name]);
    if (!groups.error().empty()) return Damaged(path, groups.error());
  }
  if (!reader.error().empty()) return Damaged(path, reader.error());
  return summary;
}

absl::StatusOr<std::vector<RoundRecord>> ReadRounds(const std::string& directory, bool may_be_torn) {
  const std::string path = absl::StrCat(directory, "/rounds.jsonl");
  MUSTER_ASSIGN_OR_RETURN(const std::string text, ReadFile(path));
  std::vector<RoundRecord> rounds;
  for (size_t begin = 0; begin < text.size();) {
    const size_t newline = text.find('\n', begin);
    const size_t end = std::min(newline, text.size());
    if (newline == std::string::npos && may_be_torn) break;
    const std::string where = absl::StrCat(path, ":", rounds.size() + 1);
    absl::StatusOr<RoundRecord> record = RoundRecordFromJson(text.substr(begin, end - begin));
    if (!record.ok())
      return InvalidInput(absl::StrCat(where, ": damaged record: ", Message(record.status())));
    if (record->round != static_cast<int64_t>(rounds.size())) {
      return InvalidInput(absl::StrCat(where, ": round ", record->round, " where round ", rounds.size(),
                                       " should be; `muster resume` writes the file anew from the journal"));
    }
    rounds.push_back(*std::move(record));
    begin = end + 1;
  }
  return rounds;
}

absl::StatusOr<Run> ReadRun(const std::string& directory) {
  Run run;
  run.directory = directory;
  absl::StatusOr<std::string> config = ReadFile(absl::StrCat(directory, "/config.yaml"));
  if (absl::IsNotFound(config.status())) {
    return absl::NotFoundError(absl::StrCat(
        directory,
        ": not a run directory, it has no config.yaml; give the folder that a run wrote (its --out)"));
  }
  MUSTER_RETURN_IF_ERROR(config.status());
  run.config = *std::move(config);

  absl::StatusOr<RunSummary> summary = ReadRunSummary(directory);
  if (summary.ok()) run.summary = *std::move(summary);
  if (!summary.ok() && !absl::IsNotFound(summary.status())) return summary.status();

  absl::StatusOr<DataSummary> data = ReadDataSummary(directory);
  if (data.ok()) run.data = *std::move(data);
  if (!data.ok() && !absl::IsNotFound(data.status())) return data.status();

  absl::StatusOr<std::vector<RoundRecord>> rounds = ReadRounds(directory, /*may_be_torn=*/!run.summary);
  if (rounds.ok()) run.rounds = *std::move(rounds);
  if (!rounds.ok() && !absl::IsNotFound(rounds.status())) return rounds.status();
  return run;
}

}  // namespace muster
