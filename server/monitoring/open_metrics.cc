#include "server/monitoring/open_metrics.h"

#include <cmath>
#include <map>
#include <optional>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "server/monitoring/metrics.h"

namespace muster {
namespace {

using Labels = std::vector<std::pair<std::string, std::string>>;

// Quotes, backslashes and ends of lines are escaped.
std::string Quoted(const std::string& value) {
  std::string out = "\"";
  for (const char c : value) {
    if (c == '\n') {
      out += "\\n";
      continue;
    }
    if (c == '"' || c == '\\') out += '\\';
    out += c;
  }
  return out + "\"";
}

class Dump {
 public:
  // Of one run, from here on.
  void Start(std::string federation) {
    federation_ = std::move(federation);
    counts_.clear();
  }
  void Gauge(const std::string& name, double time, std::optional<double> value, const Labels& more = {}) {
    if (value && std::isfinite(*value)) Sample(name, time, *value, more);
  }
  void Count(const std::string& name, double time, double more_of_it, const Labels& more = {}) {
    Sample(name, time, counts_[name][more] += more_of_it, more);
  }
  std::string Text() const {
    std::string text;
    for (const MetricInfo& info : AllMetrics()) {
      const auto found = samples_.find(std::string(info.name));
      if (found == samples_.end()) continue;
      std::string family(info.name);
      if (info.type == "counter") family.resize(family.size() - std::string("_total").size());
      absl::StrAppend(&text, "# TYPE ", family, " ", std::string(info.type), "\n# HELP ", family, " ",
                      std::string(info.help), "\n");
      for (const auto& [labels, lines] : found->second) text += lines;
    }
    return text + "# EOF\n";
  }

 private:
  void Sample(const std::string& name, double time, double value, const Labels& more) {
    std::string labels = absl::StrCat("{federation=", Quoted(federation_));
    for (const auto& [label, text] : more) absl::StrAppend(&labels, ",", label, "=", Quoted(text));
    labels += "}";
    absl::StrAppendFormat(&samples_[name][labels], "%s%s %.17g %.3f\n", name, labels, value, time);
  }

  std::string federation_;
  std::map<std::string, std::map<Labels, double>> counts_;
  std::map<std::string, std::map<std::string, std::string>>
      samples_;  // lines by metric and labels, in time's order
};

double Seconds(const RoundRecord& record) {
  double seconds = 0;
  for (const char* part : {"total", "commit"}) {
    const auto found = record.seconds.find(part);
    if (found != record.seconds.end()) seconds += found->second;
  }
  // Times are written in milliseconds, and no two samples may have the same.
  return std::max(seconds, 0.001);
}

void AddRound(const RoundRecord& record, double time, int64_t samples_trained, Dump& dump) {
  const auto number = [](auto value) { return static_cast<double>(value); };
  dump.Gauge("muster_committed_rounds", time, number(record.round + 1));
  dump.Gauge("muster_last_commit_timestamp_seconds", time, time);
  dump.Gauge("muster_cohort_clients", time, number(record.cohort.size()));
  dump.Gauge("muster_cohort_accepted_clients", time, number(record.accepted));
  dump.Count("muster_rounds_total", time, 1, {{"reason", record.reason}});
  dump.Count("muster_client_tasks_total", time, number(record.cohort.size()));
  dump.Count("muster_updates_accepted_total", time, number(record.accepted));
  dump.Count("muster_samples_trained_total", time, number(samples_trained));
  dump.Count("muster_upload_bytes_total", time, number(record.upload_bytes));
  dump.Count("muster_download_bytes_total", time, number(record.download_bytes));
  std::map<std::pair<std::string, std::string>, int64_t> failures;
  for (const ClientFailure& failure : record.failures) ++failures[FailureLabels(failure)];
  for (const auto& [labels, count] : failures) {
    dump.Count("muster_client_failures_total", time, number(count),
               {{"stage", labels.first}, {"code", labels.second}});
  }
  dump.Gauge("muster_run_upload_bytes", time, number(record.totals.upload_bytes));
  dump.Gauge("muster_run_download_bytes", time, number(record.totals.download_bytes));
  dump.Gauge("muster_train_loss", time, record.train_loss);
  dump.Gauge("muster_trust_loss", time, record.trust_loss);
  if (record.test) {
    dump.Gauge("muster_test_loss", time, record.test->loss);
    dump.Gauge("muster_test_accuracy_ratio", time, record.test->accuracy);
    dump.Gauge("muster_test_macro_f1_ratio", time, record.test->macro_f1);
  }
  dump.Gauge("muster_update_norm", time, record.update_norm);
  dump.Gauge("muster_learning_rate_factor", time, record.learning_rate_factor);
  if (record.saved_bytes) dump.Gauge("muster_saved_upload_bytes", time, number(*record.saved_bytes));
  if (record.search) {
    dump.Count("muster_searches_total", time, 1);
    dump.Gauge("muster_search_reference_loss", time, record.search->reference_loss);
    dump.Gauge("muster_search_chosen_clients", time, number(record.search->chosen));
  }
}

}  // namespace

std::string OpenMetricsText(std::span<const RunHistory> histories) {
  Dump dump;
  for (const RunHistory& history : histories) {
    dump.Start(history.federation);
    double time = history.end;
    for (const RoundRecord& record : history.run->rounds) time -= Seconds(record);
    int64_t samples_trained = 0;
    for (const RoundRecord& record : history.run->rounds) {
      time += Seconds(record);
      AddRound(record, time, record.totals.samples_trained - samples_trained, dump);
      samples_trained = record.totals.samples_trained;
    }
  }
  return dump.Text();
}

}  // namespace muster
