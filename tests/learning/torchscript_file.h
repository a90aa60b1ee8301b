// TorchScript files as a test needs them.
#ifndef MUSTER_TESTS_LEARNING_TORCHSCRIPT_FILE_H_
#define MUSTER_TESTS_LEARNING_TORCHSCRIPT_FILE_H_

#include <gtest/gtest.h>
#include <torch/script.h>
#include <unistd.h>

#include <cstdint>
#include <filesystem>
#include <string>
#include <system_error>
#include <vector>

namespace muster {

// A path of its own for the running test, in a folder that goes with the process.
inline std::string TestFile(const std::string& name) {
  struct Folder {
    const std::filesystem::path path =
        std::filesystem::path(::testing::TempDir()) / ("muster-torchscript-" + std::to_string(getpid()));
    Folder() { std::filesystem::create_directories(path); }
    ~Folder() {
      std::error_code ignored;
      std::filesystem::remove_all(path, ignored);
    }
  };
  static const Folder folder;
  const auto* const test = ::testing::UnitTest::GetInstance()->current_test_info();
  std::string file = std::string(test->test_suite_name()) + "." + test->name() + "." + name;
  for (char& c : file) c = c == '/' ? '_' : c;
  return folder.path / file;
}

// Writes a perceptron with one hidden layer of 8 and a running mean in a buffer; `body` may replace what
// comes after the hidden layer `h`. Returns the path.
inline std::string WriteTorchScriptMlp(const std::vector<int64_t>& shape, int64_t outputs,
                                       const std::string& body = "return torch.matmul(h, self.w2.t())") {
  int64_t size = 1;
  for (const int64_t side : shape) size *= side;
  torch::manual_seed(4);
  torch::jit::Module module("m");
  module.register_parameter("w1", (torch::randn({8, size}) * 0.1).requires_grad_(), /*is_buffer=*/false);
  module.register_parameter("w2", (torch::randn({outputs, 8}) * 0.1).requires_grad_(), /*is_buffer=*/false);
  module.register_buffer("shift", torch::zeros({8}));
  module.register_attribute("training", c10::BoolType::get(), true);
  module.define(
      "def forward(self, x):\n"
      "    h = torch.relu(torch.matmul(x.flatten(1), self.w1.t()) + self.shift)\n"
      "    " +
      body + "\n");
  const std::string path = TestFile("model.pt");
  module.save(path);
  return path;
}

}  // namespace muster

#endif  // MUSTER_TESTS_LEARNING_TORCHSCRIPT_FILE_H_
