#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/compression/cases.h"

namespace muster {
namespace {

using ::testing::HasSubstr;

std::string Error(std::vector<std::string> stages) {
  return Message(Registry<Compressor>::Get().Create(PipelineOf(std::move(stages)), {}).status());
}

TEST(Pipeline, MistakesAreNamedWithTheirStage) {
  EXPECT_EQ(Error({}), "stages: must name at least one compressor");
  EXPECT_THAT(Error({"top_k", "quantise"}), HasSubstr("stages[1]: "));
  EXPECT_THAT(Error({"top_k", "quantise"}), HasSubstr("did you mean 'quantize'?"));
  EXPECT_THAT(Error({"top_k ratio=2", "quantize"}), HasSubstr("stages[0]: ratio: 2 is out of range"));
  EXPECT_THAT(Error({"top_k ratio"}), HasSubstr("'ratio' is not OPTION=VALUE"));
  EXPECT_THAT(Error({"top_k ratio=0.1 ratio=0.2"}), HasSubstr("ratio: is given twice"));
  EXPECT_THAT(Error({""}), HasSubstr("stages[0]: is empty"));
  EXPECT_EQ(Error({"quantize", "top_k"}), "stages[0]: quantize leaves no values; nothing can follow it");
  EXPECT_THAT(Error({"stc", "quantize"}), HasSubstr("nothing can follow it"));
  EXPECT_THAT(Error({"top_k", "pipeline"}), "");
}

// 1,000 elements, 10 kept: count, coding of places, their size, places, and 4-bit codes in one bucket.
TEST(Pipeline, TopKThenFourBitsIsSmall) {
  Layout layout;
  layout.Add("w", {1000}, true);
  std::vector<float> x(1000);
  for (int i = 0; i < 1000; ++i) x[i] = i % 100 == 50 ? static_cast<float>(i) : 0.5F;
  const auto payload =
      MakeCompressor(PipelineOf({"top_k ratio=0.01", "quantize bits=4"}))->Compress(x, layout, {});
  ASSERT_TRUE(payload.ok());
  // 24 header, 1 count, 1 coding, 1 size, 10 gaps of at most 10 bits; 1 codec, 6 form, 4 step, 5 codes.
  EXPECT_LE(payload->size(), 24 + 3 + 13 + 1 + 6 + 4 + 5);
  const auto decoded = DecodePayload(*payload, layout);
  ASSERT_TRUE(decoded.ok());
  for (int i = 0; i < 1000; ++i) {
    EXPECT_NEAR((*decoded)[i], i % 100 == 50 ? x[i] : 0, i % 100 == 50 ? 950.0 / 7 : 0) << i;
  }
}

TEST(PerLayer, VectorsAndNamedTensorsStayAsTheyAre) {
  Layout layout;
  layout.Add("first.weight", {10, 10}, true);
  layout.Add("first.bias", {10}, true);
  layout.Add("head.weight", {10, 10}, true);
  std::vector<float> x(210);
  for (int i = 0; i < 210; ++i) x[i] = static_cast<float>(i + 1);
  const auto decoded = DecodePayload(
      *MakeCompressor(PipelineOf({"per_layer dense=head.*", "top_k ratio=0.1"}))->Compress(x, layout, {}),
      layout);
  ASSERT_TRUE(decoded.ok());
  for (int i = 0; i < 210; ++i) EXPECT_EQ((*decoded)[i], i < 90 ? 0 : x[i]) << i;
}

}  // namespace
}  // namespace muster
