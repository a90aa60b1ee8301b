#include "server/monitoring/report.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <nlohmann/json.hpp>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "server/monitoring/comparison.h"
#include "server/monitoring/page_assets.h"
#include "server/monitoring/units.h"

namespace muster {
namespace {

using Json = nlohmann::ordered_json;

constexpr size_t kMaxPoints = 1500;  // of a curve
constexpr size_t kMaxFailureBars = 150;
constexpr size_t kMaxListedClients = 100;  // in the chart of labels by client
constexpr size_t kMaxListedFailures = 50;  // kinds of failure in the table
constexpr size_t kAccuracyBins = 20;
constexpr size_t kMaxToldCurves = 20;
constexpr size_t kToldQuantiles[] = {0, 10, 50, 90, 100};  // per cent
constexpr size_t kMaxQuote = 300;                          // bytes of a client's own words
constexpr size_t kMaxTitle = 80;                           // bytes; a longer list of runs is only counted

// Six significant digits: more only make the page longer. null for NaN.
Json Short(double value) {
  if (!std::isfinite(value) || value == 0) return std::isfinite(value) ? Json(0) : Json(nullptr);
  const double scale = std::pow(10.0, 5 - std::floor(std::log10(std::abs(value))));
  const double rounded = std::round(value * scale) / scale;
  return std::isfinite(rounded) ? Json(rounded) : Json(value);
}

// At most kMaxPoints indices of [0, size), evenly spread, with the first and the last.
std::vector<size_t> Thinned(size_t size) {
  const size_t count = std::min(size, kMaxPoints);
  std::vector<size_t> indices;
  for (size_t i = 0; i < count; ++i) indices.push_back(count == 1 ? 0 : i * (size - 1) / (count - 1));
  return indices;
}

// A curve as {column: [values]}: columns `round` and `bytes` (uploaded so far), and those that `columns`
// makes of a record.
using Column = std::pair<const char*, Json (*)(const RoundRecord&)>;
Json Curve(const std::vector<const RoundRecord*>& records, std::initializer_list<Column> columns) {
  Json curve = {{"round", Json::array()}, {"bytes", Json::array()}};
  for (const Column& column : columns) curve[column.first] = Json::array();
  for (const size_t i : Thinned(records.size())) {
    const RoundRecord& record = *records[i];
    curve["round"].push_back(record.round + 1);
    curve["bytes"].push_back(record.totals.upload_bytes);
    for (const Column& column : columns) curve[column.first].push_back(column.second(record));
  }
  return curve;
}

template <typename Condition>
std::vector<const RoundRecord*> Where(const Run& run, Condition condition) {
  std::vector<const RoundRecord*> records;
  for (const RoundRecord& record : run.rounds) {
    if (condition(record)) records.push_back(&record);
  }
  return records;
}

Json Tile(std::string_view label, const std::string& value, const std::string& note = "") {
  return {{"label", label}, {"value", value}, {"note", note}};
}

Json Tiles(const Run& run) {
  const RunSummary summary = SummaryOf(run);
  const bool classes = LearnsClasses(run);
  Json tiles = Json::array();
  const auto metric = [&](const char* what, const std::optional<RoundMetrics>& m) {
    const std::string label = absl::StrCat(what, classes ? " accuracy" : " loss");
    if (!m) return tiles.push_back(Tile(label, "\u2013", "not evaluated"));
    const std::string note =
        classes ? absl::StrCat("loss ", FormatLoss(m->loss), ", macro F1 ", FormatLoss(m->macro_f1))
                : "on the test set";
    tiles.push_back(Tile(label, classes ? FormatShare(m->accuracy) : FormatLoss(m->loss),
                         absl::StrCat("round ", m->round + 1, ", ", note)));
  };
  metric("Final", summary.final);
  metric("Best", summary.best);
  tiles.push_back(
      Tile("Rounds", FormatCount(summary.rounds),
           run.summary ? absl::StrCat("ended by: ", summary.finish_reason) : "so far, not finished"));
  tiles.push_back(Tile("Client trainings", FormatCount(summary.totals.client_trainings),
                       absl::StrCat(FormatCount(summary.totals.samples_trained), " samples")));
  tiles.push_back(Tile("Uploaded", FormatBytes(static_cast<double>(summary.totals.upload_bytes)),
                       absl::StrCat(FormatCount(summary.totals.uploads), " updates")));
  tiles.push_back(Tile("Downloaded", FormatBytes(static_cast<double>(summary.totals.download_bytes))));
  tiles.push_back(Tile("Time", FormatSeconds(summary.wall_seconds),
                       absl::StrCat("rounds ", FormatSeconds(summary.training_seconds))));
  if (!summary.model_sha256.empty()) {
    tiles.push_back(Tile("Model", summary.model_sha256.substr(0, 10),
                         absl::StrCat(FormatCount(summary.parameters), " parameters, SHA-256")));
  }
  return tiles;
}

Json Facts(const Run& run) {
  Json facts = Json::array();
  if (run.data) {
    facts.push_back(run.data->dataset);
    facts.push_back(absl::StrCat(FormatCount(run.data->train_samples), " training and ",
                                 FormatCount(run.data->test_samples), " test samples"));
    facts.push_back(absl::StrCat(FormatCount(run.data->clients), " clients"));
  }
  if (run.summary) {
    facts.push_back(absl::StrCat("seed ", run.summary->seed));
    if (!run.summary->muster_version.empty())
      facts.push_back(absl::StrCat("Muster ", run.summary->muster_version));
    if (!run.summary->libtorch_version.empty()) {
      facts.push_back(absl::StrCat("LibTorch ", run.summary->libtorch_version));
    }
  } else {
    facts.push_back("not finished");
  }
  return facts;
}

Json Searches(const Run& run) {
  Json searches = Json::array();
  for (const RoundRecord& record : run.rounds) {
    if (!record.search) continue;
    Json candidates = Json::array();
    for (const Candidate& candidate : record.search->candidates) {
      candidates.push_back(Json::array({Json(candidate.clients), Short(candidate.loss)}));
    }
    searches.push_back(
        {{"round", record.round + 1},
         {"bytes", record.totals.upload_bytes},
         {"previous", record.search->previous},
         {"reference", Short(record.search->reference_loss)},
         {"candidates", candidates},
         {"found", record.search->found},
         {"chosen", record.search->chosen},
         {"why", record.search->why},
         {"saved",
          record.saved_bytes ? Json(FormatBytes(static_cast<double>(*record.saved_bytes))) : Json("")}});
  }
  return searches;
}

// Failures by stage, summed over groups of consecutive rounds, and the kinds of failure, the most frequent
// first.
Json Failures(const Run& run) {
  const size_t group = std::max<size_t>(1, (run.rounds.size() + kMaxFailureBars - 1) / kMaxFailureBars);
  const size_t groups = (run.rounds.size() + group - 1) / group;
  std::map<std::string, std::vector<int64_t>> stages;
  struct Kind {
    std::string stage, code, message;
    int64_t count = 0;
  };
  std::map<std::pair<std::string, std::string>, Kind> kinds;
  int64_t total = 0;
  for (size_t i = 0; i < run.rounds.size(); ++i) {
    for (const ClientFailure& failure : run.rounds[i].failures) {
      ++total;
      std::vector<int64_t>& counts = stages[failure.stage];
      counts.resize(groups);
      ++counts[i / group];
      Kind& kind = kinds[{failure.stage, failure.code}];
      if (kind.count++ == 0) {
        kind = {failure.stage, failure.code, failure.message.substr(0, kMaxQuote), 1};
      }
    }
  }
  if (total == 0) return nullptr;
  std::vector<Kind> sorted;
  for (auto& [key, kind] : kinds) sorted.push_back(std::move(kind));
  std::stable_sort(sorted.begin(), sorted.end(),
                   [](const Kind& a, const Kind& b) { return a.count > b.count; });
  if (sorted.size() > kMaxListedFailures) sorted.resize(kMaxListedFailures);
  Json table = Json::array();
  for (const Kind& kind : sorted)
    table.push_back(Json::array({kind.stage, kind.code, kind.count, kind.message}));
  Json labels = Json::array();
  for (size_t g = 0; g < groups; ++g) {
    const size_t last = std::min(run.rounds.size(), (g + 1) * group);
    labels.push_back(group == 1 ? absl::StrCat(last) : absl::StrCat(g * group + 1, "\u2013", last));
  }
  return {{"total", total}, {"rounds", labels}, {"stages", stages}, {"kinds", table}};
}

Json Data(const Run& run) {
  if (!run.data) return nullptr;
  const DataSummary& data = *run.data;
  Json bins = Json::array();
  for (const DataSummary::Bin& bin : data.samples_histogram) {
    bins.push_back(Json::array({bin.from, bin.to, bin.clients}));
  }
  const size_t listed = std::min(data.label_counts.size(), kMaxListedClients);
  return {{"clients", data.clients},
          {"classes", data.classes},
          {"labels",
           std::vector(data.label_counts.begin(), data.label_counts.begin() + static_cast<long>(listed))},
          {"samples", bins}};
}

Json Recall(const Run& run) {
  for (auto record = run.rounds.rbegin(); record != run.rounds.rend(); ++record) {
    if (!record->test || record->test->class_recall.empty()) continue;
    Json values = Json::array();
    Json names = Json::array();
    for (size_t c = 0; c < record->test->class_recall.size(); ++c) {
      values.push_back(Short(record->test->class_recall[c]));
      names.push_back(run.data && c < run.data->classes.size() ? run.data->classes[c]
                                                               : absl::StrCat("class ", c));
    }
    return {{"round", record->round + 1}, {"classes", names}, {"values", values}};
  }
  return nullptr;
}

// How accurate the model is on each client's own data, at the last round that asked.
Json ClientAccuracy(const Run& run) {
  for (auto record = run.rounds.rbegin(); record != run.rounds.rend(); ++record) {
    if (record->clients.empty()) continue;
    std::vector<double> accuracies;
    for (const ClientEvaluation& client : record->clients) {
      if (client.evaluation.samples > 0 && !client.evaluation.class_recall.empty()) {
        accuracies.push_back(client.evaluation.accuracy);
      }
    }
    if (accuracies.empty()) return nullptr;
    std::sort(accuracies.begin(), accuracies.end());
    std::vector<int64_t> bins(kAccuracyBins);
    for (const double accuracy : accuracies) {
      const double at = std::clamp(accuracy, 0.0, 1.0) * kAccuracyBins;
      ++bins[std::min(kAccuracyBins - 1, static_cast<size_t>(at))];
    }
    const auto quantile = [&](double share) {
      return FormatShare(accuracies[static_cast<size_t>(share * static_cast<double>(accuracies.size() - 1))]);
    };
    return {{"round", record->round + 1}, {"clients", accuracies.size()}, {"bins", bins},
            {"worst", quantile(0)},       {"p10", quantile(0.1)},         {"median", quantile(0.5)},
            {"p90", quantile(0.9)}};
  }
  return nullptr;
}

// What the server's method told round by round (group weights, a step size): a chart for every name, with a
// curve for every entry, or with quantiles where there are too many entries to tell apart.
Json Told(const Run& run) {
  std::map<std::string, std::vector<const RoundRecord*>> tellers;
  for (const RoundRecord& record : run.rounds) {
    for (const auto& [name, values] : record.numbers) {
      if (!values.empty()) tellers[name].push_back(&record);
    }
  }
  Json charts = Json::array();
  for (const auto& [name, records] : tellers) {
    const size_t entries = records.back()->numbers.at(name).size();
    const bool quantiles = entries > kMaxToldCurves;
    std::vector<std::string> labels;
    if (quantiles) {
      labels = {"lowest", "lowest tenth up to", "median", "highest tenth from", "highest"};
    } else {
      for (size_t i = 0; i < entries; ++i) {
        const bool classes = run.data && run.data->classes.size() == entries;
        labels.push_back(classes ? run.data->classes[i] : entries == 1 ? name : absl::StrCat(i));
      }
    }
    Json rounds = Json::array();
    std::vector<Json> curves(labels.size(), Json::array());
    for (const size_t r : Thinned(records.size())) {
      std::vector<double> values = records[r]->numbers.at(name);
      if (quantiles) std::sort(values.begin(), values.end());
      rounds.push_back(records[r]->round + 1);
      for (size_t i = 0; i < curves.size(); ++i) {
        const size_t at = quantiles ? kToldQuantiles[i] * (values.size() - 1) / 100 : i;
        curves[i].push_back(at < values.size() ? Short(values[at]) : Json(nullptr));
      }
    }
    charts.push_back({{"name", name}, {"round", rounds}, {"labels", labels}, {"curves", curves}});
  }
  return charts;
}

Json RunJson(const Run& run, const std::string& label) {
  const auto evaluated = Where(run, [](const RoundRecord& r) { return r.test.has_value(); });
  const auto trained = Where(run, [](const RoundRecord& r) { return r.train_loss.has_value(); });
  const auto all = Where(run, [](const RoundRecord&) { return true; });
  return {
      {"label", label},
      {"finished", run.summary.has_value()},
      {"model_sha256", run.summary ? run.summary->model_sha256 : ""},
      {"classes", LearnsClasses(run)},
      {"facts", Facts(run)},
      {"tiles", Tiles(run)},
      {"test", Curve(evaluated, {{"accuracy", [](const RoundRecord& r) { return Short(r.test->accuracy); }},
                                 {"loss", [](const RoundRecord& r) { return Short(r.test->loss); }}})},
      {"train", Curve(trained, {{"loss", [](const RoundRecord& r) { return Short(*r.train_loss); }}})},
      {"cohort", Curve(all, {{"asked", [](const RoundRecord& r) { return Json(r.cohort.size()); }},
                             {"accepted", [](const RoundRecord& r) { return Json(r.accepted); }}})},
      {"searches", Searches(run)},
      {"told", Told(run)},
      {"failures", Failures(run)},
      {"data", Data(run)},
      {"recall", Recall(run)},
      {"client_accuracy", ClientAccuracy(run)},
      {"config", run.config},
  };
}

std::string EscapeHtml(const std::string& text) {
  std::string out;
  for (const char c : text) {
    switch (c) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '"':
        out += "&quot;";
        break;
      case '\'':
        out += "&#39;";
        break;
      default:
        out += c;
    }
  }
  return out;
}

// JSON that may stand inside a script element: nothing in it can end the element or open a comment.
std::string ScriptJson(const Json& json) {
  const std::string text = json.dump(-1, ' ', /*ensure_ascii=*/false, Json::error_handler_t::replace);
  std::string out;
  out.reserve(text.size());
  for (const char c : text) {
    if (c == '<') {
      out += "\\u003c";
    } else {
      out += c;
    }
  }
  return out;
}

// `html` with every {{NAME}} replaced in one pass: what a part contains is never replaced again.
std::string FillIn(std::string_view html, const std::map<std::string, std::string_view>& parts) {
  std::string out;
  while (true) {
    const size_t open = html.find("{{");
    const size_t close = html.find("}}", open);
    if (open == std::string_view::npos || close == std::string_view::npos) break;
    out.append(html.substr(0, open));
    out.append(parts.at(std::string(html.substr(open + 2, close - open - 2))));
    html.remove_prefix(close + 2);
  }
  out.append(html);
  return out;
}

}  // namespace

absl::StatusOr<std::string> RenderReport(std::span<const Run> runs) {
  if (runs.empty()) return InvalidInput("report: no runs given; name one or more run directories");
  const std::vector<std::string> labels = RunLabels(runs);
  Json json = {{"runs", Json::array()}, {"comparison", nullptr}};
  for (size_t i = 0; i < runs.size(); ++i) json["runs"].push_back(RunJson(runs[i], labels[i]));
  if (runs.size() > 1) {
    const Comparison comparison = Compare(runs);
    json["comparison"] = {{"columns", comparison.columns}, {"rows", comparison.rows}};
  }
  std::string title = absl::StrJoin(labels, ", ");
  if (runs.size() > 1 && title.size() > kMaxTitle) title = absl::StrCat(runs.size(), " runs compared");
  title = EscapeHtml(title);
  const std::string data = ScriptJson(json);
  return FillIn(kReportHtml, {{"TITLE", title},
                              {"CSS", kPagesCss},
                              {"CHART_JS", kChartJs},
                              {"DATA", data},
                              {"PLOTS_JS", kPlotsJs},
                              {"JS", kReportJs}});
}

}  // namespace muster
