// The coordinator's service over loopback, with its clients in a process of their own; mutual TLS where not
// said otherwise:
//   round     10 clients without training, a small model: milliseconds from offer to fold (no engine, no
//   journal),
//             against the same round with streams for model and update
//   transfer  a large model to 6 clients and back: against a bare gRPC stream of chunks, and the memory it
//   takes sessions  10,000 idle sessions, plain text, over 100 connections: memory and processor time; then a
//   round
//             over 500 of them
// service_bench [round|transfer|sessions] [megabytes of the large model]
#include <grpcpp/create_channel.h>
#include <grpcpp/server_builder.h>
#include <malloc.h>
#include <signal.h>
#include <spawn.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "compression/compressor.h"
#include "core/exact_sum.h"
#include "core/hash.h"
#include "core/transport/chunk.h"
#include "core/transport/credentials.h"
#include "server/service/remote_client_pool.h"
#include "server/service/server.h"
#include "tests/bench/service_load.h"

extern char** environ;

namespace muster::bench {
namespace {

using Clock = std::chrono::steady_clock;
double Since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

template <typename T>
T Must(absl::StatusOr<T> value) {
  if (!value.ok()) {
    std::fprintf(stderr, "%s\n", Message(value.status()).c_str());
    std::exit(1);
  }
  return *std::move(value);
}

// Of this process, in MB: "VmRSS" now, "VmHWM" at most.
double MemoryMb(const std::string& key) {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    if (line.starts_with(key)) return std::atof(line.c_str() + key.size() + 1) / 1000 * 1.024;
  }
  return 0;
}
void ForgetPeak() { std::ofstream("/proc/self/clear_refs") << "5"; }

double ProcessorSeconds() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  const auto seconds = [](const timeval& t) {
    return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_usec) * 1e-6;
  };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

// Of this thread: what a core would need if nothing else ran.
double ThreadSeconds() {
  timespec now{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) * 1e-9;
}

// This program once more, with these words.
class Child {
 public:
  explicit Child(std::vector<std::string> words) {
    words.insert(words.begin(), "service_bench");
    std::vector<char*> argv;
    for (std::string& word : words) argv.push_back(word.data());
    argv.push_back(nullptr);
    if (posix_spawn(&process_, "/proc/self/exe", nullptr, nullptr, argv.data(), environ) != 0) std::abort();
  }
  ~Child() {
    if (process_ < 0) return;
    kill(process_, SIGKILL);
    Wait();
  }
  void Wait() { waitpid(std::exchange(process_, -1), nullptr, 0); }

 private:
  pid_t process_ = -1;
};
Child Clients(const std::string& address, const std::string& certs, int clients, int channels,
              size_t max_inline_bytes = kMaxInlineBytes) {
  return Child({"load", address, certs, absl::StrCat(clients), absl::StrCat(channels),
                absl::StrCat(max_inline_bytes)});
}

// A coordinator without an engine in a folder of its own.
struct Coordinator {
  // `tls`: mutual; else plain text.
  Coordinator(const Layout& layout, const std::string& folder, int clients, double heartbeat_seconds,
              bool tls)
      : journal(Must(Journal::Create(folder, Durability::kProcess))) {
    PoolOptions options{.federation = "bench",
                        .name = "bench",
                        .clients = clients,
                        .min_clients = clients,
                        .heartbeat_seconds = heartbeat_seconds,
                        .now = {},
                        .access = nullptr,
                        .log = {}};
    pool = Must(RemoteClientPool::Start(
        options, layout, *journal, Must(UpdateSpool::Open(folder + "/journal/spool", Durability::kProcess))));
    const LogLine quiet = [](std::string_view) {};
    if (tls) {
      const TlsMaterial material =
          Must(LoadTls(TlsFilesIn(folder + "/certs", "coordinator"), TlsRole::kServer));
      credentials =
          MakeServerCredentials(material, Must(AccessControl::Open({}, material.authority, quiet)), quiet);
    }
    server = Must(CoordinatorServer::Start("127.0.0.1:0", credentials, *pool, quiet));
  }
  std::unique_ptr<Journal> journal;
  std::unique_ptr<RemoteClientPool> pool;
  std::shared_ptr<grpc::ServerCredentials> credentials;
  std::unique_ptr<CoordinatorServer> server;
};

struct Folder {
  Folder()
      : path(absl::StrCat(std::filesystem::temp_directory_path().string(), "/muster_service_bench_",
                          getpid())) {
    std::filesystem::create_directories(path);
    Must(MakeCertificates({.directory = path + "/certs", .clients = 10, .days = 1, .server_names = {}}));
  }
  ~Folder() { std::filesystem::remove_all(path); }
  const std::string path;
};

Task MakeTask(const Layout& layout, int64_t round) {
  Task task;
  task.round = round;
  task.model = std::make_shared<const std::vector<float>>(static_cast<size_t>(layout.size), 0.5F);
  return task;
}

// Runs one round and folds what comes, or only takes it where there is no sum; the number of accepted
// updates.
int64_t RunRound(RemoteClientPool& pool, const Layout& layout, const Task& task,
                 const std::vector<ClientId>& cohort, ExactSum* sum, double* fold_seconds = nullptr) {
  int64_t accepted = 0;
  const absl::Status status = pool.Run(
      task, cohort,
      [&](Outcome outcome) -> absl::Status {
        const auto* update = std::get_if<Update>(&outcome);
        if (update == nullptr) return absl::CancelledError("no update");
        const double start = ThreadSeconds();
        absl::Status taken =
            sum == nullptr ? absl::OkStatus() : FoldPayload(update->payload, 1, layout, *sum);
        if (fold_seconds != nullptr) *fold_seconds += ThreadSeconds() - start;
        accepted += taken.ok() ? 1 : 0;
        return taken;
      },
      [] { return false; });
  if (!status.ok()) std::fprintf(stderr, "%s\n", Message(status).c_str());
  return accepted;
}

std::vector<ClientId> FirstClients(int64_t count) {
  std::vector<ClientId> cohort;
  for (int64_t k = 0; k < count; ++k) cohort.push_back(k);
  return cohort;
}

// Sorted seconds of 200 rounds.
std::vector<double> TimeRounds(size_t max_inline_bytes) {
  const Folder folder;
  Layout layout;
  layout.Add("weight", {1000}, true);
  Coordinator coordinator(layout, folder.path, 10, 5, /*tls=*/true);
  const Child clients =
      Clients(coordinator.server->address(), folder.path + "/certs", 10, 10, max_inline_bytes);
  (void)coordinator.pool->WaitUntilReady([] { return false; });
  std::vector<double> seconds;
  for (int64_t round = 0; round < 200; ++round) {
    const Clock::time_point start = Clock::now();
    ExactSum sum(layout.size, 10);
    const int64_t accepted =
        RunRound(*coordinator.pool, layout, MakeTask(layout, round), FirstClients(10), &sum);
    coordinator.pool->Committed(round);
    if (accepted != 10)
      std::fprintf(stderr, "round %lld: %lld of 10 accepted\n", static_cast<long long>(round),
                   static_cast<long long>(accepted));
    seconds.push_back(Since(start));
  }
  std::sort(seconds.begin(), seconds.end());
  return seconds;
}

void Rounds() {
  const std::vector<double> transfers = TimeRounds(0), session = TimeRounds(kMaxInlineBytes);
  std::printf(
      "round of 10 clients without training, mTLS: median %.2f ms, 90th percentile %.2f ms (goal: median at "
      "most 10); %.2f of the %.2f ms that it takes with Download and Upload\n",
      session[100] * 1e3, session[180] * 1e3, session[100] / transfers[100], transfers[100] * 1e3);
}

void Transfers(int64_t megabytes) {
  const Folder folder;
  Layout layout;
  layout.Add("weight", {megabytes * 250'000}, true);
  const double model_mb = static_cast<double>(layout.size) * 4e-6;
  Coordinator coordinator(layout, folder.path, 6, 5, /*tls=*/true);
  const Child clients = Clients(coordinator.server->address(), folder.path + "/certs", 6, 6);
  (void)coordinator.pool->WaitUntilReady([] { return false; });

  // The baseline: the same clients move the same bytes to and from a service that does nothing with them.
  double bare_seconds = 0;
  {
    BareService bare;
    grpc::ServerBuilder builder;
    int port = 0;
    builder.AddListeningPort("127.0.0.1:0", coordinator.credentials, &port);
    builder.RegisterService(&bare);
    const auto server = builder.BuildAndStart();
    const auto bytes = static_cast<int64_t>(kPayloadHeaderBytes) + layout.size * 4;
    const Clock::time_point start = Clock::now();
    Child({"move", absl::StrCat("127.0.0.1:", port), folder.path + "/certs", absl::StrCat(bytes)}).Wait();
    bare_seconds = Since(start);
  }
  malloc_trim(0);  // what the baseline left behind is none of the coordinator's
  ForgetPeak();
  const double before_mb = MemoryMb("VmRSS:");
  double fold_seconds = 0;
  std::vector<double> seconds;  // of a round that only moves the bytes, and of one that folds them, too
  int64_t accepted = 0;
  for (int64_t round = 0; round < 2; ++round) {
    const Task task = MakeTask(layout, round);
    std::optional<ExactSum> sum;
    if (round == 1) sum.emplace(layout.size, 6);
    const Clock::time_point start = Clock::now();
    accepted += RunRound(*coordinator.pool, layout, task, FirstClients(6), sum ? &*sum : nullptr,
                         round == 1 ? &fold_seconds : nullptr);
    seconds.push_back(Since(start));
    coordinator.pool->Committed(round);
  }
  const double peak_mb = MemoryMb("VmHWM:");
  std::printf("model of %.0f MB to 6 clients and back, mTLS: %lld of 12 accepted in two rounds\n", model_mb,
              static_cast<long long>(accepted));
  std::printf(
      "  transfer  %.0f MB/s; %.2f of a bare gRPC chunk stream's %.0f MB/s (goal: at least 0.7), while "
      "folding %.2f\n",
      12 * model_mb / seconds[0], bare_seconds / seconds[0], 12 * model_mb / bare_seconds,
      bare_seconds / seconds[1]);
  std::printf("  folding   %.2f GB/s of processor time (goal: at least 2)\n",
              6 * model_mb / 1000 / fold_seconds);
  std::printf(
      "  memory    peak %.0f MB = %.2f models + 100 MB (start model and accumulator are 3; %.0f MB before)\n",
      peak_mb, (peak_mb - 100) / model_mb, before_mb);
}

void Sessions() {
  constexpr int kSessions = 10'000;
  const Folder folder;
  Layout layout;
  layout.Add("weight", {1000}, true);
  Coordinator coordinator(layout, folder.path, kSessions, 30, /*tls=*/false);
  const Clock::time_point start = Clock::now();
  const Child clients = Clients(coordinator.server->address(), "", kSessions, 100);
  (void)coordinator.pool->WaitUntilReady([&] { return Since(start) > 120; });
  std::printf("%lld sessions joined within %.1f s\n", static_cast<long long>(coordinator.pool->connected()),
              Since(start));
  const double before = ProcessorSeconds();
  std::this_thread::sleep_for(std::chrono::seconds(30));
  std::printf(
      "  idle      %.0f MB (goal: under 1000), %.1f %% of a core over 30 s, heartbeats every 30 s (goal: "
      "under 10)\n",
      MemoryMb("VmRSS:"), (ProcessorSeconds() - before) / 30 * 100);
  ExactSum sum(layout.size, 500);
  const Clock::time_point round = Clock::now();
  const int64_t accepted = RunRound(*coordinator.pool, layout, MakeTask(layout, 0), FirstClients(500), &sum);
  std::printf("  a round over 500 of them: %lld accepted in %.2f s\n", static_cast<long long>(accepted),
              Since(round));
}

}  // namespace
}  // namespace muster::bench

int main(int argc, char** argv) {
  const std::string what = argc > 1 ? argv[1] : "all";
  if (what == "load") {
    int clients = 0, channels = 0;
    int64_t max_inline_bytes = 0;
    if (argc != 7 || !absl::SimpleAtoi(argv[6], &max_inline_bytes) || !absl::SimpleAtoi(argv[4], &clients) ||
        !absl::SimpleAtoi(argv[5], &channels))
      return 2;
    return muster::bench::Load(argv[2], argv[3], clients, channels, max_inline_bytes);
  }
  if (what == "move") {
    int64_t bytes = 0;
    if (argc != 5 || !absl::SimpleAtoi(argv[4], &bytes)) return 2;
    std::vector<std::thread> threads;
    for (int k = 0; k < 6; ++k)
      threads.emplace_back([=] { muster::bench::MoveBare(argv[2], argv[3], k, bytes); });
    for (std::thread& thread : threads) thread.join();
    return 0;
  }
  int64_t megabytes = 335;
  if (argc > 2 && !absl::SimpleAtoi(argv[2], &megabytes)) return 2;
  if (what == "all" || what == "round") muster::bench::Rounds();
  if (what == "all" || what == "transfer") muster::bench::Transfers(megabytes);
  if (what == "all" || what == "sessions") muster::bench::Sessions();
  return 0;
}
