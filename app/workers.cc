#include "app/workers.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <map>
#include <thread>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "app/commands.h"
#include "app/experiment.h"
#include "app/run_directory.h"
#include "core/config.h"
#include "core/hash.h"
#include "simulation/torch_runtime.h"

extern char** environ;

namespace muster {
namespace {

template <typename T>
std::string_view Bytes(std::span<const T> values) {
  return {reinterpret_cast<const char*>(values.data()), values.size_bytes()};
}

// Of what clients train on: the samples, and who has which.
std::string HashOf(const FederatedData& data) {
  Sha256Stream hash;
  const Dataset& train = data.train();
  hash.Update(Bytes(std::span(train.sample_shape)));
  hash.Update(Bytes(std::span(train.inputs)));
  hash.Update(Bytes(std::span(train.labels)));
  hash.Update(Bytes(std::span(train.values)));
  for (int64_t client = 0; client < data.clients(); ++client) {
    const std::span<const uint32_t> samples = data.training.samples(client);
    const size_t count = samples.size();
    hash.Update(Bytes(std::span(&count, 1)));
    hash.Update(Bytes(samples));
  }
  return absl::BytesToHexString(hash.Digest());
}

std::map<std::string, std::string> CommonTo(const v1::Experiment& config,
                                            const SimulatedFederation& federation) {
  return {{"version", absl::StrCat(MUSTER_VERSION, ", LibTorch ", TorchVersion())},
          {"configuration", Sha256Hex(ConfigToYaml(config))},
          {"data", HashOf(federation.data())},
          {"device", KindOf(federation.device())}};
}

int NumberOf(const std::shared_ptr<ComputeDevice>& device) {
  return device == nullptr ? -1 : device->place().index();
}

int NumberIn(const char* variable) {
  const char* text = std::getenv(variable);
  int value = 0;
  return text != nullptr && absl::SimpleAtoi(text, &value) ? value : 0;
}

// This process's environment with other values for some variables.
std::vector<std::string> EnvironmentWith(const std::map<std::string, std::string>& values) {
  std::vector<std::string> result;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    const std::string text = *entry;
    if (!values.contains(text.substr(0, text.find('=')))) result.push_back(text);
  }
  for (const auto& [name, value] : values) result.push_back(absl::StrCat(name, "=", value));
  return result;
}

std::vector<char*> Pointers(std::vector<std::string>& texts) {
  std::vector<char*> pointers;
  pointers.reserve(texts.size() + 1);
  for (std::string& text : texts) pointers.push_back(text.data());
  pointers.push_back(nullptr);
  return pointers;
}

}  // namespace

void WorkersFlags::AddCommonTo(CLI::App* command) {
  command
      ->add_option(
          "--patience", patience_seconds,
          "Take a process for dead that does not come, or says nothing, for so many seconds (default: 60)")
      ->check(CLI::Range(1.0, 1e6))
      ->type_name("SECONDS");
  command
      ->add_option("--collective", collective,
                   "How processes exchange vectors: gloo between CPUs (default), nccl between GPUs, one for "
                   "each process; never shows in a result")
      ->check(CLI::IsMember(Registry<Collective>::Get().Names()))
      ->type_name("NAME");
}

void WorkersFlags::AddTo(CLI::App* command) {
  command
      ->add_option("--launch", launch,
                   "Train in so many worker processes, started by this one; --workers are threads of each")
      ->check(CLI::Range(1, 1024))
      ->type_name("N");
  AddCommonTo(command);
}

int ThreadsOfProcess(int asked, int processes) {
  for (const char* variable : {"LOCAL_WORLD_SIZE", "OMPI_COMM_WORLD_LOCAL_SIZE"}) {
    if (processes == 0) processes = NumberIn(variable);
  }
  return asked > 0 ? asked : std::max(1, WorkerCount(0) / std::max(1, processes));
}

absl::StatusOr<std::unique_ptr<LaunchedWorkers>> LaunchedWorkers::Start(
    int count, int port, const std::vector<std::string>& arguments) {
  auto workers = std::unique_ptr<LaunchedWorkers>(new LaunchedWorkers);
  const pid_t parent = ::getpid();
  std::error_code error;
  const std::string program = std::filesystem::read_symlink("/proc/self/exe", error).string();
  for (int rank = 1; rank <= count; ++rank) {
    std::vector<std::string> command = {"muster", "worker"};
    command.insert(command.end(), arguments.begin(), arguments.end());
    std::vector<std::string> environment = EnvironmentWith({{"RANK", absl::StrCat(rank)},
                                                            {"WORLD_SIZE", absl::StrCat(count + 1)},
                                                            {"LOCAL_RANK", absl::StrCat(rank)},
                                                            {"MASTER_ADDR", "127.0.0.1"},
                                                            {"MASTER_PORT", absl::StrCat(port)},
                                                            {"TORCHELASTIC_USE_AGENT_STORE", "False"}});
    const std::vector<char*> argv = Pointers(command), envp = Pointers(environment);
    const pid_t child = ::fork();
    if (child < 0) return InternalError(absl::StrCat("cannot start a worker: ", std::strerror(errno)));
    if (child == 0) {
      // Only what is safe between fork and exec of a program with threads. Standard output is the parent's
      // alone; a signal from the terminal is the parent's to answer.
      ::prctl(PR_SET_PDEATHSIG, SIGKILL);
      if (::getppid() != parent) ::_exit(1);
      ::setpgid(0, 0);
      ::dup2(STDERR_FILENO, STDOUT_FILENO);
      ::execve(program.c_str(), argv.data(), envp.data());
      ::_exit(127);
    }
    workers->running_[rank] = child;
  }
  return workers;
}

absl::Status LaunchedWorkers::AllRun() {
  for (auto worker = running_.begin(); worker != running_.end(); ++worker) {
    int status = 0;
    if (::waitpid(worker->second, &status, WNOHANG) != worker->second) continue;
    running_.erase(worker);
    return absl::UnavailableError(absl::StrCat("a worker ended before the first round, ",
                                               WIFEXITED(status)
                                                   ? absl::StrCat("with exit code ", WEXITSTATUS(status))
                                                   : absl::StrCat("by signal ", WTERMSIG(status))));
  }
  return absl::OkStatus();
}

bool LaunchedWorkers::HasEnded(int rank) const {
  const auto worker = running_.find(rank);
  if (worker == running_.end()) return true;
  siginfo_t ended{};
  const auto pid = static_cast<id_t>(worker->second);
  return ::waitid(P_PID, pid, &ended, WEXITED | WNOHANG | WNOWAIT) == 0 && ended.si_pid != 0;
}

LaunchedWorkers::~LaunchedWorkers() {
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(5);
  while (!running_.empty()) {
    std::erase_if(running_,
                  [](const auto& worker) { return ::waitpid(worker.second, nullptr, WNOHANG) != 0; });
    if (std::chrono::steady_clock::now() >= end) break;
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  for (const auto& [rank, pid] : running_) {
    ::kill(pid, SIGKILL);
    ::waitpid(pid, nullptr, 0);
  }
}

absl::StatusOr<std::unique_ptr<Workers>> Workers::Gather(const WorkersFlags& flags,
                                                         const std::optional<WorkerPlace>& place,
                                                         const v1::Experiment& config,
                                                         const SimulatedFederation& federation, int threads,
                                                         std::vector<std::string> arguments) {
  if (flags.launch == 0 && !place) return nullptr;
  if (flags.launch > 0 && place) {
    return InvalidInput(
        "--launch: a launcher has started this process as one of several already (WORLD_SIZE); "
        "leave --launch out");
  }
  auto workers = std::unique_ptr<Workers>(new Workers);
  WorkerGroupOptions options{.place = {.rank = 0, .size = flags.launch + 1, .host = "127.0.0.1", .port = 0},
                             .collective = flags.collective,
                             .patience_seconds = flags.patience_seconds,
                             .threads = threads,
                             .device = NumberOf(federation.device()),
                             .common = CommonTo(config, federation)};
  if (place) options.place = *place;
  options.still_hoping = [&workers = *workers] {
    return workers.launched_ != nullptr ? workers.launched_->AllRun() : absl::OkStatus();
  };
  options.has_ended = [&workers = *workers](int rank) {
    return workers.launched_ != nullptr && workers.launched_->HasEnded(rank);
  };
  MUSTER_ASSIGN_OR_RETURN(workers->group_, WorkerGroup::Open(std::move(options)));
  if (flags.launch > 0) {
    arguments.push_back(absl::StrCat("--patience=", flags.patience_seconds));
    arguments.push_back(absl::StrCat("--collective=", flags.collective));
    MUSTER_ASSIGN_OR_RETURN(workers->launched_,
                            LaunchedWorkers::Start(flags.launch, workers->group_->place().port, arguments));
  }
  MUSTER_RETURN_IF_ERROR(workers->group_->Form());
  return workers;
}

absl::Status WorkFor(const WorkerPlace& place, const v1::Experiment& config, const WorkersFlags& flags,
                     int threads, const std::shared_ptr<ComputeDevice>& device,
                     const std::function<void(double)>& trained) {
  // A launcher's signal is meant for all: rank 0 finishes its round, and then ends the workers. A second one
  // ends this process at once.
  struct sigaction wait {};
  wait.sa_handler = [](int) {};
  wait.sa_flags = static_cast<int>(SA_RESETHAND) | SA_RESTART;
  ::sigaction(SIGINT, &wait, nullptr);
  ::sigaction(SIGTERM, &wait, nullptr);
  MUSTER_ASSIGN_OR_RETURN(const auto federation, SimulatedFederation::Create(config, threads, device));
  MUSTER_ASSIGN_OR_RETURN(const auto group, WorkerGroup::Open({.place = place,
                                                               .collective = flags.collective,
                                                               .patience_seconds = flags.patience_seconds,
                                                               .threads = threads,
                                                               .device = NumberOf(device),
                                                               .common = CommonTo(config, *federation)}));
  MUSTER_RETURN_IF_ERROR(group->Form());
  return Annotate(federation->Work(*group, trained), absl::StrCat("worker ", place.rank));
}

}  // namespace muster
