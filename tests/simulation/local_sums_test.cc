// Updates that a worker folds itself: which ones, and that their sums are the round's.
#include "simulation/local_sums.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <optional>
#include <utility>
#include <variant>
#include <vector>

#include "client/tensor_vector.h"
#include "compression/compressor.h"

namespace muster {
namespace {

class LocalSumsTest : public ::testing::Test {
 protected:
  LocalSumsTest() { layout_.Add("weight", {kSize}, true); }

  TrainedClient Trained(ClientId client, float value) const {
    Payload payload{PayloadHeader(1, layout_)};  // the codec of whole vectors
    const std::vector<float> values(kSize, value);
    payload.bytes.append(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(float));
    return {
        .outcome = Update{.client = client, .num_samples = 10 * client, .payload = payload, .metrics = {}},
        .if_taken = {},
        .if_refused = {}};
  }
  static const Update& UpdateOf(const TrainedClient& trained) { return std::get<Update>(trained.outcome); }

  static constexpr int64_t kSize = 16;
  Layout layout_;
  const Folding folding_{.aggregator = {}, .cohort = {{1, 10}, {2, 20}, {3, 30}}, .norms = true, .add = {}};
  LocalSums sums_{{.name = "fedavg", .options = {}}, layout_};
};

TEST_F(LocalSumsTest, TheSumsAreThoseOfAnAggregatorThatWasGivenTheUpdates) {
  TrainedClient one = Trained(1, 2), two = Trained(2, -1);
  const int64_t bytes = UpdateOf(one).payload.size();
  auto expected =
      Registry<Aggregator>::Get().Create({"fedavg", {}}, {.layout = &layout_, .cohort = folding_.cohort});
  ASSERT_TRUE((*expected)->Add(UpdateOf(one)).ok());
  ASSERT_TRUE((*expected)->Add(UpdateOf(two)).ok());

  sums_.Fold(5, folding_, /*from=*/1, one);
  sums_.Fold(5, folding_, /*from=*/1, two);
  ASSERT_TRUE(UpdateOf(one).folded.has_value());
  EXPECT_EQ(UpdateOf(one).folded->payload_bytes, bytes);
  EXPECT_EQ(UpdateOf(one).folded->norm, 2 * std::sqrt(static_cast<double>(kSize)));
  EXPECT_EQ(UpdateOf(one).payload.size(), static_cast<int64_t>(kPayloadHeaderBytes));
  EXPECT_EQ(UpdateOf(one).upload_bytes(), bytes);

  const std::unique_ptr<Aggregator> given = sums_.Give(5);
  ASSERT_NE(given, nullptr);
  const std::span<const int64_t> sums = given->Sum()->words(), wanted = (*expected)->Sum()->words();
  EXPECT_TRUE(std::equal(sums.begin(), sums.end(), wanted.begin(), wanted.end()));
  EXPECT_EQ(sums_.Give(5), nullptr);  // once
}

TEST_F(LocalSumsTest, AnUpdateOnADeviceIsFoldedThereOrStaysThere) {
  TrainedClient there = Trained(1, 2), here = Trained(1, 2);
  const auto move = [this](TrainedClient& trained) {
    auto& payload = std::get<Update>(trained.outcome).payload;
    const auto values = *DecodePayload(payload, layout_);
    payload = {.bytes = PayloadHeader(kIdentityCodec, layout_),
               .on_device = MakeDeviceVector(at::tensor(values, at::kFloat), std::nullopt)};
  };
  move(there);
  LocalSums host{{.name = "fedavg", .options = {}}, layout_};
  sums_.Fold(1, folding_, /*from=*/1, there);
  host.Fold(1, folding_, /*from=*/1, here);
  ASSERT_TRUE(UpdateOf(there).folded.has_value());
  EXPECT_EQ(UpdateOf(there).payload.on_device, nullptr);
  EXPECT_EQ(UpdateOf(there).upload_bytes(), UpdateOf(here).upload_bytes());
  EXPECT_EQ(UpdateOf(there).folded->norm, UpdateOf(here).folded->norm);
  TrainedClient bad = Trained(2, 3e6F);  // out of the sum's range
  move(bad);
  sums_.Fold(1, folding_, /*from=*/1, bad);
  EXPECT_FALSE(UpdateOf(bad).folded);
  EXPECT_NE(UpdateOf(bad).payload.on_device, nullptr);
  const auto given = sums_.Give(1), wanted = host.Give(1);
  ASSERT_TRUE(given != nullptr && wanted != nullptr);
  const std::span<const int64_t> sums = given->Sum()->words(), expected = wanted->Sum()->words();
  EXPECT_TRUE(std::equal(sums.begin(), sums.end(), expected.begin(), expected.end()));
}

TEST_F(LocalSumsTest, WhatTheRoundNeedsWholeStaysWhole) {
  std::vector<TrainedClient> whole;
  for (int i = 0; i < 7; ++i) whole.push_back(Trained(1, 1));
  std::get<Update>(whole[0].outcome).extras["control"] = {.bytes = "x"};
  std::get<Update>(whole[1].outcome).numbers["loss"] = {1};
  whole[2].if_taken.vectors["error"] = {1};
  whole[3].if_refused.vectors["error"] = {1};
  whole[4] = Trained(1, std::numeric_limits<float>::quiet_NaN());  // is refused at rank 0
  whole[5] = Trained(9, 1);                                        // so is who was not asked
  whole[6].outcome = ClientFailure{1, "train", "INVALID_ARGUMENT", "diverged"};
  for (TrainedClient& trained : whole) {
    sums_.Fold(1, folding_, /*from=*/1, trained);
    const auto* update = std::get_if<Update>(&trained.outcome);
    EXPECT_TRUE(update == nullptr || !update->folded);
  }
  TrainedClient small = Trained(1, 1);
  sums_.Fold(1, folding_, /*from=*/UpdateOf(small).payload.size() + 1, small);
  EXPECT_FALSE(UpdateOf(small).folded);
  sums_.Fold(1, folding_, /*from=*/0, small);
  EXPECT_FALSE(UpdateOf(small).folded);
  if (const auto given = sums_.Give(1); given != nullptr) {
    for (const int64_t sum : given->Sum()->words()) EXPECT_EQ(sum, 0);
  }
}

TEST_F(LocalSumsTest, ABoutThatIsOverLeavesNothingInTheNext) {
  TrainedClient old = Trained(1, 1), late = Trained(2, 1), current = Trained(3, 1);
  sums_.Fold(1, folding_, 1, old);
  sums_.Fold(2, folding_, 1, current);
  sums_.Fold(1, folding_, 1, late);  // its bout was begun again
  EXPECT_TRUE(UpdateOf(current).folded);
  EXPECT_FALSE(UpdateOf(late).folded);
  EXPECT_EQ(sums_.Give(1), nullptr);
  const std::unique_ptr<Aggregator> given = sums_.Give(2);
  ASSERT_NE(given, nullptr);
  const auto aggregate = std::move(*given).Finish();
  ASSERT_TRUE(aggregate.ok());
  EXPECT_EQ(aggregate->updates, 1);
}

}  // namespace
}  // namespace muster
