#include "app/run_directory.h"

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "core/config.h"
#include "core/file.h"
#include "core/hash.h"
#include "core/safetensors.h"
#include "server/journal/journal.h"
#include "server/monitoring/report.h"
#include "server/monitoring/rounds_log.h"
#include "server/monitoring/run_files.h"
#include "server/monitoring/units.h"
#include "server/rounds/cohorts.h"
#include "simulation/simulated_federation.h"
#include "simulation/torch_runtime.h"

namespace muster {
namespace {

constexpr char kConfigFact[] = "config";  // the journal's copy of the effective configuration

// weights/round-NNNNNN.safetensors after every so many rounds.
class WeightsWriter final : public RoundListener {
 public:
  WeightsWriter(std::string dir, int64_t every, const Layout& layout)
      : dir_(std::move(dir)), every_(every), layout_(layout) {}

  void On(const Event& event) override {
    const auto* committed = std::get_if<RoundCommitted>(&event);
    if (committed == nullptr || (committed->record.round + 1) % every_ != 0 || !status_.ok()) return;
    std::error_code error;
    std::filesystem::create_directories(dir_ + "/weights", error);
    const std::string path =
        absl::StrFormat("%s/weights/round-%06d.safetensors", dir_, committed->record.round);
    status_ = WriteFileAtomic(path, ToSafetensors(layout_, committed->model));
  }
  const absl::Status& status() const { return status_; }

 private:
  const std::string dir_;
  const int64_t every_;
  const Layout& layout_;
  absl::Status status_;
};

// Why the run ended, for summary.json.
class FinishListener final : public RoundListener {
 public:
  void On(const Event& event) override {
    if (const auto* finished = std::get_if<RunFinished>(&event)) why_ = finished->why;
  }
  const std::string& why() const { return why_; }

 private:
  std::string why_;
};

DataSummary SummarizeData(const v1::Experiment& config, const FederatedData& data) {
  DataSummary summary;
  summary.dataset = config.data().dataset().name();
  summary.train_samples = data.train().size();
  summary.test_samples = data.test().size();
  summary.classes = data.train().class_names;
  for (int64_t k = static_cast<int64_t>(summary.classes.size()); k < data.train().num_classes; ++k) {
    summary.classes.push_back(absl::StrCat(k));
  }
  for (int64_t c = 0; c < data.clients(); ++c) {
    summary.client_samples.push_back(static_cast<int64_t>(data.training.samples(c).size()));
    // Of a large federation only the first clients' labels are kept (DataSummary::Thin).
    if (data.train().num_classes > 0 && c < 2000) {
      summary.label_counts.push_back(ClassCounts(data.train(), data.training.samples(c)));
    }
  }
  return summary;
}

std::string Ending(const std::string& why) {
  if (why == "rounds") return "all rounds done";
  if (why == "stopped") return "stopped on request; 'muster resume' goes on";
  return absl::StrCat("stopping rule: ", why, " reached");
}

absl::StatusOr<RunSummary> WriteResults(const v1::Experiment& config, const std::string& dir,
                                        Journal& journal, const SimulatedFederation& federation,
                                        const std::vector<float>& model, const std::string& finish_reason,
                                        double wall_seconds) {
  MUSTER_ASSIGN_OR_RETURN(const std::vector<std::string> records, journal.Records());
  std::vector<RoundRecord> rounds;
  for (const std::string& json : records) {
    MUSTER_ASSIGN_OR_RETURN(rounds.emplace_back(), RoundRecordFromJson(json));
  }
  RunSummary summary = Summarize(rounds);
  summary.name = config.name();
  summary.seed = config.seed();
  summary.finish_reason = finish_reason;
  summary.wall_seconds = wall_seconds;
  summary.model_sha256 = ModelSha256(model);
  summary.parameters = federation.layout().size;
  for (const Adversaries::Group& group : federation.adversaries().groups()) {
    std::vector<int64_t>& clients = summary.adversaries[group.name];
    clients.insert(clients.end(), group.clients.begin(), group.clients.end());
  }
  summary.muster_version = MUSTER_VERSION;
  summary.libtorch_version = TorchVersion();
  MUSTER_RETURN_IF_ERROR(
      WriteFileAtomic(dir + "/model.safetensors", ToSafetensors(federation.layout(), model)));
  if (config.record().pins()) {
    std::vector<std::vector<ClientId>> cohorts;
    for (const RoundRecord& round : rounds) cohorts.push_back(round.cohort);
    MUSTER_RETURN_IF_ERROR(WriteFileAtomic(dir + "/cohorts.json", CohortsToJson(cohorts)));
  }
  MUSTER_RETURN_IF_ERROR(WriteRunSummary(dir, summary));
  MUSTER_ASSIGN_OR_RETURN(const Run run, ReadRun(dir));
  MUSTER_ASSIGN_OR_RETURN(const std::string page, RenderReport(std::span(&run, 1)));
  MUSTER_RETURN_IF_ERROR(WriteFileAtomic(dir + "/report.html", page));
  return summary;
}

// What stands in the run directory from the start. Deterministic, so that a run killed in the middle of this
// writes the same again when it is resumed.
absl::Status WriteInputs(const v1::Experiment& config, const std::string& dir,
                         const SimulatedFederation& federation) {
  MUSTER_RETURN_IF_ERROR(WriteFileAtomic(dir + "/config.yaml", ConfigToYaml(config)));
  MUSTER_RETURN_IF_ERROR(WriteDataSummary(dir, SummarizeData(config, federation.data())));
  if (!config.record().pins()) return absl::OkStatus();
  MUSTER_RETURN_IF_ERROR(WriteFileAtomic(dir + "/partition.json", PartitionToJson(federation.data().dealt)));
  return WriteFileAtomic(dir + "/initial_model.safetensors",
                         ToSafetensors(federation.layout(), federation.initial_model()));
}

}  // namespace

void TellSummary(const RunSummary& summary, const std::string& dir, Log& log) {
  if (log.format() == LogFormat::kJson) {
    return log.Write({.name = "run_summary",
                      .message = absl::StrCat(summary.rounds, " rounds (", Ending(summary.finish_reason),
                                              "), model_sha256 ", summary.model_sha256, ", in ", dir)});
  }
  std::fprintf(stderr, "\n%s: %lld rounds (%s)\n", summary.name.c_str(),
               static_cast<long long>(summary.rounds), Ending(summary.finish_reason).c_str());
  if (summary.final) {
    std::fprintf(stderr, "  test           loss %.4f", summary.final->loss);
    if (summary.final->accuracy > 0) {
      std::fprintf(stderr, ", accuracy %.4f, macro-F1 %.4f (best accuracy %.4f, round %lld)",
                   summary.final->accuracy, summary.final->macro_f1, summary.best->accuracy,
                   static_cast<long long>(summary.best->round + 1));
    }
    std::fprintf(stderr, "\n");
  }
  std::fprintf(stderr, "  uploads        %lld (%s up, %s down)\n",
               static_cast<long long>(summary.totals.uploads),
               FormatBytes(static_cast<double>(summary.totals.upload_bytes)).c_str(),
               FormatBytes(static_cast<double>(summary.totals.download_bytes)).c_str());
  for (const auto& [name, clients] : summary.adversaries) {
    std::fprintf(stderr, "  %-14s %zu clients (listed in summary.json)\n", name.c_str(), clients.size());
  }
  std::fprintf(stderr, "  time           %.1f s of rounds, %.1f s in all\n", summary.training_seconds,
               summary.wall_seconds);
  std::fprintf(stderr, "  model_sha256   %s\n", summary.model_sha256.c_str());
  std::fprintf(stderr, "  run directory  %s (report.html, summary.json, rounds.jsonl, model.safetensors)\n",
               dir.c_str());
}

int WorkerCount(int asked) {
  return asked > 0 ? asked : std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
}

absl::StatusOr<std::string> ChooseRunDirectory(const std::string& asked, const std::string& name) {
  namespace fs = std::filesystem;
  std::error_code error;
  if (!asked.empty()) {
    if (fs::exists(asked + "/journal", error)) {
      return InvalidInput(absl::StrCat("--out ", asked,
                                       ": holds a run already; go on with it by 'muster resume ", asked,
                                       "', or choose another folder"));
    }
    if (fs::exists(asked, error) && (!fs::is_directory(asked, error) || !fs::is_empty(asked, error))) {
      return InvalidInput(
          absl::StrCat("--out ", asked, ": exists and is not an empty folder; choose another"));
    }
    return asked;
  }
  std::string safe;
  for (const char c : name)
    safe += std::isalnum(static_cast<unsigned char>(c)) || c == '-' || c == '_' || c == '.' ? c : '-';
  std::string dir = "runs/" + safe;
  for (int i = 2; fs::exists(dir, error); ++i) dir = absl::StrCat("runs/", safe, "-", i);
  return dir;
}

absl::StatusOr<std::unique_ptr<Journal>> CreateRun(const v1::Experiment& config, const std::string& dir) {
  std::error_code error;
  std::filesystem::create_directories(dir, error);
  if (error) return InvalidInput(absl::StrCat("--out ", dir, ": cannot be made: ", error.message()));
  MUSTER_ASSIGN_OR_RETURN(std::unique_ptr<Journal> journal, Journal::Create(dir, Durability::kProcess));
  MUSTER_RETURN_IF_ERROR(journal->Put(kConfigFact, ConfigToYaml(config)));
  return journal;
}

absl::StatusOr<OpenedRun> OpenRun(const std::string& dir) {
  OpenedRun run;
  MUSTER_ASSIGN_OR_RETURN(run.journal, Journal::Open(dir, Durability::kProcess));
  // The journal's copy counts: config.yaml may have been edited since, which would be another run.
  MUSTER_ASSIGN_OR_RETURN(const std::optional<std::string> yaml, run.journal->Get(kConfigFact));
  if (!yaml) {
    return InvalidInput(
        absl::StrCat(dir, ": the run was ended before it began; remove the folder and start it anew"));
  }
  MUSTER_RETURN_IF_ERROR(LoadConfig(*yaml, dir + "/config.yaml", dir, {}, run.config));
  return run;
}

absl::StatusOr<RunSummary> RunInDirectory(const v1::Experiment& config, const std::string& dir,
                                          Journal& journal, const SimulatedFederation& federation,
                                          ProgressMode mode, std::chrono::steady_clock::time_point started,
                                          const Rounds& rounds) {
  MUSTER_RETURN_IF_ERROR(WriteInputs(config, dir, federation));
  MUSTER_ASSIGN_OR_RETURN(std::vector<std::string> committed, journal.Records());
  MUSTER_ASSIGN_OR_RETURN(const std::optional<std::string> earlier_text, journal.Get("wall_seconds"));
  double earlier_seconds = 0;
  if (earlier_text) (void)absl::SimpleAtod(*earlier_text, &earlier_seconds);

  Progress progress(StandardProgress(mode));
  RoundsLog rounds_log(dir, std::move(committed));
  FinishListener finish;
  std::vector<RoundListener*> listeners = {&rounds_log, &progress, &finish};
  std::optional<WeightsWriter> weights;
  if (config.record().weights_every() > 0) {
    listeners.push_back(&weights.emplace(dir, config.record().weights_every(), federation.layout()));
  }
  const absl::StatusOr<std::vector<float>> model = rounds(listeners);
  const double wall_seconds =
      earlier_seconds + std::chrono::duration<double>(std::chrono::steady_clock::now() - started).count();
  MUSTER_RETURN_IF_ERROR(journal.Put("wall_seconds", absl::StrCat(wall_seconds)));
  MUSTER_RETURN_IF_ERROR(model.status());
  MUSTER_RETURN_IF_ERROR(rounds_log.status());
  if (weights) MUSTER_RETURN_IF_ERROR(weights->status());
  return WriteResults(config, dir, journal, federation, *model, finish.why(), wall_seconds);
}

}  // namespace muster
