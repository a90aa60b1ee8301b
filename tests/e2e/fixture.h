// A small federation on disk: synthetic images in IDX files and a configuration that learns them.
#ifndef MUSTER_TESTS_E2E_FIXTURE_H_
#define MUSTER_TESTS_E2E_FIXTURE_H_

#include <gtest/gtest.h>

#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "core/random.h"
#include "tests/e2e/process.h"

namespace muster {

class Federation : public ::testing::Test {
 protected:
  void SetUp() override {
    const auto* info = ::testing::UnitTest::GetInstance()->current_test_info();
    std::string name = std::string(info->test_suite_name()) + "-" + info->name();
    for (char& c : name) c = c == '/' ? '-' : c;
    folder_ = ::testing::TempDir() + "muster-e2e-" + std::to_string(getpid()) + "-" + name;
    std::filesystem::remove_all(folder_);
    std::filesystem::create_directories(folder_);
    WriteImages("train", 1200, 1);
    WriteImages("test", 300, 2);
    WriteAll(Path("config.yaml"), kConfig);
  }
  void TearDown() override {
    if (!HasFailure()) std::filesystem::remove_all(folder_);
  }

  std::string Path(const std::string& name) const { return folder_ + "/" + name; }

  Result Run(std::vector<std::string> arguments) const { return RunMuster(std::move(arguments), folder_); }
  Result Simulate(const std::string& out, std::vector<std::string> more = {}) const {
    std::vector<std::string> arguments = {"simulate", Path("config.yaml"), "--quiet", "--out", Path(out)};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return Run(std::move(arguments));
  }
  nlohmann::json Summary(const std::string& out) const {
    return nlohmann::json::parse(ReadAll(Path(out) + "/summary.json"));
  }
  std::string ModelHash(const std::string& out) const { return Summary(out)["model_sha256"]; }

  // Four classes of 8x8 images: a bright quadrant each, with noise.
  void WriteImages(const std::string& part, int count, uint64_t client) const {
    Random random({.seed = 7, .purpose = Purpose::kTest, .client = client});
    std::string images = Header(3, {count, 8, 8}), labels = Header(1, {count});
    for (int i = 0; i < count; ++i) {
      const int label = static_cast<int>(random.Below(4));
      labels += static_cast<char>(label);
      for (int y = 0; y < 8; ++y) {
        for (int x = 0; x < 8; ++x) {
          const bool bright = (y / 4) * 2 + x / 4 == label;
          images += static_cast<char>((bright ? 90 : 0) + random.Below(150));
        }
      }
    }
    WriteAll(Path(part + "-images"), images);
    WriteAll(Path(part + "-labels"), labels);
  }
  static std::string Header(int dimensions, std::vector<int> sizes) {
    std::string header = {'\0', '\0', '\x08', static_cast<char>(dimensions)};
    for (const int size : sizes) {
      for (int shift = 24; shift >= 0; shift -= 8) header += static_cast<char>((size >> shift) & 0xFF);
    }
    return header;
  }

  static constexpr char kConfig[] = R"(name: small
seed: 3
data:
  dataset: {name: idx, train_inputs: train-images, train_labels: train-labels,
            test_inputs: test-images, test_labels: test-labels}
  clients: 24
  partition: {name: dirichlet, alpha: 0.5}
  trust: {samples: 100}
model: {name: mlp, hidden: [16]}
training:
  batch_size: 8
  optimizer: {name: sgd, learning_rate: 0.05, momentum: 0.5}
  schedule: cosine
federation:
  rounds: 12
  participation: {name: isp, initial_clients: 6, period: 4, subsets: 3, warmup_rounds: 2, warmup_epochs: 2}
  server_optimizer: {name: sgd, momentum: 0.3}
evaluation: {every: 3}
)";
  std::string folder_;
};

}  // namespace muster

#endif  // MUSTER_TESTS_E2E_FIXTURE_H_
