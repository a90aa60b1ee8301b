// `muster sweep`: many runs of one base configuration, compared.
#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "app/commands.h"
#include "app/experiment.h"
#include "app/run_directory.h"
#include "app/stop_on_signals.h"
#include "app/sweep_grid.h"
#include "app/sweep_progress.h"
#include "app/sweep_results.h"
#include "core/file.h"
#include "server/monitoring/report.h"
#include "server/monitoring/run_files.h"
#include "simulation/simulated_federation.h"
#include "simulation/torch_runtime.h"

namespace muster {
namespace {

constexpr char kFailureFile[] = "/failure.json";  // in the directory of a cell that could not go on

struct SweepArguments {
  std::string grid;
  std::vector<std::string> overrides;
  std::string out;
  int workers = 0;
  bool quiet = false;
};

// One run of the sweep.
struct Cell {
  enum State { kNew, kBegun, kFinished };

  size_t arm = 0;
  std::string name;
  std::string directory;  // seen from the sweep's
  v1::Experiment config;
  State state = kNew;
  std::string failure;                        // of a finished one that could not go on
  std::shared_ptr<const FederatedData> data;  // unless it is finished
};

class Sweep {
 public:
  Sweep(SweepArguments arguments, std::string yaml, SweepGrid grid)
      : arguments_(std::move(arguments)), yaml_(std::move(yaml)), grid_(std::move(grid)) {}
  ~Sweep() {
    if (lock_ >= 0) close(lock_);
  }
  Sweep(const Sweep&) = delete;
  Sweep& operator=(const Sweep&) = delete;

  absl::Status RunAll() {
    MUSTER_RETURN_IF_ERROR(MakeCells());
    MUSTER_RETURN_IF_ERROR(ChooseDirectory());
    for (Cell& cell : cells_) MUSTER_RETURN_IF_ERROR(Inspect(cell));
    WarnAboutSlowBlas();
    MUSTER_RETURN_IF_ERROR(CheckCells());
    // Everything was checked; only now anything is written.
    MUSTER_RETURN_IF_ERROR(OpenDirectory());
    {
      const StopOnSignals<Sweep, &Sweep::RequestStop> stop_on_signals(this);
      MUSTER_RETURN_IF_ERROR(RunCells());
    }
    return WriteResults();
  }
  void RequestStop() { stop_.store(true); }

 private:
  class Watcher;

  absl::Status AtArm(const absl::Status& status, const std::string& name) const {
    if (status.ok() || Message(status).starts_with(arguments_.grid + ":")) return status;
    return Annotate(status, absl::StrCat(arguments_.grid, ": ", name));
  }

  absl::Status MakeCells() {
    std::vector<ConfigOverride> typed;
    for (const std::string& text : arguments_.overrides) {
      MUSTER_ASSIGN_OR_RETURN(const ConfigOverride& change, ParseOverride(text));
      typed.push_back(change);
      for (const SweepArm& arm : grid_.arms) {
        for (const ConfigOverride& swept : arm.overrides) {
          if (swept.path == change.path) {
            return InvalidInput(
                absl::StrCat("--set ", text, ": the sweep sets '", change.path, "' itself; edit the grid"));
          }
        }
      }
    }
    for (size_t a = 0; a < grid_.arms.size(); ++a) {
      const SweepArm& arm = grid_.arms[a];
      std::vector<ConfigOverride> overrides = arm.overrides;
      overrides.insert(overrides.end(), typed.begin(), typed.end());
      absl::StatusOr<ExperimentFile> file = LoadExperimentWith(grid_.base, overrides);
      if (!file.ok()) return AtArm(file.status(), arm.name);
      std::vector<uint64_t> seeds = grid_.seeds;
      if (seeds.empty()) seeds.push_back(file->config.seed());
      for (const uint64_t seed : seeds) {
        Cell& cell = cells_.emplace_back();
        cell.arm = a;
        cell.name = seeds.size() > 1 ? absl::StrCat(arm.name, ", seed ", seed) : arm.name;
        cell.directory = absl::StrCat("cells/", arm.folder, "/seed-", seed);
        cell.config = file->config;
        cell.config.set_seed(seed);
        cell.config.set_name(cell.name);
      }
    }
    return absl::OkStatus();
  }

  absl::Status ChooseDirectory() {
    dir_ = !arguments_.out.empty() ? arguments_.out
                                   : "runs/" + std::filesystem::path(grid_.name).filename().string();
    std::error_code error;
    const bool other =
        std::filesystem::exists(dir_, error) && !std::filesystem::exists(dir_ + "/grid.yaml", error) &&
        (!std::filesystem::is_directory(dir_, error) || !std::filesystem::is_empty(dir_, error));
    if (other)
      return InvalidInput(absl::StrCat("--out ", dir_, ": exists and holds no sweep; choose another"));
    return absl::OkStatus();
  }

  std::string Dir(const Cell& cell) const { return absl::StrCat(dir_, "/", cell.directory); }

  // Finds out what an earlier run left of the cell.
  absl::Status Inspect(Cell& cell) {
    const std::string dir = Dir(cell);
    std::error_code error;
    // The configuration is written down before the first round; without it there is nothing to go on with.
    if (!std::filesystem::exists(dir + "/config.yaml", error)) return absl::OkStatus();
    absl::StatusOr<OpenedRun> run = OpenRun(dir);
    if (!run.ok()) return run.status();
    if (ConfigToYaml(run->config) != ConfigToYaml(cell.config)) {
      return InvalidInput(absl::StrCat(dir, ": is a run of another configuration than '", cell.name,
                                       "' has now; choose another --out, or remove that folder"));
    }
    cell.state = Cell::kBegun;
    if (const absl::StatusOr<std::string> json = ReadFile(dir + kFailureFile); json.ok()) {
      const nlohmann::json failure = nlohmann::json::parse(*json, nullptr, /*allow_exceptions=*/false);
      if (failure.is_object()) cell.failure = failure.value("message", "");
      if (!cell.failure.empty()) cell.state = Cell::kFinished;
    } else if (const absl::StatusOr<RunSummary> summary = ReadRunSummary(dir); summary.ok()) {
      if (summary->finish_reason != "stopped") cell.state = Cell::kFinished;
    }
    return absl::OkStatus();
  }

  // Makes every federation once: what only data, model or plug-ins can tell is told now.
  absl::Status CheckCells() {
    for (Cell& cell : cells_) {
      if (cell.state == Cell::kFinished) continue;
      absl::StatusOr<std::shared_ptr<const FederatedData>> data =
          data_.Get(cell.config.data(), cell.config.pin().partition(), cell.config.seed());
      if (!data.ok()) return AtArm(data.status(), cell.name);
      cell.data = *std::move(data);
      MUSTER_RETURN_IF_ERROR(
          AtArm(SimulatedFederation::CreateOn(cell.data, cell.config, /*workers=*/1).status(), cell.name));
    }
    return absl::OkStatus();
  }

  absl::Status OpenDirectory() {
    std::error_code error;
    std::filesystem::create_directories(dir_, error);
    if (error) return InvalidInput(absl::StrCat("--out ", dir_, ": cannot be made: ", error.message()));
    lock_ = open((dir_ + "/lock").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    if (lock_ < 0 || flock(lock_, LOCK_EX | LOCK_NB) != 0) {
      return InvalidInput(absl::StrCat("--out ", dir_, ": another process is running this sweep"));
    }
    return WriteFileAtomic(dir_ + "/grid.yaml", yaml_);
  }

  // Several cells at a time, each with its share of the workers: how they are shared never shows in a result.
  absl::Status RunCells() {
    std::vector<Cell*> pending;
    for (Cell& cell : cells_) {
      if (cell.state != Cell::kFinished) pending.push_back(&cell);
    }
    const auto finished = static_cast<int64_t>(cells_.size() - pending.size());
    SweepProgress progress(StandardProgress(arguments_.quiet ? ProgressMode::kQuiet : ProgressMode::kAuto),
                           static_cast<int64_t>(cells_.size()), finished);
    const int workers = WorkerCount(arguments_.workers);
    const int at_a_time = std::max(1, std::min(workers, static_cast<int>(pending.size())));
    std::atomic<size_t> next{0};
    Mutex mutex;
    absl::Status failed;
    std::vector<std::thread> threads;
    for (int i = 0; i < at_a_time; ++i) {
      const int share = workers / at_a_time + (i < workers % at_a_time ? 1 : 0);
      threads.emplace_back([&, share] {
        while (!stop_.load()) {
          const size_t index = next.fetch_add(1);
          if (index >= pending.size()) return;
          const absl::Status status = RunCell(*pending[index], share, progress);
          if (status.ok()) continue;
          const MutexLock lock(&mutex);
          failed.Update(AtArm(status, pending[index]->name));
          stop_.store(true);
        }
      });
    }
    for (std::thread& thread : threads) thread.join();
    MUSTER_RETURN_IF_ERROR(failed);
    int64_t done = 0;
    for (const Cell& cell : cells_) done += cell.state == Cell::kFinished ? 1 : 0;
    if (done == static_cast<int64_t>(cells_.size())) return absl::OkStatus();
    return absl::CancelledError(
        absl::StrCat("stopped with ", done, " of ", cells_.size(), " cells done; the same command goes on"));
  }

  absl::Status RunCell(Cell& cell, int workers, SweepProgress& progress);
  absl::Status WriteResults();

  const SweepArguments arguments_;
  const std::string yaml_;
  const SweepGrid grid_;
  std::string dir_;
  std::vector<Cell> cells_;  // by arm, then by seed
  FederatedDataCache data_;
  int lock_ = -1;
  std::atomic<bool> stop_{false};
};

// Shows one cell's progress, and ends it after a round once the sweep is to stop.
class Sweep::Watcher final : public RoundListener {
 public:
  Watcher(const Sweep& sweep, const Cell& cell, SimulatedFederation& federation, SweepProgress& progress)
      : sweep_(sweep), cell_(cell), federation_(federation), progress_(progress) {}

  void On(const Event& event) override {
    if (const auto* started = std::get_if<RunStarted>(&event)) {
      rounds_ = started->rounds;
      progress_.At(cell_.name, started->first_round, rounds_);
    } else if (const auto* committed = std::get_if<RoundCommitted>(&event)) {
      progress_.At(cell_.name, committed->record.round + 1, rounds_);
    }
    if (sweep_.stop_.load()) federation_.RequestStop();
  }

 private:
  const Sweep& sweep_;
  const Cell& cell_;
  SimulatedFederation& federation_;
  SweepProgress& progress_;
  int64_t rounds_ = 0;
};

absl::Status Sweep::RunCell(Cell& cell, int workers, SweepProgress& progress) {
  const auto started = std::chrono::steady_clock::now();
  const std::string dir = Dir(cell);
  MUSTER_ASSIGN_OR_RETURN(const auto federation,
                          SimulatedFederation::CreateOn(cell.data, cell.config, workers));
  std::unique_ptr<Journal> journal;
  if (cell.state == Cell::kBegun) {
    MUSTER_ASSIGN_OR_RETURN(OpenedRun run, OpenRun(dir));
    journal = std::move(run.journal);
  } else {
    std::error_code error;
    std::filesystem::remove_all(dir, error);  // what a run that was killed at its start left
    MUSTER_ASSIGN_OR_RETURN(journal, CreateRun(cell.config, dir));
  }
  const auto rounds = [&](std::vector<RoundListener*> listeners) {
    Watcher watcher(*this, cell, *federation, progress);
    listeners.push_back(&watcher);
    return federation->Run(journal.get(), dir + "/journal/clients", std::move(listeners));
  };
  const absl::StatusOr<RunSummary> summary =
      RunInDirectory(cell.config, dir, *journal, *federation, ProgressMode::kQuiet, started, rounds);
  if (absl::IsUnavailable(summary.status())) {  // a result: the federation could not go on
    cell.failure = Message(summary.status());
    cell.state = Cell::kFinished;
    const nlohmann::json json = {{"message", cell.failure}};
    MUSTER_RETURN_IF_ERROR(WriteFileAtomic(
        dir + kFailureFile, json.dump(1, ' ', false, nlohmann::json::error_handler_t::replace) + "\n"));
    progress.Finished(cell.name, absl::StrCat("could not go on: ", cell.failure));
    return absl::OkStatus();
  }
  MUSTER_RETURN_IF_ERROR(summary.status());
  if (summary->finish_reason == "stopped") {
    progress.Left(cell.name);
    return absl::OkStatus();
  }
  cell.state = Cell::kFinished;
  std::string result = "done";
  if (summary->final) {
    result = summary->final->accuracy > 0 ? absl::StrFormat("accuracy %.4f", summary->final->accuracy)
                                          : absl::StrFormat("loss %.4g", summary->final->loss);
  }
  progress.Finished(cell.name, absl::StrCat(result, "  model_sha256 ", summary->model_sha256));
  return absl::OkStatus();
}

absl::Status Sweep::WriteResults() {
  std::vector<SweepCell> cells;
  std::vector<Run> compared;
  for (const Cell& cell : cells_) {
    MUSTER_ASSIGN_OR_RETURN(Run run, ReadRun(Dir(cell)));
    SweepCell& result = cells.emplace_back(MakeSweepCell(run, cell.failure, grid_.final_evaluations));
    result.arm = cell.arm;
    result.seed = cell.config.seed();
    result.directory = cell.directory;
    // Curves of the first seed: those of all would hide each other.
    const bool first = &cell == &cells_.front() || (&cell - 1)->arm != cell.arm;
    if (first) compared.push_back(std::move(run));
  }
  const bool many_seeds = cells_.size() > grid_.arms.size();
  const SweepResults results(grid_, std::move(cells));
  std::string text, markdown, latex;
  for (const auto& [title, table] : results.Accuracies()) {
    absl::StrAppend(&text, title, "\n", AlignedText(table), "\n");
    absl::StrAppend(&markdown, title, "\n\n", ToMarkdown(table), "\n");
    absl::StrAppend(&latex, ToLatex(table, title), "\n");
  }
  const Comparison arms = results.Arms();
  if (text.empty()) absl::StrAppend(&text, AlignedText(arms), "\n");
  const std::string notes = results.Notes();
  absl::StrAppend(&markdown, ToMarkdown(arms), "\n", notes, "\n");
  absl::StrAppend(&latex, ToLatex(arms, absl::StrCat(grid_.name, ": ", notes)));

  MUSTER_RETURN_IF_ERROR(WriteFileAtomic(dir_ + "/summary.json", results.ToJson()));
  MUSTER_RETURN_IF_ERROR(WriteFileAtomic(dir_ + "/table.md", markdown));
  MUSTER_RETURN_IF_ERROR(WriteFileAtomic(dir_ + "/table.tex", latex));
  MUSTER_ASSIGN_OR_RETURN(const std::string page, RenderReport(compared));
  MUSTER_RETURN_IF_ERROR(WriteFileAtomic(dir_ + "/report.html", page));
  std::printf("%s%s\n", text.c_str(), notes.c_str());
  std::fprintf(stderr, "sweep directory  %s (summary.json, table.md, table.tex, report.html%s)\n",
               dir_.c_str(), many_seeds ? " with the first seed of every arm" : "");
  return absl::OkStatus();
}

absl::Status RunSweep(const SweepArguments& arguments) {
  MUSTER_ASSIGN_OR_RETURN(std::string yaml, ReadFile(arguments.grid));
  MUSTER_ASSIGN_OR_RETURN(SweepGrid grid, ParseSweepGrid(yaml, arguments.grid));
  return Sweep(arguments, std::move(yaml), std::move(grid)).RunAll();
}

}  // namespace

void AddSweep(CLI::App& app, std::function<absl::Status()>& action) {
  const auto arguments = std::make_shared<SweepArguments>();
  auto* command = app.add_subcommand("sweep", "Run a grid of configurations and seeds, and compare them");
  command->add_option("GRID", arguments->grid, "Grid file (YAML); see docs/sweep.md")->required();
  command->add_option("--set", arguments->overrides, "Override one value in every cell: path=value")
      ->type_name("PATH=VALUE")
      ->take_all()
      ->expected(1);
  command->add_option(
      "--out", arguments->out,
      "Directory of the sweep (default: runs/NAME); one that holds this sweep is gone on with");
  command
      ->add_option("--workers", arguments->workers,
                   "Worker threads (default: one per core), shared by cells that run at the same time")
      ->check(CLI::Range(1, 1024));
  command->add_flag("--quiet", arguments->quiet, "No progress");
  command->callback([&action, arguments] { action = [arguments] { return RunSweep(*arguments); }; });
}

}  // namespace muster
