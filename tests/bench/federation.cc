// Whole federations as a user starts them, one worker thread each, against loops that do the same work (same
// clients, cohorts, batches, first weights) without a framework, in the same run:
//   federation_bench [MUSTER] [WORKLOAD...]      # names as in the table, or their beginnings: B2 B3-mlp
// The workloads are tests/bench/workloads/*.yaml:
//   B1  no training (optimizer none): what a round costs by the number of registered clients
//   B2  logistic regression
//   B3  MLP, LeNet and CNN on Fashion-MNIST
//   B4  pfl-research's CNN on CIFAR-10: in $MUSTER_TEST_DATA/cifar10, or noise of its shape
// Prints a table and JSON. Timed by the clock are rounds up to and with their commit, but the first, whose
// caches are cold, and without the test set's evaluation. What else the machine does only makes them slower,
// so the fastest of some runs counts. The loops must end in the federation's model.
#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "core/config.h"
#include "core/random.h"
#include "core/safetensors.h"
#include "learning/federated_data.h"
#include "tests/bench/loops.h"
#include "tests/e2e/process.h"

namespace muster {
namespace {

constexpr char kWorkloads[] = MUSTER_BENCH_WORKLOADS;
constexpr int kRuns = 3;

struct Workload {
  std::string name;
  std::string file;
  std::vector<std::string> settings;
};

std::vector<Workload> Workloads(const std::string& cifar10) {
  std::vector<Workload> all;
  for (const int64_t clients : {10, 100, 1000, 10'000, 100'000, 1'000'000}) {
    all.push_back({absl::StrCat("B1-", clients),
                   "b1.yaml",
                   {absl::StrCat("data.clients=", clients),
                    absl::StrCat("federation.rounds=", clients > 10'000 ? 200 : 2000)}});
  }
  all.push_back({"B2", "b2.yaml", {}});
  struct Network {
    const char* model;
    int rounds, rounds_of_1000;  // whose clients have a tenth of the samples each
  };
  for (const Network& network : {Network{"mlp", 11, 101}, {"lenet", 4, 21}, {"cnn", 2, 4}}) {
    for (const bool many : {false, true}) {
      const int clients = many ? 1000 : 100;
      all.push_back({absl::StrCat("B3-", network.model, "-", clients),
                     "b3.yaml",
                     {absl::StrCat("model=", network.model), absl::StrCat("data.clients=", clients),
                      absl::StrCat("federation.rounds=", many ? network.rounds_of_1000 : network.rounds)}});
    }
  }
  all.push_back({"B4", "b4.yaml", {absl::StrCat("data.dataset.path=", cifar10)}});
  return all;
}

// Of the linear layers that the loop by hand can do; none for other models.
std::vector<int64_t> Widths(const std::string& model) {
  if (model == "softmax") return {784, 10};
  if (model == "mlp") return {784, 200, 10};
  return {};
}

template <typename T>
T Must(absl::StatusOr<T> value) {
  if (value.ok()) return *std::move(value);
  std::fprintf(stderr, "federation_bench: %s\n", Message(value.status()).c_str());
  std::exit(1);
}

double Now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

// As CIFAR-10's files are: a label and the pixels of 32x32 in three colours, by sample.
void WriteNoise(const std::string& folder) {
  std::filesystem::create_directories(folder);
  Random random({.seed = 1});
  for (const auto& [file, samples] : {std::pair{"data_batch_1.bin", 10'000}, {"test_batch.bin", 1000}}) {
    std::string bytes;
    for (int i = 0; i < samples; ++i) {
      bytes += static_cast<char>(random.Below(10));
      for (int pixel = 0; pixel < 3 * 32 * 32; ++pixel) bytes += static_cast<char>(random.Below(256));
    }
    WriteAll(absl::StrCat(folder, "/", file), bytes);
  }
}

struct Run {
  double seconds = 0;   // of the rounds after the first
  double whole = 0;     // from the start of the process to its end
  int64_t samples = 0;  // trained on in the rounds after the first
  long peak_bytes = 0;
  std::vector<std::vector<int64_t>> cohorts;
};

Run RunFederation(const std::string& muster, const Workload& workload, const std::string& folder) {
  const std::string out = folder + "/run";
  std::filesystem::remove_all(out);
  std::vector<std::string> command = {muster,      "simulate", absl::StrCat(kWorkloads, "/", workload.file),
                                      "--workers", "1",        "--quiet",
                                      "--out",     out};
  for (const std::string& setting : workload.settings) command.push_back("--set=" + setting);
  Run run;
  const double start = Now();
  Process process(command, folder);
  if (const int code = process.Wait(); code != 0) {
    std::fprintf(stderr, "federation_bench: muster ended with %d: %s\n", code, process.error().c_str());
    std::exit(1);
  }
  run.whole = Now() - start;
  run.peak_bytes = process.peak_bytes();
  std::istringstream rounds(ReadAll(out + "/rounds.jsonl"));
  int64_t before = 0;
  for (std::string line; std::getline(rounds, line);) {
    const nlohmann::json record = nlohmann::json::parse(line);
    const nlohmann::json& seconds = record["seconds"];
    const auto samples = record["totals"]["samples_trained"].get<int64_t>();
    if (run.cohorts.empty()) {
      before = samples;
    } else {
      run.samples = samples - before;
      run.seconds += seconds["total"].get<double>() + seconds["commit"].get<double>() -
                     seconds["evaluate"].get<double>();
    }
    run.cohorts.push_back(record["cohort"].get<std::vector<int64_t>>());
  }
  return run;
}

// A loop in the place of the federation: seconds of the rounds after the first. `model` begins as the
// federation's did and ends as its own.
double RunLoop(Loop& loop, const Partition& partition, const std::vector<std::vector<int64_t>>& cohorts,
               std::vector<float>& model) {
  double start = 0;
  for (size_t round = 0; round < cohorts.size(); ++round) {
    if (round == 1) start = Now();
    AverageRound(loop, partition, cohorts[round], round, model);
  }
  return Now() - start;
}

// How far `a` ended from `b`, as a share of the way from `start` to `b`.
double Difference(const std::vector<float>& a, const std::vector<float>& b, const std::vector<float>& start) {
  double apart = 0, way = 0;
  for (size_t i = 0; i < b.size(); ++i) {
    apart += std::pow(double{a[i]} - b[i], 2);
    way += std::pow(double{b[i]} - start[i], 2);
  }
  return std::sqrt(apart / way);
}

struct Baseline {
  const char* name = "";
  std::function<std::unique_ptr<Loop>()> make;
  double seconds = 1e300;  // of the rounds after the first, at its fastest
  double difference = 0;
};

class Bench {
 public:
  Bench(std::string muster, std::string folder) : muster_(std::move(muster)), folder_(std::move(folder)) {}

  nlohmann::json Measure(const Workload& workload) {
    const std::string path = absl::StrCat(kWorkloads, "/", workload.file);
    v1::Experiment config;
    const absl::Status read = LoadConfig(ReadAll(path), path, kWorkloads, workload.settings, config);
    if (!read.ok()) Must(absl::StatusOr<int>(read));
    std::shared_ptr<const FederatedData> data;
    std::vector<Baseline> baselines;
    std::vector<float> start;
    std::optional<Layout> layout;
    const PluginConfig optimizer = ToPluginConfig(config.training().optimizer());
    if (optimizer.name != "none") {
      data = Must(cache_.Get(config.data(), "", config.seed()));
      const Model::Context context{
          .input_shape = data->train().sample_shape, .outputs = data->train().num_classes, .folder = ""};
      const PluginConfig model = ToPluginConfig(config.model());
      const auto flat = Must(MakeModel(model, context, config.seed()));
      start.assign(flat->values().begin(), flat->values().end());
      layout = flat->layout();
      const LoopOptions options{.batch_size = config.training().batch_size(),
                                .learning_rate = std::get<double>(optimizer.options.at("learning_rate")),
                                .seed = config.seed()};
      baselines.push_back({.name = "bare_loop", .make = [=] {
                             auto made = Must(Registry<Model>::Get().Create(model, context));
                             return MakeBareLoop(data->train(), std::move(made), options);
                           }});
      if (const std::vector<int64_t> widths = Widths(model.name); !widths.empty()) {
        baselines.push_back(
            {.name = "loop_by_hand", .make = [=] { return MakeLoopByHand(data->train(), widths, options); }});
      }
    }
    std::optional<Run> best;
    for (int i = 0; i < kRuns; ++i) {
      Run run = RunFederation(muster_, workload, folder_);
      if (!best || run.seconds < best->seconds) best = std::move(run);
      for (Baseline& baseline : baselines) {
        std::vector<float> model = start;
        baseline.seconds =
            std::min(baseline.seconds, RunLoop(*baseline.make(), data->training, best->cohorts, model));
        baseline.difference =
            Difference(model, Must(ReadModel(folder_ + "/run/model.safetensors", *layout)), start);
      }
    }
    return Tell(workload, config, *best, baselines);
  }

 private:
  static nlohmann::json Tell(const Workload& workload, const v1::Experiment& config, const Run& run,
                             const std::vector<Baseline>& baselines) {
    const double rounds = static_cast<double>(run.cohorts.size() - 1) / run.seconds;
    const double trainings = rounds * static_cast<double>(run.cohorts.front().size());
    const double all = static_cast<double>(run.cohorts.size()) / rounds;
    nlohmann::json result = {{"workload", workload.name},
                             {"clients", config.data().clients()},
                             {"cohort", run.cohorts.front().size()},
                             {"rounds", run.cohorts.size()},
                             {"seconds_of_rounds", all},
                             {"seconds_of_process", run.whole},
                             {"rounds_per_second", rounds},
                             {"trainings_per_second", trainings},
                             {"peak_bytes", run.peak_bytes}};
    std::string samples = "-";
    if (!baselines.empty()) {
      result["samples_per_second"] = static_cast<double>(run.samples) / run.seconds;
      samples = absl::StrCat(static_cast<int64_t>(static_cast<double>(run.samples) / run.seconds));
    }
    std::printf("%-14s %10.2f %12.1f %11s %9.2f %9.2f %9.0f", workload.name.c_str(), rounds, trainings,
                samples.c_str(), all, run.whole, static_cast<double>(run.peak_bytes) / 1e6);
    for (const Baseline& baseline : baselines) {
      const double ratio = baseline.seconds / run.seconds;
      result[baseline.name] = {{"speed_against_it", ratio}, {"difference_of_models", baseline.difference}};
      std::printf(" %11.2fx", ratio);
    }
    std::printf("\n");
    std::fflush(stdout);
    for (const Baseline& baseline : baselines) {
      if (!(baseline.difference < 0.05)) {
        std::fprintf(stderr, "federation_bench: %s ended elsewhere than the %s: %g of the way\n",
                     workload.name.c_str(), baseline.name, baseline.difference);
        std::exit(1);
      }
    }
    return result;
  }

  const std::string muster_, folder_;
  FederatedDataCache cache_;
};

int Main(int argc, char** argv) {
  at::globalContext().setFlushDenormal(true);
  at::set_num_threads(1);
  const std::string muster = argc > 1 ? argv[1] : Muster();
  const std::vector<std::string> wanted(argv + std::min(argc, 2), argv + argc);
  const std::string folder =
      absl::StrCat(std::filesystem::temp_directory_path().string(), "/muster-federation-bench-", getpid());
  std::filesystem::create_directories(folder);
  const char* const files = getenv("MUSTER_TEST_DATA");
  std::string cifar10 = absl::StrCat(files == nullptr ? "" : files, "/cifar10");
  const bool real = std::filesystem::exists(cifar10);
  if (!real) {
    cifar10 = folder + "/cifar10";
    WriteNoise(cifar10);
  }
  std::printf("one worker thread; fastest of %d runs; B4 on %s\n", kRuns,
              real ? "CIFAR-10's images" : "noise of CIFAR-10's shape");
  std::printf("%-14s %10s %12s %11s %9s %9s %9s %12s %12s\n", "workload", "rounds/s", "trainings/s",
              "samples/s", "rounds s", "process s", "peak MB", "/bare loop", "/by hand");
  Bench bench(muster, folder);
  nlohmann::json results = nlohmann::json::array();
  for (const Workload& workload : Workloads(cifar10)) {
    const bool asked = wanted.empty() || std::any_of(wanted.begin(), wanted.end(), [&](const auto& prefix) {
                         return workload.name.starts_with(prefix);
                       });
    if (asked) results.push_back(bench.Measure(workload));
  }
  std::printf("%s\n", nlohmann::json({{"cifar10_is_noise", !real}, {"workloads", results}}).dump().c_str());
  std::filesystem::remove_all(folder);
  return 0;
}

}  // namespace
}  // namespace muster

int main(int argc, char** argv) { return muster::Main(argc, argv); }
