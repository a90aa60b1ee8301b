#include <algorithm>
#include <cmath>
#include <cstring>
#include <functional>
#include <limits>
#include <numeric>
#include <optional>

#include "compression/compressor.h"
#include "core/random.h"
#include "gmock/gmock.h"
#include "server/aggregation/aggregator.h"
#include "tests/server/plugin_options.h"

namespace muster {
namespace {

using ::testing::Each;
using ::testing::ElementsAreArray;
using ::testing::HasSubstr;

constexpr int64_t kSize = 53;

Layout MakeLayout(int64_t size = kSize) {
  Layout layout;
  layout.Add("weight", {size - 1}, true);
  layout.Add("running_mean", {1}, false);
  return layout;
}

// Bytes as a client without scruples would send them: no check of the values.
Payload RawPayload(const std::vector<float>& values, const Layout& layout) {
  Payload payload{PayloadHeader(1, layout)};
  payload.bytes.append(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(float));
  return payload;
}

std::vector<float> Normals(uint64_t key) {
  Random random({.seed = 5, .round = key});
  std::vector<float> values;
  for (int64_t i = 0; i < kSize; ++i) values.push_back(static_cast<float>(0.1 * random.Normal()));
  return values;
}

// A cohort whose clients' updates are random vectors, weighed by samples that no small power of two divides.
struct Cohort {
  explicit Cohort(size_t count, int64_t scale = 1) {
    for (size_t i = 0; i < count; ++i) {
      const auto id = static_cast<ClientId>(10 * i + 3);
      clients.push_back({.id = id, .num_samples = scale * (7 + 11 * static_cast<int64_t>(i))});
      deltas.push_back(Normals(i));
      updates.push_back({.client = id,
                         .num_samples = clients.back().num_samples,
                         .payload = RawPayload(deltas.back(), layout),
                         .metrics = {},
                         .download_bytes = 0});
    }
  }
  std::unique_ptr<Aggregator> Make(const PluginConfig& config, bool uniform_weights = false,
                                   std::optional<std::vector<double>> weights = {}) const {
    auto made = Registry<Aggregator>::Get().Create(config, {.layout = &layout,
                                                            .cohort = clients,
                                                            .uniform_weights = uniform_weights,
                                                            .weights = std::move(weights)});
    EXPECT_TRUE(made.ok()) << made.status();
    return *std::move(made);
  }

  const Layout layout = MakeLayout();
  std::vector<ClientInfo> clients;
  std::vector<std::vector<float>> deltas;
  std::vector<Update> updates;
};

Aggregate Finish(std::unique_ptr<Aggregator> aggregator) {
  auto aggregate = std::move(*aggregator).Finish();
  EXPECT_TRUE(aggregate.ok()) << aggregate.status();
  return aggregate.ok() ? *std::move(aggregate) : Aggregate();
}

Aggregate AddAll(std::unique_ptr<Aggregator> aggregator, const std::vector<Update>& updates) {
  for (const Update& update : updates) {
    const absl::Status status = aggregator->Add(update);
    EXPECT_TRUE(status.ok()) << status;
  }
  return Finish(std::move(aggregator));
}

void ExpectSameBits(const Aggregate& a, const Aggregate& b) {
  ASSERT_EQ(a.delta.size(), b.delta.size());
  EXPECT_EQ(std::memcmp(a.delta.data(), b.delta.data(), a.delta.size() * sizeof(float)), 0);
  EXPECT_EQ(a.updates, b.updates);
  EXPECT_EQ(a.total_weight, b.total_weight);
}

class EveryAggregator : public testing::TestWithParam<std::tuple<std::string, bool>> {
 protected:
  std::unique_ptr<Aggregator> Make(const Cohort& cohort) const {
    return cohort.Make({name_, {}}, uniform_weights_);
  }
  // What the rule takes an element of an update for.
  float Counted(float value) const {
    return name_ == "majority_vote" ? static_cast<float>((value > 0) - (value < 0)) : value;
  }
  const std::string name_ = std::get<0>(GetParam());
  const bool uniform_weights_ = std::get<1>(GetParam());
  const Cohort cohort_{6};
};

TEST_P(EveryAggregator, TheOrderOfUpdatesDoesNotChangeABit) {
  const Aggregate expected = AddAll(Make(cohort_), cohort_.updates);
  EXPECT_EQ(expected.updates, 6);
  std::vector<Update> updates = cohort_.updates;
  for (uint64_t i = 0; i < 20; ++i) {
    Random({.seed = 1, .round = i}).Shuffle(std::span(updates));
    ExpectSameBits(AddAll(Make(cohort_), updates), expected);
  }
}

TEST_P(EveryAggregator, TheWayUpdatesAreSpreadOverSumsDoesNotChangeABit) {
  const Aggregate expected = AddAll(Make(cohort_), cohort_.updates);
  if (Make(cohort_)->Sum() == nullptr) return;  // it is more than a sum
  EXPECT_FALSE(Make(cohort_)->NeedsAll());
  for (uint64_t i = 0; i < 20; ++i) {
    Random random({.seed = 2, .round = i});
    std::vector<std::unique_ptr<Aggregator>> parts;
    for (int part = 0; part < 4; ++part) parts.push_back(Make(cohort_));
    for (const Update& update : cohort_.updates) ASSERT_TRUE(parts[random.Below(4)]->Add(update).ok());
    random.Shuffle(std::span(parts));
    for (int part = 1; part < 4; ++part) {
      ASSERT_TRUE(parts[0]->Sum()->AddWords(parts[part]->Sum()->words()).ok());
    }
    ExpectSameBits(Finish(std::move(parts[0])), expected);
  }
}

TEST_P(EveryAggregator, EqualUpdatesReturnThemselves) {
  std::vector<Update> updates = cohort_.updates;
  std::vector<float> values;
  for (int64_t i = 0; i < kSize; ++i) values.push_back(static_cast<float>(i - 20) / 64);
  for (Update& update : updates) update.payload = RawPayload(values, cohort_.layout);
  for (float& value : values) value = Counted(value);
  EXPECT_THAT(AddAll(Make(cohort_), updates).delta, ElementsAreArray(values));
}

TEST_P(EveryAggregator, ASingleUpdateReturnsItself) {
  const Cohort cohort(1);
  const Aggregate aggregate = AddAll(Make(cohort), cohort.updates);
  EXPECT_EQ(aggregate.updates, 1);
  // Fixed point keeps 2^-40 of the bound on the weights, which is less than twice this weight.
  for (size_t i = 0; i < kSize; ++i) EXPECT_NEAR(aggregate.delta[i], Counted(cohort.deltas[0][i]), 1e-8);
}

TEST_P(EveryAggregator, ScalingAllWeightsChangesNothing) {
  const Aggregate once = AddAll(Make(cohort_), cohort_.updates);
  const Cohort scaled(6, 1024);
  const Aggregate many = AddAll(Make(scaled), scaled.updates);
  EXPECT_THAT(many.delta, ElementsAreArray(once.delta));
}

// A mean takes the given weights, 0 among them; rules that bear liars count every client once.
TEST_P(EveryAggregator, AnUpdateOfWeightZeroCountsForNothingOrLikeAnyOther) {
  const std::vector<double> weights = {1, 2, 0, 3, 4, 5};
  const Aggregate all = AddAll(cohort_.Make({name_, {}}, uniform_weights_, weights), cohort_.updates);
  if (Make(cohort_)->IsMean()) {
    std::vector<Update> others = cohort_.updates;
    others.erase(others.begin() + 2);
    const Aggregate without = AddAll(cohort_.Make({name_, {}}, uniform_weights_, weights), others);
    EXPECT_THAT(all.delta, ElementsAreArray(without.delta));
    EXPECT_EQ(all.total_weight, without.total_weight);
    auto nothing = cohort_.Make({name_, {}}, uniform_weights_, std::vector<double>(6));
    for (const Update& update : cohort_.updates) ASSERT_TRUE(nothing->Add(update).ok());
    EXPECT_EQ(std::move(*nothing).Finish().status().code(), absl::StatusCode::kFailedPrecondition);
  } else {
    ExpectSameBits(all, AddAll(Make(cohort_), cohort_.updates));
  }
}

// Samples of 0 are a weight of 0, which no honest client has; where samples do not weigh they do not matter.
TEST_P(EveryAggregator, AnUpdateWithoutSamplesIsRefusedOrCountsLikeAnyOther) {
  std::vector<Update> updates = cohort_.updates;
  updates[3].num_samples = 0;
  auto aggregator = Make(cohort_);
  const bool taken = aggregator->Add(updates[3]).ok();
  updates.erase(updates.begin() + 3);
  const Aggregate aggregate = AddAll(std::move(aggregator), updates);
  ExpectSameBits(aggregate, AddAll(Make(cohort_), taken ? cohort_.updates : updates));
}

TEST_P(EveryAggregator, AMeanIsTheMeanByTheWeightsItTells) {
  auto aggregator = Make(cohort_);
  if (!aggregator->IsMean()) {
    for (const Update& update : cohort_.updates) EXPECT_EQ(aggregator->Weight(update), 1);
    return;
  }
  std::vector<double> sums(kSize);
  double total = 0;
  for (size_t c = 0; c < cohort_.updates.size(); ++c) {
    const double weight = aggregator->Weight(cohort_.updates[c]);
    for (size_t i = 0; i < kSize; ++i) sums[i] += weight * static_cast<double>(cohort_.deltas[c][i]);
    total += weight;
  }
  const Aggregate aggregate = AddAll(std::move(aggregator), cohort_.updates);
  for (size_t i = 0; i < kSize; ++i) EXPECT_NEAR(aggregate.delta[i], sums[i] / total, 1e-7);
}

TEST_P(EveryAggregator, ZerosAddUpToZeros) {
  std::vector<Update> updates = cohort_.updates;
  for (Update& update : updates) update.payload = RawPayload(std::vector<float>(kSize), cohort_.layout);
  EXPECT_THAT(AddAll(Make(cohort_), updates).delta, Each(0.0f));
}

TEST_P(EveryAggregator, ARefusedUpdateLeavesNoTrace) {
  const std::vector<Update> good(cohort_.updates.begin(), cohort_.updates.begin() + 3);
  const Update& victim = cohort_.updates[4];
  const Layout other = MakeLayout(kSize + 1);
  const auto with = [&](const std::function<void(Update&)>& change) {
    Update update = victim;
    change(update);
    return update;
  };
  const auto with_value = [&](float value) {
    std::vector<float> values = Normals(9);
    values[40] = value;
    return with([&](Update& u) { u.payload = RawPayload(values, cohort_.layout); });
  };
  const std::vector<Update> bad = {
      with_value(std::numeric_limits<float>::quiet_NaN()),
      with_value(std::numeric_limits<float>::infinity()),
      with_value(1e30f),
      with([&](Update& u) { u.payload = RawPayload(std::vector<float>(kSize + 1), other); }),
      with([&](Update& u) { u.payload = RawPayload(std::vector<float>(kSize + 1), cohort_.layout); }),
      with([](Update& u) { u.payload.bytes.pop_back(); }),
      with([](Update& u) { u.payload.bytes.resize(5); }),
      with([](Update& u) { u.payload.bytes.clear(); }),
      with([](Update& u) { u.payload.bytes[3] = '\xEE'; }),
      with([](Update& u) { ++u.num_samples; }),
      with([](Update& u) { u.num_samples = -1; }),
      with([](Update& u) { u.num_samples = std::numeric_limits<int64_t>::max(); }),
      with([](Update& u) { u.num_samples = std::numeric_limits<int64_t>::min(); }),
      with([](Update& u) { u.client = 4; }),
  };
  auto aggregator = Make(cohort_);
  for (const Update& update : good) {
    ASSERT_TRUE(aggregator->Add(update).ok());
    for (size_t i = 0; i < bad.size(); ++i) {
      EXPECT_EQ(aggregator->Add(bad[i]).code(), absl::StatusCode::kInvalidArgument) << "bad update " << i;
    }
  }
  ExpectSameBits(Finish(std::move(aggregator)), AddAll(Make(cohort_), good));
}

TEST_P(EveryAggregator, NothingAddedIsAFailedPrecondition) {
  auto aggregator = Make(cohort_);
  EXPECT_EQ(std::move(*aggregator).Finish().status().code(), absl::StatusCode::kFailedPrecondition);
}

TEST_P(EveryAggregator, ChecksItsOptions) {
  ExpectOptionsAreChecked<Aggregator>(name_, {.layout = &cohort_.layout, .cohort = cohort_.clients});
}

INSTANTIATE_TEST_SUITE_P(All, EveryAggregator,
                         testing::Combine(testing::ValuesIn(Registry<Aggregator>::Get().Names()),
                                          testing::Bool()),
                         [](const auto& info) {
                           return std::get<0>(info.param) +
                                  (std::get<1>(info.param) ? "_uniform" : "_own_weights");
                         });

void ExpectMean(const Aggregate& aggregate, const Cohort& cohort, const std::vector<double>& weights) {
  const double total = std::accumulate(weights.begin(), weights.end(), 0.0);
  for (size_t i = 0; i < kSize; ++i) {
    double sum = 0;
    for (size_t c = 0; c < weights.size(); ++c) sum += weights[c] * static_cast<double>(cohort.deltas[c][i]);
    EXPECT_NEAR(aggregate.delta[i], sum / total, 1e-7) << i;
  }
  EXPECT_DOUBLE_EQ(aggregate.total_weight, total);
}

TEST(FedAvgTest, IsTheMeanWeighedBySamples) {
  const Cohort cohort(5);
  ExpectMean(AddAll(cohort.Make({"fedavg", {}}), cohort.updates), cohort, {7, 18, 29, 40, 51});
}

TEST(FedAvgTest, UniformWeightsByOptionOrByThePolicysWish) {
  const Cohort cohort(5);
  const PluginConfig uniform{"fedavg", {{"weights", "uniform"}}};
  ExpectMean(AddAll(cohort.Make(uniform), cohort.updates), cohort, {1, 1, 1, 1, 1});
  ExpectMean(AddAll(cohort.Make({"fedavg", {}}, /*uniform_weights=*/true), cohort.updates), cohort,
             {1, 1, 1, 1, 1});
}

TEST(FedAvgTest, AveragesOverThoseWhoAnswered) {
  const Cohort cohort(5);
  const std::vector<Update> some(cohort.updates.begin(), cohort.updates.begin() + 2);
  ExpectMean(AddAll(cohort.Make({"fedavg", {}}), some), cohort, {7, 18});
}

TEST(FedAvgTest, AClientMayTrainOnFewerSamplesThanItDeclared) {
  Cohort cohort(2);
  cohort.updates[1].num_samples = 3;
  ExpectMean(AddAll(cohort.Make({"fedavg", {}}), cohort.updates), cohort, {7, 3});
}

TEST(FedAvgTest, SamplesAreNeededOnlyWhereTheyWeigh) {
  Cohort cohort(2);
  cohort.updates[0].num_samples = 0;
  EXPECT_THAT(Message(cohort.Make({"fedavg", {}})->Add(cohort.updates[0])), HasSubstr("claims no samples"));
  EXPECT_TRUE(cohort.Make({"fedavg", {}}, /*uniform_weights=*/true)->Add(cohort.updates[0]).ok());
}

TEST(FedAvgTest, ACohortWithoutSamplesRefusesAndDoesNotCrash) {
  Cohort cohort(1);
  cohort.clients[0].num_samples = 0;
  EXPECT_THAT(Message(cohort.Make({"fedavg", {}})->Add(cohort.updates[0])),
              HasSubstr("claims 7 samples, the client declared 0"));
}

TEST(FedAvgTest, IsNothingButASum) { EXPECT_NE(Cohort(2).Make({"fedavg", {}})->Sum(), nullptr); }

}  // namespace
}  // namespace muster
