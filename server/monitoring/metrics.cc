#include "server/monitoring/metrics.h"

#include <prometheus/counter.h>
#include <prometheus/gauge.h>
#include <prometheus/histogram.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cmath>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "core/mutex.h"
#include "server/monitoring/metric_families.h"

namespace muster {
namespace {

using prometheus::Counter;
using prometheus::Gauge;
using prometheus::Histogram;
using prometheus::Labels;

constexpr MetricInfo kMetrics[] = {
    {"muster_build_info", "gauge", "version", "1, labelled with the version of this program"},
    {"muster_clients", "gauge", "", "Clients of the federation"},
    {"muster_connected_clients", "gauge", "state", "Clients connected to the coordinator, by what they do"},
    {"muster_heartbeats_total", "counter", "", "Heartbeats received from connected clients"},
    {"muster_model_parameters", "gauge", "", "Numbers in the model"},
    {"muster_planned_rounds", "gauge", "", "Rounds after which the run ends at the latest"},
    {"muster_committed_rounds", "gauge", "", "Rounds committed over the whole run, before restarts too"},
    {"muster_run_finished", "gauge", "", "1 once the run has ended"},
    {"muster_round_in_flight", "gauge", "", "1 while a round is being run"},
    {"muster_cohort_clients", "gauge", "", "Clients asked in the round in flight, or the last one"},
    {"muster_cohort_answered_clients", "gauge", "", "Of them, those whose update has arrived"},
    {"muster_cohort_accepted_clients", "gauge", "", "Of them, those whose update was taken into the round"},
    {"muster_rounds_total", "counter", "reason", "Rounds committed, by the participation policy's reason"},
    {"muster_client_tasks_total", "counter", "", "Tasks given to clients"},
    {"muster_updates_accepted_total", "counter", "", "Updates taken into a committed round"},
    {"muster_client_failures_total", "counter", "stage, code",
     "Clients without an accepted update in a committed round"},
    {"muster_samples_trained_total", "counter", "",
     "Training samples of the clients whose updates were accepted"},
    {"muster_upload_bytes_total", "counter", "", "Bytes of updates received"},
    {"muster_download_bytes_total", "counter", "", "Bytes of models sent"},
    {"muster_update_bytes_total", "counter", "codec",
     "Bytes of updates received, by the form of their payload (docs/wire-format.md)"},
    {"muster_run_upload_bytes", "gauge", "",
     "Bytes of updates received over the whole run, before restarts too"},
    {"muster_run_download_bytes", "gauge", "",
     "Bytes of models sent over the whole run, before restarts too"},
    {"muster_train_loss", "gauge", "", "Mean training loss of the last round's accepted clients"},
    {"muster_test_loss", "gauge", "", "Loss of the global model on the test set"},
    {"muster_test_accuracy_ratio", "gauge", "", "Accuracy of the global model on the test set, 0 to 1"},
    {"muster_test_macro_f1_ratio", "gauge", "", "Mean F1 over the test set's classes, 0 to 1"},
    {"muster_test_recall_ratio", "gauge", "class",
     "Recall of every class of the test set, 0 to 1; the first 64 classes"},
    {"muster_client_accuracy_ratio", "gauge", "quantile",
     "Accuracy of the global model on clients' own data, over clients (quantiles 0, 0.1, 0.5, 0.9, 1)"},
    {"muster_trust_loss", "gauge", "",
     "Loss on the server's trust set of the model the last round started from"},
    {"muster_update_norm", "gauge", "", "Euclidean norm of the last aggregate"},
    {"muster_client_update_norm", "histogram", "",
     "Euclidean norm of accepted updates; none of models beyond 2^24 numbers"},
    {"muster_update_cosine_ratio", "gauge", "",
     "How much the last round's updates agree: norm of the aggregate over the mean norm of the updates. For "
     "a weighted "
     "mean it is the mean cosine of an update to the aggregate, weighted by the updates' norms"},
    {"muster_client_model_age_rounds", "histogram", "",
     "Rounds since a client was asked before: how old the model is that it holds, where the way down is "
     "compressed"},
    {"muster_learning_rate_factor", "gauge", "", "Factor on the local learning rate in the last round"},
    {"muster_method_value", "gauge", "name, index",
     "What the method reports of the last round (group weights, a step size); the first 64 values of a name"},
    {"muster_searches_total", "counter", "", "Searches for the number of clients"},
    {"muster_search_reference_loss", "gauge", "",
     "Loss that candidates of the last search were compared with"},
    {"muster_search_candidate_loss", "gauge", "clients",
     "Trust loss by candidate size, in the last search; the first 256"},
    {"muster_search_chosen_clients", "gauge", "", "Number of clients the last search settled on"},
    {"muster_saved_upload_bytes", "gauge", "",
     "Estimated uploads saved so far against a fixed number of clients, the policy's initial one"},
    {"muster_round_duration_seconds", "histogram", "", "Whole rounds, from selection to commit"},
    {"muster_round_phase_duration_seconds", "histogram", "phase",
     "Phases of rounds: select, train, apply, evaluate, commit"},
    {"muster_client_training_duration_seconds", "histogram", "", "Training of one client, by its own clock"},
    {"muster_fold_duration_seconds", "histogram", "", "Verifying one update and adding it to the round"},
    {"muster_journal_lag_seconds", "gauge", "",
     "Age of what a crash would cost: since the round in flight began; 0 between rounds"},
    {"muster_last_commit_timestamp_seconds", "gauge", "",
     "When a round was committed last, since the epoch; 0: not yet"},
    {"process_cpu_seconds_total", "counter", "", "User and system CPU time of this process"},
    {"process_open_fds", "gauge", "", "Open file descriptors"},
    {"process_resident_memory_bytes", "gauge", "", "Resident memory"},
    {"process_start_time_seconds", "gauge", "", "When this process started, since the epoch"},
};

constexpr MetricInfo kClientMetrics[] = {
    {"muster_edge_connected", "gauge", "", "1 while the coordinator has let this client in"},
    {"muster_edge_sessions_total", "counter", "",
     "Sessions with a coordinator; the first and every one after a lost link"},
    {"muster_edge_disconnects_total", "counter", "",
     "Sessions lost, and times there was none to be had for a new reason"},
    {"muster_edge_last_round", "gauge", "",
     "Number of the last round this client took part in, from 1; 0: none yet"},
    {"muster_edge_rounds_total", "counter", "outcome", "Rounds this client took part in: accepted, refused"},
    {"muster_edge_upload_bytes_total", "counter", "", "Bytes of this client's updates"},
    {"muster_edge_train_loss", "gauge", "", "Training loss of the last round"},
    {"muster_edge_training_duration_seconds", "histogram", "", "Training of one round"},
    {"muster_edge_spool_bytes", "gauge", "",
     "Bytes of a finished update on disk that the coordinator has not settled yet"},
};

constexpr size_t kMostValues = 64;  // of one list of numbers that differ by a label

constexpr MetricInfo kWorkerMetrics[] = {
    {"muster_worker_rank", "gauge", "", "Number of this process in the group, from 1"},
    {"muster_worker_threads", "gauge", "", "Clients that this process trains at a time"},
    {"muster_worker_training_duration_seconds", "histogram", "", "Training of one client in this process"},
};

double Now() {
  return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
}

// A closed set of values for labels whose text comes from a peer.
std::string StageLabel(const std::string& stage) {
  static constexpr std::string_view kStages[] = {"offer",  "download", "train",    "compress", "spool",
                                                 "upload", "verify",   "deadline", "enough",   "gone"};
  return std::find(std::begin(kStages), std::end(kStages), stage) == std::end(kStages) ? "other" : stage;
}
std::string CodeLabel(const std::string& code) {
  for (int i = 0; i <= static_cast<int>(absl::StatusCode::kUnauthenticated); ++i) {
    if (code == absl::StatusCodeToString(static_cast<absl::StatusCode>(i))) return code;
  }
  return "other";
}

Histogram::BucketBoundaries Norms() {
  return {1e-4, 1e-3, 1e-2, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100, 1000, 10000};
}
Histogram::BucketBoundaries Rounds() { return {1, 2, 5, 10, 20, 50, 100, 200, 500, 1000}; }

}  // namespace

struct Metrics::Families : MetricFamilies {
  using MetricFamilies::MetricFamilies;

  int64_t samples_trained = 0;  // over the run, as of the last record

  // Told about once per client, so looked up once.
  Gauge* answered = nullptr;
  Gauge* accepted = nullptr;
  Histogram* training = nullptr;
  Histogram* folding = nullptr;
  Histogram* norms = nullptr;
  Histogram* ages = nullptr;
  double norm_sum = 0;                     // of this round's accepted updates, weighted by their samples
  double norm_weight = 0;                  // samples of those whose norm is known
  std::map<ClientId, int64_t> last_asked;  // the round, by client; since this process began

  // Read at every scrape, from the scraping threads.
  Gauge* journal_lag = nullptr;
  std::atomic<double> round_began{0};  // since the epoch; 0: no round is in flight
  MetricFamilies::Family<Gauge>* connected = nullptr;
  Mutex mutex;
  std::function<Connections()> connections ABSL_GUARDED_BY(mutex);
  Counter* heartbeats_counter = nullptr;
  int64_t heartbeats ABSL_GUARDED_BY(mutex) = 0;  // that the counter has
};

std::span<const MetricInfo> AllMetrics() { return kMetrics; }
std::span<const MetricInfo> ClientProcessMetricTable() { return kClientMetrics; }
std::span<const MetricInfo> WorkerProcessMetricTable() { return kWorkerMetrics; }

std::pair<std::string, std::string> FailureLabels(const ClientFailure& failure) {
  return {StageLabel(failure.stage), CodeLabel(failure.code)};
}

std::string MetricsDocumentation() {
  std::string text =
      "# Metrics\n\n"
      "Served at `/metrics` in Prometheus's text format. Every metric carries the label `federation`, the "
      "configuration's\n`name`. Counters count since the process started; gauges tell of the run. This file "
      "is made by "
      "the program's own table;\na test keeps it so.\n";
  const auto add = [&text](std::span<const MetricInfo> table) {
    absl::StrAppend(&text, "\n| metric | type | labels | |\n| --- | --- | --- | --- |\n");
    for (const MetricInfo& info : table) {
      const auto view = [](std::string_view part) { return absl::string_view(part.data(), part.size()); };
      absl::StrAppend(&text, "| `", view(info.name), "` | ", view(info.type), " | ", view(info.labels), " | ",
                      view(info.help), " |\n");
    }
  };
  add(kMetrics);
  absl::StrAppend(&text,
                  "\n## A client's process\n\n`muster client --metrics HOST:PORT` serves these, "
                  "`muster_build_info` and `process_*`.\n");
  add(kClientMetrics);
  absl::StrAppend(&text,
                  "\n## A worker's process\n\n`muster worker --metrics HOST:PORT` serves these, "
                  "`muster_build_info` and `process_*`.\n");
  add(kWorkerMetrics);
  return text;
}

Metrics::Metrics(const std::string& federation, const std::string& version)
    : families_(std::make_unique<Families>(Labels{{"federation", federation}}, version)) {
  Families& f = *families_;
  f.answered = &f.gauge("muster_cohort_answered_clients");
  f.accepted = &f.gauge("muster_cohort_accepted_clients");
  f.training = &f.histogram("muster_client_training_duration_seconds");
  f.folding = &f.histogram("muster_fold_duration_seconds");
  f.norms = &f.histogram("muster_client_update_norm", {}, Norms());
  f.ages = &f.histogram("muster_client_model_age_rounds", {}, Rounds());
  f.journal_lag = &f.gauge("muster_journal_lag_seconds");
  f.connected = &f.gauges("muster_connected_clients");
  f.heartbeats_counter = &f.counter("muster_heartbeats_total");
  // There from the start, so that a rate over a federation that just began is 0 and not nothing.
  for (const char* name :
       {"muster_client_tasks_total", "muster_updates_accepted_total", "muster_upload_bytes_total",
        "muster_download_bytes_total", "muster_samples_trained_total", "muster_searches_total"}) {
    f.counter(name);
  }
  for (const char* name :
       {"muster_last_commit_timestamp_seconds", "muster_run_finished", "muster_round_in_flight"}) {
    f.gauge(name).Set(0);
  }
}

Metrics::~Metrics() = default;

void Metrics::SetConnections(std::function<Connections()> connections) {
  const MutexLock lock(&families_->mutex);
  families_->connections = std::move(connections);
}

void Metrics::On(const Event& event) {
  Families& f = *families_;
  if (const auto* client = std::get_if<ClientFinished>(&event)) {
    f.answered->Increment();
    if (client->accepted) f.accepted->Increment();
    f.training->Observe(client->metrics.seconds);
    Answered(*client);
  } else if (const auto* round = std::get_if<RoundStarted>(&event)) {
    f.gauge("muster_cohort_clients").Set(static_cast<double>(round->clients));
    f.answered->Set(0);
    f.accepted->Set(0);
    f.norm_sum = f.norm_weight = 0;
    f.round_began = Now();
    for (const ClientId client : round->cohort) {
      const auto [last, first_time] = f.last_asked.try_emplace(client, round->round);
      if (!first_time)
        f.ages->Observe(static_cast<double>(round->round - std::exchange(last->second, round->round)));
    }
    f.gauge("muster_round_in_flight").Set(1);
  } else if (const auto* committed = std::get_if<RoundCommitted>(&event)) {
    Committed(committed->record);
  } else if (const auto* started = std::get_if<RunStarted>(&event)) {
    f.gauge("muster_clients").Set(static_cast<double>(started->clients));
    f.gauge("muster_model_parameters").Set(static_cast<double>(started->parameters));
    f.gauge("muster_planned_rounds").Set(static_cast<double>(started->rounds));
    f.gauge("muster_committed_rounds").Set(static_cast<double>(started->first_round));
    f.samples_trained = started->totals.samples_trained;
    f.gauge("muster_run_upload_bytes").Set(static_cast<double>(started->totals.upload_bytes));
    f.gauge("muster_run_download_bytes").Set(static_cast<double>(started->totals.download_bytes));
  } else if (std::holds_alternative<RunFinished>(event)) {
    f.round_began = 0;
    f.gauge("muster_run_finished").Set(1);
    f.gauge("muster_round_in_flight").Set(0);
  }
}

void Metrics::Answered(const ClientFinished& client) {
  Families& f = *families_;
  if (!client.codec.empty()) {
    f.counter("muster_update_bytes_total", {{"codec", client.codec}})
        .Increment(static_cast<double>(client.upload_bytes));
    f.folding->Observe(client.fold_seconds);
  }
  if (!client.accepted || client.update_norm == 0) return;
  f.norms->Observe(client.update_norm);
  const auto weight = static_cast<double>(client.num_samples);
  f.norm_sum += weight * client.update_norm;
  f.norm_weight += weight;
}

void Metrics::Committed(const RoundRecord& record) {
  Families& f = *families_;
  f.round_began = 0;
  if (f.norm_sum > 0) {
    f.gauge("muster_update_cosine_ratio").Set(record.update_norm * f.norm_weight / f.norm_sum);
  }
  f.gauge("muster_round_in_flight").Set(0);
  f.gauge("muster_committed_rounds").Set(static_cast<double>(record.round + 1));
  f.gauge("muster_last_commit_timestamp_seconds").Set(Now());
  f.counter("muster_rounds_total", {{"reason", record.reason}}).Increment();
  f.counter("muster_client_tasks_total").Increment(static_cast<double>(record.cohort.size()));
  f.counter("muster_updates_accepted_total").Increment(static_cast<double>(record.accepted));
  f.counter("muster_upload_bytes_total").Increment(static_cast<double>(record.upload_bytes));
  f.counter("muster_download_bytes_total").Increment(static_cast<double>(record.download_bytes));
  f.counter("muster_samples_trained_total")
      .Increment(static_cast<double>(record.totals.samples_trained - f.samples_trained));
  f.samples_trained = record.totals.samples_trained;
  f.gauge("muster_run_upload_bytes").Set(static_cast<double>(record.totals.upload_bytes));
  f.gauge("muster_run_download_bytes").Set(static_cast<double>(record.totals.download_bytes));
  for (const ClientFailure& failure : record.failures) {
    const auto [stage, code] = FailureLabels(failure);
    f.counter("muster_client_failures_total", {{"stage", stage}, {"code", code}}).Increment();
  }
  for (const auto& [phase, seconds] : record.seconds) {
    if (phase == "total") {
      f.histogram("muster_round_duration_seconds").Observe(seconds);
    } else {
      f.histogram("muster_round_phase_duration_seconds", {{"phase", phase}}).Observe(seconds);
    }
  }

  f.gauge("muster_update_norm").Set(record.update_norm);
  f.gauge("muster_learning_rate_factor").Set(record.learning_rate_factor);
  if (record.train_loss) f.gauge("muster_train_loss").Set(*record.train_loss);
  if (record.trust_loss) f.gauge("muster_trust_loss").Set(*record.trust_loss);
  if (record.test) {
    f.gauge("muster_test_loss").Set(record.test->loss);
    f.gauge("muster_test_accuracy_ratio").Set(record.test->accuracy);
    f.gauge("muster_test_macro_f1_ratio").Set(record.test->macro_f1);
    const std::vector<double>& recall = record.test->class_recall;
    for (size_t c = 0; c < std::min(recall.size(), kMostValues); ++c) {
      // A class that does not occur has none.
      if (std::isnan(recall[c])) continue;
      f.gauges("muster_test_recall_ratio").Add({{"class", absl::StrCat(c)}}).Set(recall[c]);
    }
  }
  if (!record.clients.empty()) {
    std::vector<double> accuracies;
    for (const ClientEvaluation& client : record.clients) accuracies.push_back(client.evaluation.accuracy);
    std::sort(accuracies.begin(), accuracies.end());
    for (const auto& [label, quantile] : {std::pair("0", 0.0), std::pair("0.1", 0.1), std::pair("0.5", 0.5),
                                          std::pair("0.9", 0.9), std::pair("1", 1.0)}) {
      const auto rank = static_cast<size_t>(quantile * static_cast<double>(accuracies.size() - 1) + 0.5);
      f.gauges("muster_client_accuracy_ratio").Add({{"quantile", label}}).Set(accuracies[rank]);
    }
  }
  if (record.search) {
    f.counter("muster_searches_total").Increment();
    f.gauge("muster_search_reference_loss").Set(record.search->reference_loss);
    f.gauge("muster_search_chosen_clients").Set(static_cast<double>(record.search->chosen));
    constexpr size_t kMostCandidates = 256;
    std::vector<std::pair<Labels, double>> losses;
    for (const Candidate& candidate : record.search->candidates) {
      if (losses.size() < kMostCandidates)
        losses.push_back({{{"clients", absl::StrCat(candidate.clients)}}, candidate.loss});
    }
    f.Replace("muster_search_candidate_loss", losses);
  }
  if (record.saved_bytes) {
    f.gauge("muster_saved_upload_bytes").Set(static_cast<double>(*record.saved_bytes));
  }
  for (const auto& [name, values] : record.numbers) {
    for (size_t i = 0; i < std::min(values.size(), kMostValues); ++i) {
      f.gauges("muster_method_value").Add({{"name", name}, {"index", absl::StrCat(i)}}).Set(values[i]);
    }
  }
}

std::string Metrics::Text() const {
  Families& f = *families_;
  const double began = f.round_began;
  f.journal_lag->Set(began > 0 ? std::max(0.0, Now() - began) : 0);
  std::function<Connections()> ask;
  {
    const MutexLock lock(&f.mutex);
    ask = f.connections;
  }
  if (ask) {
    const Connections now = ask();
    for (const auto& [state, clients] : now.states) {
      f.connected->Add({{"state", state}}).Set(static_cast<double>(clients));
    }
    const MutexLock lock(&f.mutex);
    // Scrapes may overtake each other.
    if (const int64_t more = now.heartbeats - f.heartbeats; more >= 0) {
      f.heartbeats_counter->Increment(static_cast<double>(more));
      f.heartbeats = now.heartbeats;
    }
  }
  return f.MetricFamilies::Text();
}

}  // namespace muster
