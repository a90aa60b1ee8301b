// Rules that bear liars, against hand-computed values and against the plain mean.
#include <algorithm>
#include <cmath>

#include "core/random.h"
#include "gmock/gmock.h"
#include "server/aggregation/collecting.h"
#include "server/aggregation/update_set.h"
#include "tests/server/fakes.h"

namespace muster {
namespace {

using ::testing::ElementsAre;
using ::testing::FloatNear;
using ::testing::Pointwise;

Layout LayoutOf(int64_t size) {
  Layout layout;
  layout.Add("weight", {size}, true);
  return layout;
}

std::vector<float> Aggregated(const PluginConfig& config, const std::vector<std::vector<float>>& deltas) {
  const Layout layout = LayoutOf(static_cast<int64_t>(deltas.front().size()));
  std::vector<ClientInfo> cohort;
  for (size_t i = 0; i < deltas.size(); ++i)
    cohort.push_back({.id = static_cast<ClientId>(i), .num_samples = 5});
  auto aggregator = Registry<Aggregator>::Get().Create(
      config, {.layout = &layout, .cohort = cohort, .uniform_weights = false});
  EXPECT_TRUE(aggregator.ok()) << aggregator.status();
  for (size_t i = 0; i < deltas.size(); ++i) {
    Update update;
    update.client = static_cast<ClientId>(i);
    update.num_samples = 5;
    update.payload = test::Encode(deltas[i], layout);
    const absl::Status added = (*aggregator)->Add(update);
    EXPECT_TRUE(added.ok()) << added;
  }
  auto aggregate = std::move(**aggregator).Finish();
  EXPECT_TRUE(aggregate.ok()) << aggregate.status();
  return aggregate->delta;
}

TEST(MedianTest, IsTheMiddleOfEveryElement) {
  EXPECT_THAT(Aggregated({"median", {}}, {{1, 9}, {5, 7}, {2, 8}}), ElementsAre(2, 8));
  EXPECT_THAT(Aggregated({"median", {}}, {{1, -9}, {5, 7}, {2, 8}, {100, 1}}), ElementsAre(3.5, 4));
}

TEST(TrimmedMeanTest, LeavesTheExtremesOut) {
  const std::vector<std::vector<float>> deltas = {{1000}, {1}, {2}, {3}, {-1000}};
  EXPECT_THAT(Aggregated({"trimmed_mean", {{"trim", 0.2}}}, deltas), ElementsAre(2));
  EXPECT_THAT(Aggregated({"trimmed_mean", {{"trim", 0.0}}}, {{1}, {2}, {6}}), ElementsAre(3));
}

TEST(KrumTest, TakesTheUpdateWithTheNearestNeighbours) {
  // n = 5, f = 1: two nearest neighbours. Scores: 0.05, 0.02, 0.05, ...; the liar is far from all.
  const std::vector<std::vector<float>> deltas = {{1.0F}, {1.1F}, {1.2F}, {2.0F}, {-50}};
  EXPECT_THAT(Aggregated({"krum", {{"liars", 0.2}}}, deltas), ElementsAre(1.1F));
  EXPECT_THAT(Aggregated({"multi_krum", {{"liars", 0.2}}}, deltas), ElementsAre(FloatNear(1.325F, 1e-6F)));
}

TEST(GeometricMedianTest, OfCollinearPointsIsTheMiddleOne) {
  const std::vector<float> median =
      Aggregated({"geometric_median", {{"iterations", int64_t{500}}}}, {{0, 0}, {1, 1}, {7, 7}});
  EXPECT_THAT(median, Pointwise(FloatNear(1e-2F), {1.0F, 1.0F}));
}

TEST(CenteredClippingTest, AStepIsTheMeanOfClippedDifferences) {
  // Norms 1, 1, 10; radius 2: (1 + 1 + 2) / 3.
  EXPECT_THAT(
      Aggregated({"centered_clipping", {{"radius", 2.0}, {"iterations", int64_t{1}}}}, {{1}, {1}, {10}}),
      ElementsAre(FloatNear(4.0F / 3, 1e-6F)));
}

TEST(NormBoundingTest, CutsLongUpdatesOnly) {
  EXPECT_THAT(Aggregated({"norm_bounding", {{"bound", 5.0}}}, {{3, 0}, {30, 40}}),
              ElementsAre(FloatNear(3, 1e-6F), FloatNear(2, 1e-6F)));
}

class RobustRule : public testing::TestWithParam<std::string> {};

std::vector<std::vector<float>> WithLiars(size_t honest, size_t liars, float shift = 0) {
  Random random({.seed = 2});
  std::vector<std::vector<float>> deltas;
  for (size_t i = 0; i < honest + liars; ++i) {
    std::vector<float> delta;
    for (int k = 0; k < 20; ++k) delta.push_back(shift + static_cast<float>(0.1 * random.Normal()));
    if (i >= honest) std::fill(delta.begin(), delta.end(), 1e5F);
    deltas.push_back(delta);
  }
  return deltas;
}

TEST_P(RobustRule, StaysNearTheHonestWhereTheMeanIsCarriedAway) {
  const auto deltas = WithLiars(8, 2);
  EXPECT_GT(std::abs(Aggregated({"fedavg", {}}, deltas)[0]), 1e4F);
  for (const float value : Aggregated({GetParam(), {}}, deltas)) EXPECT_LT(std::abs(value), 0.5F);
}

TEST_P(RobustRule, MovesWithItsInputs) {
  const std::vector<float> here = Aggregated({GetParam(), {}}, WithLiars(9, 0));
  const std::vector<float> there = Aggregated({GetParam(), {}}, WithLiars(9, 0, 0.25F));
  // Centred clipping starts from 0 and only gets near.
  const float tolerance = GetParam() == "centered_clipping" ? 0.1F : 1e-4F;
  for (size_t i = 0; i < here.size(); ++i) EXPECT_NEAR(there[i], here[i] + 0.25F, tolerance);
}

INSTANTIATE_TEST_SUITE_P(All, RobustRule,
                         testing::Values("median", "trimmed_mean", "krum", "multi_krum", "geometric_median",
                                         "centered_clipping"),
                         [](const auto& info) { return info.param; });

TEST(UpdateSetTest, OnDiskAndInMemoryAreTheSame) {
  const auto deltas = WithLiars(7, 0);
  UpdateSet memory(20), disk(20, /*memory_bytes=*/200), early(20, /*memory_bytes=*/0);
  for (size_t i = 0; i < deltas.size(); ++i) {
    const auto client = static_cast<ClientId>(100 - i);
    ASSERT_TRUE(memory.Add(client, 1, deltas[i]).ok());
    ASSERT_TRUE(disk.Add(client, 1, deltas[i]).ok());
    ASSERT_TRUE(early.Add(client, 1, deltas[i]).ok());
  }
  const auto contents = [](const UpdateSet& set) {
    std::vector<std::vector<float>> rows(static_cast<size_t>(set.count()));
    EXPECT_TRUE(set.ForEachBlock([&](int64_t, std::span<const std::span<const float>> block) {
                     for (size_t i = 0; i < block.size(); ++i) {
                       rows[i].insert(rows[i].end(), block[i].begin(), block[i].end());
                     }
                   })
                    .ok());
    return rows;
  };
  std::vector<std::vector<float>> expected(deltas.rbegin(), deltas.rend());  // ascending by client
  EXPECT_EQ(contents(memory), expected);
  EXPECT_EQ(contents(disk), expected);
  EXPECT_EQ(contents(early), expected);
}

}  // namespace
}  // namespace muster
