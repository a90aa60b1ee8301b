#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <memory>
#include <string>

#include "learning/model.h"
#include "learning/models/forward_random.h"
#include "tests/learning/torchscript_file.h"

namespace muster {
namespace {

using ::testing::HasSubstr;

absl::StatusOr<std::unique_ptr<FlatModel>> Load(const std::string& file, const std::string& folder = "") {
  return MakeModel({"torchscript", {{"file", file}}}, {.input_shape = {6}, .outputs = 3, .folder = folder},
                   1);
}

TEST(TorchScriptTest, RoundTrip) {
  const std::string path = WriteTorchScriptMlp({6}, 3);
  torch::jit::Module original = torch::jit::load(path);
  const auto flat = Load(path);
  ASSERT_TRUE(flat.ok()) << flat.status();
  EXPECT_EQ((*flat)->layout().size, 8 * 6 + 3 * 8 + 8);
  EXPECT_FALSE((*flat)->layout().entries.back().trainable);
  const at::Tensor x = at::ones({2, 6});
  EXPECT_TRUE(at::equal((*flat)->model().Forward(x), original.forward({x}).toTensor()));
  for (float& value : (*flat)->values()) value = 1;
  // Hidden: 6 + 1 each; output: 8 of them.
  EXPECT_EQ((*flat)->model().Forward(x)[0][0].item<float>(), 56);
}

TEST(TorchScriptTest, TheFileIsRelativeToTheFolder) {
  const std::filesystem::path path = WriteTorchScriptMlp({6}, 3);
  EXPECT_TRUE(Load(path.filename().string(), path.parent_path().string()).ok());
}

TEST(TorchScriptTest, DropoutFollowsTheThreadsGenerator) {
  const std::string path =
      WriteTorchScriptMlp({6}, 3, "return torch.matmul(torch.dropout(h, 0.5, self.training), self.w2.t())");
  const auto flat = Load(path);
  ASSERT_TRUE(flat.ok()) << flat.status();
  Model& model = (*flat)->model();
  model.SetTraining(true);
  const at::Tensor x = at::ones({4, 6});
  SeedForwardRandom({.seed = 1});
  const at::Tensor a = model.Forward(x);
  const at::Tensor b = model.Forward(x);
  torch::manual_seed(99);
  SeedForwardRandom({.seed = 1});
  EXPECT_TRUE(at::equal(model.Forward(x), a));
  EXPECT_FALSE(at::equal(a, b));
  model.SetTraining(false);
  EXPECT_TRUE(at::equal(model.Forward(x), model.Forward(x)));
}

TEST(TorchScriptTest, MissingFile) {
  const auto status = Load("/no/such/model.pt").status();
  EXPECT_EQ(status.code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(Message(status), HasSubstr("/no/such/model.pt"));
}

TEST(TorchScriptTest, ForeignFile) {
  const std::string path = TestFile("text.pt");
  std::ofstream(path) << "not a module";
  const auto status = Load(path).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(Message(status), HasSubstr("not a TorchScript module"));
  EXPECT_THAT(Message(status), ::testing::Not(HasSubstr("\n")));
}

TEST(TorchScriptTest, WrongInputShape) {
  const auto status = Load(WriteTorchScriptMlp({7}, 3)).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(Message(status), HasSubstr("does not take inputs of shape {2, 6}"));
  EXPECT_THAT(Message(status), ::testing::Not(HasSubstr("\n")));
}

TEST(TorchScriptTest, WrongOutputs) {
  const auto status = Load(WriteTorchScriptMlp({6}, 4)).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(Message(status), HasSubstr("{2, 4}"));
  EXPECT_THAT(Message(status), HasSubstr("must be float32 {2, 3}"));
}

}  // namespace
}  // namespace muster
