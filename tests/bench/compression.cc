// The hot kernels of compression on ten million floats, one thread, as ratios to copying them by memcpy,
// measured in turns in one process:
//   compression_bench [ROUNDS]
// A ratio of 2 is twice as fast as memcpy. Times are the fastest of all rounds: noise only ever slows a run
// down. The payloads of one row are freed before the next is measured.
#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <malloc.h>
#include <time.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <limits>
#include <string>
#include <vector>

#include "compression/compressor.h"
#include "compression/sign_votes.h"

namespace muster {
namespace {

constexpr int64_t kSize = 10'000'000;

// CPU time of this thread: steadier than the wall clock where other programs run.
double Seconds(const std::function<void()>& work) {
  const auto now = [] {
    timespec time;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
    return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
  };
  const double start = now();
  work();
  return now() - start;
}

void Must(const absl::Status& status) {
  if (status.ok()) return;
  std::fprintf(stderr, "%s\n", Message(status).c_str());
  std::exit(1);
}

struct Row {
  std::string name;
  double floor;  // smallest ratio that is good enough; 0: none is set
  std::function<void()> work;
  std::vector<double> seconds = {}, ratios = {};
};

double Median(std::vector<double> values) {
  std::nth_element(values.begin(), values.begin() + static_cast<ptrdiff_t>(values.size() / 2), values.end());
  return values[values.size() / 2];
}

int Main(int rounds) {
  at::set_num_threads(1);
  // As in a process that has run for a while: memory that was freed is used again, not given back.
  mallopt(M_MMAP_THRESHOLD, 1 << 30);
  mallopt(M_TRIM_THRESHOLD, 2'000'000'000);
  Layout layout;
  layout.Add("weight", {kSize}, true);
  Random random({.seed = 1});
  std::vector<float> x(kSize), copy(kSize);
  for (float& value : x) value = static_cast<float>(0.01 * random.Normal());
  const at::Tensor tensor = at::from_blob(x.data(), {kSize}, at::kFloat);
  ExactSum sum(kSize, 1e9);

  // The copy hides from the compiler that nobody reads it.
  const std::function<void()> baseline = [&] {
    std::memcpy(copy.data(), x.data(), x.size() * sizeof(float));
    asm volatile("" : : "r"(copy.data()) : "memory");
  };
  std::vector<Row> rows;
  const auto add = [&](const std::string& name, const OptionMap& options, double encode_floor,
                       double fold_floor, const std::string& label) {
    auto made = Registry<Compressor>::Get().Create({name, options}, {});
    Must(made.status());
    const std::shared_ptr<const Compressor> compressor = *std::move(made);
    const auto payload = std::make_shared<Payload>(*compressor->Compress(x, layout, {.seed = 2}));
    rows.push_back({label + " encode", encode_floor,
                    [&, compressor] { Must(compressor->Compress(x, layout, {.seed = 2}).status()); }});
    rows.push_back(
        {label + " fold", fold_floor, [&, payload] { Must(FoldPayload(*payload, 1, layout, sum)); }});
  };
  add("identity", {}, 0, 0, "identity");
  add("float16", {}, 1.0, 0, "float16");
  add("bfloat16", {}, 0, 0, "bfloat16");
  add("quantize", {}, 0.9, 0.5, "quantize 8 bit");
  add("quantize", {{"bits", int64_t{4}}}, 0, 0, "quantize 4 bit");
  add("natural", {}, 0, 0, "natural");
  add("sign", {}, 1.3, 0, "sign");
  add("ternary", {}, 0, 0, "ternary");
  add("top_k", {{"ratio", 0.01}}, 0.25, 5, "top_k 1 %");
  add("rand_k", {{"ratio", 0.01}}, 0, 0, "rand_k 1 %");
  add("rotation", {}, 0, 0, "rotation 1 bit");
  SignVotes votes(kSize);
  const auto sign = *Registry<Compressor>::Get().Create({"sign", {}}, {});
  const Payload signs = *sign->Compress(x, layout, {.seed = 2});
  rows.push_back({"sign vote", 0, [&] { Must(votes.Add(signs, layout).status()); }});
  std::vector<double> torch, copying;
  for (int round = 0; round < rounds; ++round) {
    for (Row& row : rows) {
      const double before = Seconds(baseline);
      row.seconds.push_back(Seconds(row.work));
      const double after = Seconds(baseline);
      copying.push_back(before);
      row.ratios.push_back((before + after) / 2 / row.seconds.back());
      if (row.name == "top_k 1 % encode" && round < 3) {
        torch.push_back(Seconds([&] { at::topk(tensor.abs(), kSize / 100); }) / row.seconds.back());
      }
    }
  }
  std::printf("memcpy of %ld floats: %.2f ms, %.2f GB/s\n", static_cast<long>(kSize), 1e3 * Median(copying),
              1e-9 * kSize * sizeof(float) / Median(copying));
  const auto verdict = [](double ratio, double floor) {
    if (floor > 0) std::printf("  (floor %.2f: %s)", floor, ratio >= floor ? "ok" : "MISS");
    std::printf("\n");
  };
  for (const Row& row : rows) {
    std::printf("%-22s %8.2f ms  %5.2f x memcpy", row.name.c_str(), 1e3 * Median(row.seconds),
                Median(row.ratios));
    verdict(Median(row.ratios), row.floor);
  }
  std::printf("%-34s  %5.1f x LibTorch's topk", "top_k 1 % encode", Median(torch));
  verdict(Median(torch), 10);
  return 0;
}

}  // namespace
}  // namespace muster

int main(int argc, char** argv) { return muster::Main(argc > 1 ? std::max(1, std::atoi(argv[1])) : 10); }
