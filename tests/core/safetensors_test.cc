#include "core/safetensors.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>

#include "core/file.h"

namespace muster {
namespace {

using ::testing::HasSubstr;

Layout TestLayout() {
  Layout layout;
  layout.Add("fc.weight", {2, 3}, true);
  layout.Add("fc.scale", {}, true);
  layout.Add("none", {0, 4}, true);
  layout.Add("bn.mean", {2}, false);
  return layout;
}

const std::vector<float> kValues = {1, -2, 3.5f, 4, 5, 6, 7, 8, -9};

std::string File(const std::string& header, const std::string& data = "") {
  const uint64_t length = header.size();
  std::string bytes(8, '\0');
  std::memcpy(bytes.data(), &length, 8);
  return bytes + header + data;
}

std::string TempFile(const std::string& name) {
  return (std::filesystem::path(::testing::TempDir()) / (std::to_string(::getpid()) + "_" + name)).string();
}

TEST(Safetensors, RoundTrip) {
  const std::string bytes = ToSafetensors(TestLayout(), kValues, {{"round", "3"}});
  uint64_t length = 0;
  std::memcpy(&length, bytes.data(), 8);
  EXPECT_EQ(length % 8, 0u);
  EXPECT_EQ(bytes.size(), 8 + length + kValues.size() * 4);

  const auto parsed = ParseSafetensors(bytes, "m");
  ASSERT_TRUE(parsed.ok()) << parsed.status();
  EXPECT_EQ(parsed->tensors.size(), 4u);
  EXPECT_EQ(parsed->tensors.at("fc.weight").shape, (std::vector<int64_t>{2, 3}));
  EXPECT_EQ(parsed->tensors.at("fc.weight").values, (std::vector<float>{1, -2, 3.5f, 4, 5, 6}));
  EXPECT_EQ(parsed->tensors.at("fc.scale").values, std::vector<float>{7});
  EXPECT_TRUE(parsed->tensors.at("fc.scale").shape.empty());
  EXPECT_TRUE(parsed->tensors.at("none").values.empty());
  EXPECT_EQ(parsed->tensors.at("bn.mean").values, (std::vector<float>{8, -9}));
  EXPECT_EQ(parsed->metadata.at("round"), "3");
}

TEST(Safetensors, AnEmptyModel) {
  const auto parsed = ParseSafetensors(ToSafetensors({}, {}), "m");
  ASSERT_TRUE(parsed.ok()) << parsed.status();
  EXPECT_TRUE(parsed->tensors.empty());
}

TEST(Safetensors, EveryCutIsRefused) {
  const std::string bytes = ToSafetensors(TestLayout(), kValues);
  for (size_t size = 0; size < bytes.size(); ++size) {
    EXPECT_FALSE(ParseSafetensors(std::string_view(bytes).substr(0, size), "m").ok()) << size;
  }
}

struct Malformed {
  std::string bytes;
  const char* cause;
};
class MalformedSafetensors : public ::testing::TestWithParam<Malformed> {};

TEST_P(MalformedSafetensors, IsRefusedWithItsCause) {
  const auto parsed = ParseSafetensors(GetParam().bytes, "model.safetensors");
  EXPECT_EQ(parsed.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(Message(parsed.status()), HasSubstr(GetParam().cause));
  EXPECT_THAT(Message(parsed.status()),
              ::testing::StartsWith("model.safetensors: not a usable safetensors file: "));
}

const std::string kEight(8, '\0');
INSTANTIATE_TEST_SUITE_P(
    All, MalformedSafetensors,
    ::testing::Values(
        Malformed{"", "shorter than its 8-byte header length"}, Malformed{"1234567", "shorter"},
        Malformed{std::string(8, '\xff'), "the header is cut off"},
        Malformed{File("{").substr(0, 8), "the header is cut off"},
        Malformed{File(""), "the header is not a JSON object"}, Malformed{File("{,}"), "not a JSON object"},
        Malformed{File("[]"), "not a JSON object"},
        Malformed{File(std::string(100000, '[')), "not a JSON object"},
        Malformed{File("{\"\xff\":1}"), "not a JSON object"},
        Malformed{File(R"({"__metadata__":3})"), "__metadata__ is not an object"},
        Malformed{File(R"({"a":3})"), "lacks dtype, shape or data_offsets"},
        Malformed{File(R"({"a":{"dtype":"F32","shape":[1]}})"), "lacks dtype"},
        Malformed{File(R"({"a":{"dtype":"F64","shape":[1],"data_offsets":[0,8]}})", kEight),
                  "'a' is not F32"},
        Malformed{File(R"({"a":{"dtype":7,"shape":[1],"data_offsets":[0,4]}})", kEight), "'a' is not F32"},
        Malformed{File(R"({"a":{"dtype":"F32","shape":1,"data_offsets":[0,4]}})", kEight), "malformed shape"},
        Malformed{File(R"({"a":{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}})", kEight),
                  "malformed shape"},
        Malformed{File(R"({"a":{"dtype":"F32","shape":["1"],"data_offsets":[0,4]}})", kEight),
                  "malformed shape"},
        Malformed{File(R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0]}})", kEight), "malformed"},
        Malformed{File(R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,-4]}})", kEight), "malformed"},
        Malformed{File(R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0.5,4]}})", kEight), "malformed"},
        Malformed{File(R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[8,12]}})", kEight),
                  "outside the file"},
        Malformed{File(R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[4,0]}})", kEight),
                  "outside the file"},
        Malformed{File(R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,8]}})", kEight), "disagree"},
        Malformed{File(R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,4]}})", kEight), "disagree"},
        // 2^62 elements of 4 bytes are 0 bytes in 64-bit arithmetic.
        Malformed{File(R"({"a":{"dtype":"F32","shape":[4611686018427387904],"data_offsets":[0,0]}})", kEight),
                  "larger than the file"},
        Malformed{
            File(R"({"a":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,0]}})", kEight),
            "larger than the file"},
        Malformed{File(R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},)"
                       R"("b":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}})",
                       kEight),
                  "tensors overlap"}));

TEST(Safetensors, ReadModelNeedsExactlyTheLayout) {
  const std::string path = TempFile("model.safetensors");
  ASSERT_TRUE(WriteFileAtomic(path, ToSafetensors(TestLayout(), kValues)).ok());
  const auto values = ReadModel(path, TestLayout());
  ASSERT_TRUE(values.ok()) << values.status();
  EXPECT_EQ(*values, kValues);

  Layout other = TestLayout();
  other.Add("extra", {5, 2}, true);
  EXPECT_EQ(Message(ReadModel(path, other).status()),
            path + ": lacks the model's tensor 'extra' of shape [5, 2]");
  Layout fewer;
  fewer.Add("fc.weight", {2, 3}, true);
  EXPECT_EQ(Message(ReadModel(path, fewer).status()), path + ": tensor 'bn.mean' is not in the model");
  Layout reshaped;
  reshaped.Add("fc.weight", {3, 2}, true);
  EXPECT_EQ(Message(ReadModel(path, reshaped).status()),
            path + ": tensor 'fc.weight' has shape [2, 3], the model needs [3, 2]");
  EXPECT_EQ(ReadModel(path + ".none", TestLayout()).status().code(), absl::StatusCode::kNotFound);
  std::filesystem::remove(path);
}

}  // namespace
}  // namespace muster
