// What the tests of all compressors share: every registered one with its defaults, and chosen ones with
// others.
#ifndef MUSTER_TESTS_COMPRESSION_CASES_H_
#define MUSTER_TESTS_COMPRESSION_CASES_H_

#include <gtest/gtest.h>

#include <cmath>
#include <memory>
#include <ostream>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "compression/compressor.h"

namespace muster {

inline PluginConfig PipelineOf(std::vector<std::string> stages) {
  return {"pipeline", {{"stages", std::move(stages)}}};
}

inline std::vector<PluginConfig> CompressorCases() {
  std::vector<PluginConfig> cases;
  for (const std::string& name : Registry<Compressor>::Get().Names()) cases.push_back({name, {}});
  const auto add = [&cases](const char* name, OptionMap options) {
    cases.push_back({name, std::move(options)});
  };
  using Int = int64_t;
  add("top_k", {{"ratio", 0.1}});
  add("top_k", {{"count", Int{3}}});
  add("top_k", {{"ratio", 1.0}});
  add("stc", {{"ratio", 0.2}});
  add("threshold", {{"value", 0.01}, {"of", std::string("absolute")}});
  add("rand_k", {{"ratio", 0.2}});
  add("rand_k", {{"ratio", 0.2}, {"scaled", false}});
  for (const Int bits : {2, 3, 4, 5, 6, 7}) add("quantize", {{"bits", bits}});
  add("quantize", {{"bucket", Int{0}}});
  add("quantize", {{"bits", Int{4}}, {"bucket", Int{20000}}});
  for (const Int levels : {1, 3, 7, 128, 1000, 32767}) add("qsgd", {{"levels", levels}});
  add("ternary", {{"bucket", Int{0}}});
  add("ternary", {{"bucket", Int{33}}});
  add("sign", {{"scale", std::string("none")}});
  add("sign", {{"scale", std::string("energy")}, {"bucket", Int{10}}});
  add("sign", {{"bucket", Int{0}}});
  add("count_sketch", {{"rows", Int{1}}, {"keep", 0.0}, {"ratio", 0.5}});
  add("count_sketch", {{"rows", Int{3}}, {"keep", 0.1}, {"ratio", 1.0}});
  add("power_sgd", {{"rank", Int{1}}, {"iterations", Int{1}}});
  add("power_sgd", {{"rank", Int{64}}});
  for (const std::vector<std::string>& stages : {
           std::vector<std::string>{"top_k ratio=0.1", "quantize bits=4"},
           {"top_k ratio=0.1", "sign"},
           {"top_k ratio=0.1", "float16"},
           {"rand_k ratio=0.25", "quantize"},
           {"rand_k ratio=0.5 scaled=false", "rotation block=16", "qsgd levels=64"},
           {"rotation", "quantize bits=4"},
           {"rotation block=64", "float16"},
           {"rotation block=1048576", "ternary"},
           {"power_sgd", "float16"},
           {"count_sketch", "quantize"},
           {"per_layer", "top_k ratio=0.1", "quantize bits=4"},
           {"per_layer dense_vectors=false dense=bi*s,none", "qsgd"},
           {"per_layer", "power_sgd rank=1"},
           {"zstd", "natural"},
           {"zstd level=1", "top_k ratio=0.1", "bfloat16"},
       }) {
    cases.push_back(PipelineOf(stages));
  }
  return cases;
}

inline std::string Describe(const PluginConfig& config) {
  std::string text = config.name;
  for (const auto& [name, value] : config.options) absl::StrAppend(&text, " ", name, "=", ToString(value));
  return text;
}

// How GoogleTest shows a case.
inline void PrintTo(const PluginConfig& config, std::ostream* out) { *out << Describe(config); }

inline std::unique_ptr<Compressor> MakeCompressor(const PluginConfig& config) {
  auto made = Registry<Compressor>::Get().Create(config, {});
  EXPECT_TRUE(made.ok()) << made.status();
  return made.ok() ? *std::move(made) : nullptr;
}

// A square matrix and two vectors, so that a codec that works by tensor has borders to get wrong.
inline Layout TestLayout(int64_t size) {
  const auto side = static_cast<int64_t>(std::sqrt(static_cast<double>(size) * 2 / 3));
  const int64_t rest = size - side * side;
  Layout layout;
  layout.Add("weight", {side, side}, true);
  layout.Add("norm", {rest / 2}, true);
  layout.Add("bias", {rest - rest / 2}, true);
  return layout;
}

}  // namespace muster

#endif  // MUSTER_TESTS_COMPRESSION_CASES_H_
