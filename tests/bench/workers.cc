// Worker processes against one another: the same federation with 1, 2 and 4 of one thread each, as a user
// starts it, and in one process on as many threads, the baseline of each. Prints a table and JSON; ratios are
// of this very run.
//   workers_bench [MUSTER] [--set path=value]...
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <thread>
#include <vector>

#include "tests/e2e/process.h"

namespace muster {
namespace {

constexpr char kConfig[] = R"(name: workers
data: {clients: 100, train_limit: 20000}
model: lenet
training: {optimizer: {name: sgd, learning_rate: 0.05}}
federation: {rounds: 8, participation: {name: fixed, clients: 20}}
evaluation: {every: 100}
)";

struct Run {
  double seconds = 0;  // of training, without the first round
  std::string model_sha256;
};

Run MeasureOnce(const std::string& muster, const std::string& folder, const std::vector<std::string>& more) {
  const std::string out = folder + "/run";
  std::filesystem::remove_all(out);
  std::vector<std::string> command = {muster, "simulate", folder + "/config.yaml", "--quiet", "--out", out};
  command.insert(command.end(), more.begin(), more.end());
  Process process(command, folder);
  if (const int code = process.Wait(); code != 0) {
    std::fprintf(stderr, "workers_bench: muster ended with %d: %s\n", code, process.error().c_str());
    std::exit(1);
  }
  Run run;
  std::istringstream rounds(ReadAll(out + "/rounds.jsonl"));
  bool first = true;  // its caches are cold
  for (std::string line; std::getline(rounds, line); first = false) {
    if (!first) run.seconds += nlohmann::json::parse(line)["seconds"]["train"].get<double>();
  }
  run.model_sha256 = nlohmann::json::parse(ReadAll(out + "/summary.json"))["model_sha256"];
  return run;
}

// The fastest of some runs: what else the machine does only makes them slower.
Run Measure(const std::string& muster, const std::string& folder, const std::vector<std::string>& more) {
  constexpr int kRuns = 3;
  Run best = MeasureOnce(muster, folder, more);
  for (int i = 1; i < kRuns; ++i) {
    const Run run = MeasureOnce(muster, folder, more);
    if (run.model_sha256 != best.model_sha256) {
      std::fprintf(stderr, "workers_bench: other bits in another run\n");
      std::exit(1);
    }
    best.seconds = std::min(best.seconds, run.seconds);
  }
  return best;
}

int Main(int argc, char** argv) {
  const std::string muster = argc > 1 ? argv[1] : Muster();
  const std::vector<std::string> settings(argv + std::min(argc, 2), argv + argc);
  const std::string folder =
      std::filesystem::temp_directory_path().string() + "/muster-workers-bench-" + std::to_string(getpid());
  std::filesystem::create_directories(folder);
  WriteAll(folder + "/config.yaml", kConfig);
  const auto with = [&settings](std::vector<std::string> arguments) {
    arguments.insert(arguments.end(), settings.begin(), settings.end());
    return arguments;
  };
  const int cores = static_cast<int>(std::max(1U, std::thread::hardware_concurrency()));
  std::printf("%d cores; seconds of training, without the first round\n", cores);
  std::printf("%8s %10s %10s %16s %12s %10s\n", "workers", "seconds", "threads", "threads/workers",
              "against one", "of ideal");
  nlohmann::json results = nlohmann::json::array();
  double one = 0;
  std::string bits;
  for (const int count : {1, 2, 4}) {
    const std::string number = std::to_string(count);
    const Run threads = Measure(muster, folder, with({"--workers", number}));
    const Run workers = Measure(muster, folder, with({"--launch", number, "--workers", "1"}));
    if (count == 1) {
      one = workers.seconds;
      bits = workers.model_sha256;
    }
    if (threads.model_sha256 != bits || workers.model_sha256 != bits) {
      std::fprintf(stderr, "workers_bench: other bits with %d workers\n", count);
      return 1;
    }
    const double gain = one / workers.seconds;
    const double ideal = std::min(count, cores);
    std::printf("%8d %10.3f %10.3f %15.2fx %11.2fx %9.0f%%\n", count, workers.seconds, threads.seconds,
                threads.seconds / workers.seconds, gain, 100 * gain / ideal);
    results.push_back({{"workers", count},
                       {"seconds", workers.seconds},
                       {"seconds_of_as_many_threads", threads.seconds},
                       {"against_one", gain},
                       {"of_ideal", gain / ideal}});
  }
  std::printf("%s\n",
              nlohmann::json({{"cores", cores}, {"model_sha256", bits}, {"runs", results}}).dump().c_str());
  std::filesystem::remove_all(folder);
  return 0;
}

}  // namespace
}  // namespace muster

int main(int argc, char** argv) { return muster::Main(argc, argv); }
