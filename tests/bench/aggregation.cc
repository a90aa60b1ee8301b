// Peak memory and time of aggregation rules, each in a process of its own that holds one update at a time, as
// a coordinator does:
//   aggregation_bench [PARAMETERS [RULE CLIENTS]...]
// By default 10 million parameters, fedavg over 1000 clients and the median over 100. Memory is the whole
// process's largest resident set, given in models (4 bytes a parameter) and against keeping all updates. Time
// is that of the process, against a baseline in the same run: reading every update once into a buffer
// (memcpy).
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <string>
#include <vector>

#include "server/aggregation/aggregator.h"

namespace muster {
namespace {

struct Case {
  std::string rule;
  int64_t clients = 0;
  double limit = 0;  // of the peak, in bytes; 0: none
};

void Must(const absl::Status& status) {
  if (status.ok()) return;
  std::fprintf(stderr, "%s\n", Message(status).c_str());
  std::exit(1);
}

// Another update for every client, in the same memory.
void Fill(int64_t client, std::span<float> values) {
  const auto shift = static_cast<uint32_t>(client) * 40503U;
  for (size_t i = 0; i < values.size(); ++i) {
    const uint32_t mixed = (static_cast<uint32_t>(i) + shift) * 2654435761U;
    values[i] = static_cast<float>(static_cast<int32_t>(mixed)) * 0x1p-34F;
  }
}

// Calls `take` with the update of every client.
void ForEachUpdate(const Layout& layout, int64_t clients, const std::function<void(const Update&)>& take) {
  Update update;
  update.num_samples = 1;
  update.payload.bytes = PayloadHeader(/*codec=*/1, layout);
  const size_t header = update.payload.bytes.size();
  update.payload.bytes.resize(header + static_cast<size_t>(layout.size) * sizeof(float));
  auto* values = reinterpret_cast<float*>(update.payload.bytes.data() + header);
  for (int64_t client = 0; client < clients; ++client) {
    Fill(client, {values, static_cast<size_t>(layout.size)});
    update.client = client;
    take(update);
  }
}

void Copy(const Layout& layout, int64_t clients) {
  std::vector<char> buffer;
  ForEachUpdate(layout, clients, [&](const Update& update) {
    buffer.resize(update.payload.bytes.size());
    std::memcpy(buffer.data(), update.payload.bytes.data(), buffer.size());
  });
}

void Aggregate(const Case& of, const Layout& layout) {
  std::vector<ClientInfo> cohort;
  for (int64_t client = 0; client < of.clients; ++client) cohort.push_back({client, 1});
  auto aggregator = Registry<Aggregator>::Get().Create({of.rule, {}}, {.layout = &layout, .cohort = cohort});
  Must(aggregator.status());
  ForEachUpdate(layout, of.clients, [&](const Update& update) { Must((*aggregator)->Add(update)); });
  const auto aggregate = std::move(**aggregator).Finish();
  Must(aggregate.status());
  if (static_cast<int64_t>(aggregate->delta.size()) != layout.size) std::exit(1);
}

struct Measured {
  double seconds = 0;
  double peak_bytes = 0;
};
Measured InAProcess(const std::function<void()>& work) {
  const auto start = std::chrono::steady_clock::now();
  std::fflush(stdout);
  const pid_t child = fork();
  if (child == 0) {
    work();
    _exit(0);
  }
  int status = 0;
  rusage usage{};
  if (child < 0 || wait4(child, &status, 0, &usage) != child || status != 0) {
    std::fprintf(stderr, "a measured process failed\n");
    std::exit(1);
  }
  return {std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count(),
          1024.0 * static_cast<double>(usage.ru_maxrss)};
}

int Main(int64_t parameters, const std::vector<Case>& cases) {
  Layout layout;
  layout.Add("weight", {parameters}, true);
  const double model = 4.0 * static_cast<double>(parameters);
  std::printf("%ld parameters, a model of %.1f MB\n", static_cast<long>(parameters), model / 1e6);
  std::printf("%-18s %8s %10s %8s %16s %9s %9s\n", "rule", "clients", "peak MB", "models", "of all updates",
              "seconds", "x memcpy");
  bool good = true;
  for (const Case& each : cases) {
    const Measured copy = InAProcess([&] { Copy(layout, each.clients); });
    const Measured measured = InAProcess([&] { Aggregate(each, layout); });
    const double all = model * static_cast<double>(each.clients);
    const bool met = each.limit == 0 || measured.peak_bytes < each.limit;
    good = good && met;
    std::printf("%-18s %8ld %10.1f %8.2f %15.2f%% %9.1f %9.2f", each.rule.c_str(),
                static_cast<long>(each.clients), measured.peak_bytes / 1e6, measured.peak_bytes / model,
                100 * measured.peak_bytes / all, measured.seconds, measured.seconds / copy.seconds);
    if (each.limit > 0) std::printf("  %s %.0f MB", met ? "below" : "NOT BELOW", each.limit / 1e6);
    std::printf("\n");
  }
  return good ? 0 : 1;
}

}  // namespace
}  // namespace muster

int main(int argc, char** argv) {
  const long parameters = argc > 1 ? std::atol(argv[1]) : 10'000'000;
  std::vector<muster::Case> cases;
  for (int i = 2; i + 1 < argc; i += 2) cases.push_back({argv[i], std::atol(argv[i + 1]), 0});
  if (cases.empty())
    cases = {{"fedavg", 1000, 4 * 4.0 * static_cast<double>(parameters)}, {"median", 100, 1e9}};
  return muster::Main(parameters, cases);
}
