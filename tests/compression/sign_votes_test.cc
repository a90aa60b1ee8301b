#include "compression/sign_votes.h"

#include <gmock/gmock.h>

#include <cmath>

#include "absl/strings/str_cat.h"
#include "compression/compressor.h"

namespace muster {
namespace {

Layout LayoutOf(int64_t size) {
  Layout layout;
  layout.Add("weight", {size}, true);
  return layout;
}

std::vector<float> Values(int64_t size, uint64_t seed) {
  Random random({.seed = seed});
  std::vector<float> values;
  for (int64_t i = 0; i < size; ++i) values.push_back(static_cast<float>(random.Normal()));
  return values;
}

Payload Encode(const std::vector<float>& values, const OptionMap& options,
               const std::string& codec = "sign") {
  auto compressor = Registry<Compressor>::Get().Create({codec, options}, {});
  EXPECT_TRUE(compressor.ok()) << compressor.status();
  auto payload = (*compressor)->Compress(values, LayoutOf(static_cast<int64_t>(values.size())), {.seed = 1});
  EXPECT_TRUE(payload.ok()) << payload.status();
  return *std::move(payload);
}

struct Form {
  int64_t size, bucket;
};

class SignVotesOf : public testing::TestWithParam<Form> {};

// 300 voters: counters grow to nine bits.
TEST_P(SignVotesOf, EqualTheSumOfDecodedSigns) {
  const auto [size, bucket] = GetParam();
  const Layout layout = LayoutOf(size);
  SignVotes votes(size);
  std::vector<int32_t> expected(static_cast<size_t>(size));
  for (uint64_t voter = 0; voter < 300; ++voter) {
    const Payload payload = Encode(Values(size, voter), {{"bucket", bucket}, {"scale", std::string("none")}});
    ASSERT_EQ(*votes.Add(payload, layout), true);
    const std::vector<float> decoded = *DecodePayload(payload, layout);
    for (size_t i = 0; i < expected.size(); ++i) expected[i] += decoded[i] > 0 ? 1 : -1;
  }
  std::vector<int32_t> sums(expected.size());
  votes.AddTo(sums);
  EXPECT_EQ(sums, expected);
  EXPECT_EQ(votes.voters(), 300);
}

INSTANTIATE_TEST_SUITE_P(Sizes, SignVotesOf,
                         testing::Values(Form{0, 0}, Form{1, 0}, Form{63, 64}, Form{64, 0}, Form{1000, 128},
                                         Form{33'000, 0}, Form{70'000, 4096}),
                         [](const auto& info) {
                           return absl::StrCat(info.param.size, "in", info.param.bucket);
                         });

TEST(SignVotesTest, WhatCannotBeCountedOnBitsLeavesNoTrace) {
  const Layout layout = LayoutOf(200);
  SignVotes votes(200);
  const std::vector<float> values = Values(200, 1);
  std::vector<float> half_zero = values;
  std::fill(half_zero.begin(), half_zero.begin() + 64, 0.0F);
  EXPECT_EQ(*votes.Add(Encode(values, {}, "identity"), layout), false) << "no signs";
  EXPECT_EQ(*votes.Add(Encode(values, {{"bucket", int64_t{7}}}), layout), false) << "buckets across words";
  EXPECT_EQ(*votes.Add(Encode(half_zero, {{"bucket", int64_t{64}}}), layout), false) << "zeros abstain";
  Payload damaged = Encode(values, {{"bucket", int64_t{64}}});
  damaged.bytes.pop_back();
  EXPECT_TRUE(absl::IsInvalidArgument(votes.Add(damaged, layout).status()));
  EXPECT_TRUE(absl::IsInvalidArgument(votes.Add(Encode(values, {}), LayoutOf(199)).status()));
  EXPECT_EQ(votes.voters(), 0);
  std::vector<int32_t> sums(200, 5);
  votes.AddTo(sums);
  EXPECT_THAT(sums, testing::Each(5));
}

}  // namespace
}  // namespace muster
