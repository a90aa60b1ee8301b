// The rules that deal samples to clients: what holds for all of them, then each one's own promise.
#include <gmock/gmock.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <set>

#include "core/random.h"
#include "tests/data/data_test_util.h"

namespace muster {
namespace {

using test::Split;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

// `size` samples of `classes` classes in random order, from 20 writers.
Dataset Samples(int64_t size, int64_t classes = 10) {
  Dataset data;
  data.sample_shape = {1};
  data.num_classes = classes;
  data.inputs.resize(size);
  Random random({1});
  for (int64_t i = 0; i < size; ++i) {
    data.labels.push_back(i % classes);
    data.groups["writer"].push_back(static_cast<int64_t>(random.Below(20)) * 10);
  }
  random.Shuffle(std::span(data.labels));
  return data;
}

std::vector<int64_t> LabelCounts(const Dataset& data, std::span<const uint32_t> samples) {
  std::vector<int64_t> counts(data.num_classes);
  for (const uint32_t sample : samples) ++counts[data.labels[sample]];
  return counts;
}
int64_t Labels(const Dataset& data, std::span<const uint32_t> samples) {
  const std::vector<int64_t> counts = LabelCounts(data, samples);
  return static_cast<int64_t>(counts.size()) - std::count(counts.begin(), counts.end(), 0);
}
std::vector<int64_t> Sizes(const Partition& partition) {
  std::vector<int64_t> sizes;
  for (int64_t c = 0; c < partition.clients(); ++c) sizes.push_back(partition.samples(c).size());
  return sizes;
}
std::vector<std::vector<uint32_t>> Lists(const Partition& partition) {
  std::vector<std::vector<uint32_t>> lists;
  for (int64_t c = 0; c < partition.clients(); ++c) {
    lists.emplace_back(partition.samples(c).begin(), partition.samples(c).end());
  }
  return lists;
}
double MeanLabels(const Dataset& data, const Partition& partition) {
  double sum = 0;
  for (int64_t c = 0; c < partition.clients(); ++c)
    sum += static_cast<double>(Labels(data, partition.samples(c)));
  return sum / static_cast<double>(partition.clients());
}

// ---- every rule
// ----------------------------------------------------------------------------------------------------

class EveryPartitioner : public ::testing::TestWithParam<std::string> {};

TEST_P(EveryPartitioner, DealsEverySampleOnceUnlessWithReplacement) {
  const Dataset data = Samples(2003);
  const auto partitioner = Registry<Partitioner>::Get().Create({GetParam(), {}}, {});
  ASSERT_TRUE(partitioner.ok()) << partitioner.status();
  const auto partition = (*partitioner)->Split(data, 20, 7);
  ASSERT_TRUE(partition.ok()) << partition.status();
  EXPECT_EQ(partition->clients(), 20);
  std::vector<int64_t> times(data.size());
  for (const auto& list : Lists(*partition)) {
    for (const uint32_t sample : list) {
      ASSERT_LT(sample, data.size());
      ++times[sample];
    }
    EXPECT_TRUE((*partitioner)->WithReplacement() || std::is_sorted(list.begin(), list.end()));
  }
  if ((*partitioner)->WithReplacement()) return;
  EXPECT_THAT(times, ::testing::Each(1));
}

TEST_P(EveryPartitioner, IsDecidedByTheSeed) {
  const Dataset data = Samples(1000);
  const auto once = Split(GetParam(), {}, data, 20, 7), again = Split(GetParam(), {}, data, 20, 7),
             other = Split(GetParam(), {}, data, 20, 8);
  ASSERT_TRUE(once.ok() && again.ok() && other.ok());
  EXPECT_EQ(Lists(*once), Lists(*again));
  if (GetParam() == "natural") return;  // decided by the data
  EXPECT_NE(Lists(*once), Lists(*other));
}

TEST_P(EveryPartitioner, GoesRoundThroughJson) {
  const Dataset data = Samples(500);
  const auto partition = Split(GetParam(), {}, data, 20, 7);
  ASSERT_TRUE(partition.ok());
  const auto back = PartitionFromJson(PartitionToJson(*partition), data.size(), "p.json");
  ASSERT_TRUE(back.ok()) << back.status();
  EXPECT_EQ(Lists(*partition), Lists(*back));
}

TEST_P(EveryPartitioner, NeedsAClient) {
  EXPECT_EQ(Split(GetParam(), {}, Samples(100), 0, 7).status().code(), absl::StatusCode::kInvalidArgument);
}

TEST_P(EveryPartitioner, WorksOrExplainsWithMoreClientsThanSamples) {
  const auto partition = Split(GetParam(), {}, Samples(50), 60, 7);
  if (partition.ok()) return;
  EXPECT_EQ(partition.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(Message(partition.status()), HasSubstr("lower"));
}

TEST_P(EveryPartitioner, DealsRegressionDataOrSaysThatItNeedsLabels) {
  Dataset data = Samples(100);
  data.labels.clear();
  data.num_classes = 0;
  data.values.resize(100);
  const auto partition = Split(GetParam(), {}, data, 5, 7);
  if (partition.ok()) return;
  EXPECT_THAT(Message(partition.status()), HasSubstr("needs class labels"));
}

INSTANTIATE_TEST_SUITE_P(All, EveryPartitioner, ::testing::ValuesIn(Registry<Partitioner>::Get().Names()),
                         [](const auto& info) { return info.param; });

// ---- each rule
// -----------------------------------------------------------------------------------------------------

TEST(Iid, SizesDifferByAtMostOne) {
  const auto sizes = Sizes(*Split("iid", {}, Samples(1003), 10, 1));
  EXPECT_EQ(*std::min_element(sizes.begin(), sizes.end()), 100);
  EXPECT_EQ(*std::max_element(sizes.begin(), sizes.end()), 101);
}

TEST(Iid, RefusesMoreClientsThanSamples) {
  EXPECT_THAT(Message(Split("iid", {}, Samples(10), 11, 1).status()), HasSubstr("11 clients"));
}

TEST(Dirichlet, AlphaSaysHowSkewed) {
  const Dataset data = Samples(10000);
  const auto skewed = Split("dirichlet", {{"alpha", 0.01}}, data, 10, 1);
  const auto even = Split("dirichlet", {{"alpha", 1e6}}, data, 10, 1);
  ASSERT_TRUE(skewed.ok() && even.ok());
  EXPECT_LT(MeanLabels(data, *skewed), 3);
  for (int64_t c = 0; c < 10; ++c) {
    for (const int64_t count : LabelCounts(data, even->samples(c))) EXPECT_NEAR(count, 100, 3);
  }
}

// A share of Dirichlet(alpha) over n clients has variance (n - 1) / (n^2 (n alpha + 1)).
TEST(Dirichlet, SharesHaveTheirVariance) {
  const Dataset data = Samples(100000, 100);
  const auto partition = Split("dirichlet", {{"alpha", 0.5}}, data, 10, 3);
  ASSERT_TRUE(partition.ok());
  double squares = 0;
  for (int64_t c = 0; c < 10; ++c) {
    for (const int64_t count : LabelCounts(data, partition->samples(c))) {
      squares += std::pow(static_cast<double>(count) / 1000 - 0.1, 2);
    }
  }
  EXPECT_NEAR(squares / 1000, 9.0 / (100 * 6), 0.003);
}

TEST(Dirichlet, KeepsTheMinimumPerClient) {
  const Dataset data = Samples(2000);
  const OptionMap options = {{"alpha", 0.1}, {"min_per_client", int64_t{10}}};
  const auto sizes = Sizes(*Split("dirichlet", options, data, 20, 2));
  EXPECT_GE(*std::min_element(sizes.begin(), sizes.end()), 10);
  const auto free = Sizes(*Split("dirichlet", {{"alpha", 0.1}}, data, 20, 2));
  EXPECT_LT(*std::min_element(free.begin(), free.end()), 10) << "the seed proves nothing, take another";
}

TEST(Dirichlet, SaysWhatToChangeWhereTheMinimumIsOutOfReach) {
  const OptionMap options = {{"alpha", 0.01}, {"min_per_client", int64_t{90}}};
  const absl::Status status = Split("dirichlet", options, Samples(1000), 10, 1).status();
  EXPECT_THAT(Message(status), HasSubstr("raise alpha, or lower min_per_client or data.clients"));
  EXPECT_THAT(Message(Split("dirichlet", {{"min_per_client", int64_t{101}}}, Samples(1000), 10, 1).status()),
              HasSubstr("at least 101 sample(s) each"));
}

TEST(Shards, GivesFewLabels) {
  const Dataset data = Samples(6000);
  const auto partition = Split("shards", {}, data, 100, 1);
  ASSERT_TRUE(partition.ok());
  for (int64_t c = 0; c < 100; ++c) {
    EXPECT_EQ(partition->samples(c).size(), 60u);
    EXPECT_LE(Labels(data, partition->samples(c)), 2);  // 200 shards of 30 lie within classes of 600
  }
  EXPECT_GT(MeanLabels(data, *partition), 1.7);
}

TEST(Shards, ShardsThatCrossAClassBorderGiveOneLabelMore) {
  const Dataset data = Samples(1000);
  const auto partition = Split("shards", {{"shards", int64_t{3}}}, data, 7, 1);
  for (int64_t c = 0; c < 7; ++c) EXPECT_LE(Labels(data, partition->samples(c)), 6);
}

TEST(Labels, GivesEveryClientExactlySoManyClasses) {
  const Dataset data = Samples(5000);
  for (const int64_t labels : {1, 2, 3, 10}) {
    const auto partition = Split("labels", {{"labels", labels}}, data, 37, 5);
    ASSERT_TRUE(partition.ok()) << partition.status();
    std::vector<int64_t> holders(10);
    for (int64_t c = 0; c < 37; ++c) {
      EXPECT_EQ(Labels(data, partition->samples(c)), labels);
      const auto counts = LabelCounts(data, partition->samples(c));
      for (int64_t label = 0; label < 10; ++label) holders[label] += counts[label] > 0;
    }
    const auto [fewest, most] = std::minmax_element(holders.begin(), holders.end());
    EXPECT_GE(*fewest, 1);
    EXPECT_LE(*most - *fewest, 1);
  }
}

TEST(Labels, MixesThePairsOfClasses) {
  const Dataset data = Samples(5000);
  const auto partition = Split("labels", {}, data, 50, 5);
  std::set<std::vector<bool>> pairs;
  for (int64_t c = 0; c < 50; ++c) {
    std::vector<bool> pair;
    for (const int64_t count : LabelCounts(data, partition->samples(c))) pair.push_back(count > 0);
    pairs.insert(pair);
  }
  EXPECT_GT(pairs.size(), 15u);
}

TEST(Labels, RefusesWhatCannotBeDealt) {
  EXPECT_THAT(Message(Split("labels", {{"labels", int64_t{11}}}, Samples(100), 20, 1).status()),
              HasSubstr("11 classes per client, but the data have 10"));
  EXPECT_THAT(Message(Split("labels", {}, Samples(100), 4, 1).status()),
              HasSubstr("cannot hold all 10 classes"));
  EXPECT_THAT(Message(Split("labels", {}, Samples(100), 60, 1).status()),
              HasSubstr("has 10 samples for 12 clients"));
}

TEST(Quantity, PowerLawSizesAreThoseOfTheRanks) {
  auto sizes = Sizes(*Split("quantity", {{"exponent", 1.0}}, Samples(10000), 4, 1));
  std::sort(sizes.rbegin(), sizes.rend());
  // 1 + 9996 * (1, 1/2, 1/3, 1/4) / (25 / 12)
  EXPECT_NEAR(sizes[0], 4799, 1);
  EXPECT_NEAR(sizes[1], 2400, 1);
  EXPECT_NEAR(sizes[2], 1600, 1);
  EXPECT_NEAR(sizes[3], 1201, 1);
}

TEST(Quantity, LogNormalSizesHaveTheirDeviation) {
  const auto sizes = Sizes(*Split("quantity", {{"distribution", std::string("log_normal")}, {"sigma", 0.5}},
                                  Samples(200000), 1000, 1));
  double sum = 0, squares = 0;
  for (const int64_t size : sizes) {
    EXPECT_GE(size, 1);
    sum += std::log(static_cast<double>(size));
    squares += std::pow(std::log(static_cast<double>(size)), 2);
  }
  EXPECT_NEAR(std::sqrt(squares / 1000 - std::pow(sum / 1000, 2)), 0.5, 0.05);
}

TEST(Quantity, LeavesNoClientEmptyHoweverSkewed) {
  for (const OptionMap& options : {OptionMap{{"exponent", 10.0}},
                                   OptionMap{{"distribution", std::string("log_normal")}, {"sigma", 10.0}}}) {
    const auto sizes = Sizes(*Split("quantity", options, Samples(300), 100, 1));
    EXPECT_GE(*std::min_element(sizes.begin(), sizes.end()), 1);
    EXPECT_EQ(std::accumulate(sizes.begin(), sizes.end(), 0), 300);
  }
}

TEST(Natural, ClientsAreTheIdsInAscendingOrder) {
  Dataset data = Samples(6);
  data.groups = {{"writer", {30, 10, 30, 20, 10, 30}}};
  const auto partition = Split("natural", {{"group", std::string("writer")}}, data, 1, 1);
  ASSERT_TRUE(partition.ok()) << partition.status();
  EXPECT_THAT(Lists(*partition), ElementsAre(ElementsAre(1u, 4u), ElementsAre(3u), ElementsAre(0u, 2u, 5u)));
}

TEST(Natural, KeepsASampleOfTheClientsIfAsked) {
  const Dataset data = Samples(2000);
  const OptionMap options = {{"sample_clients", true}};
  const auto all = Lists(*Split("natural", {}, data, 5, 1));
  const auto five = Lists(*Split("natural", options, data, 5, 1));
  EXPECT_EQ(all.size(), 20u);
  ASSERT_EQ(five.size(), 5u);
  EXPECT_TRUE(
      std::includes(all.begin(), all.end(), five.begin(), five.end(), [&all](const auto& a, const auto& b) {
        return std::find(all.begin(), all.end(), a) < std::find(all.begin(), all.end(), b);
      }));
  EXPECT_NE(five, Lists(*Split("natural", options, data, 5, 2)));
  EXPECT_EQ(Lists(*Split("natural", options, data, 50, 1)), all);
}

TEST(Natural, ReadsIdsFromAFile) {
  const test::TempFolder folder;
  const Dataset data = Samples(4);
  folder.Write("ids.txt", "7\n-1\n7\n\r\n");
  EXPECT_THAT(
      Message(Split("natural", {{"file", std::string("ids.txt")}}, data, 1, 1, folder.path()).status()),
      HasSubstr("3 ids for 4 samples"));
  folder.Write("ids.txt", "7\n-1\r\n7\n0");
  const auto text = Split("natural", {{"file", std::string("ids.txt")}}, data, 1, 1, folder.path());
  ASSERT_TRUE(text.ok()) << text.status();
  EXPECT_THAT(Lists(*text), ElementsAre(ElementsAre(1u), ElementsAre(3u), ElementsAre(0u, 2u)));
  folder.WriteGzip("ids.gz", test::IdxBytes({4, 2}, {0, 9, 0, 8, 0, 9, 0, 9}));
  const auto idx =
      Split("natural", {{"file", std::string("ids.gz")}, {"column", int64_t{1}}}, data, 1, 1, folder.path());
  ASSERT_TRUE(idx.ok()) << idx.status();
  EXPECT_THAT(Lists(*idx), ElementsAre(ElementsAre(1u), ElementsAre(0u, 2u, 3u)));
}

TEST(Natural, SaysWhatIsWrong) {
  const test::TempFolder folder;
  Dataset data = Samples(3);
  EXPECT_THAT(Message(Split("natural", {{"group", std::string("writr")}}, data, 1, 1).status()),
              HasSubstr("unknown 'writr', did you mean 'writer'?"));
  data.groups["series"] = {1, 2, 3};
  EXPECT_THAT(Message(Split("natural", {}, data, 1, 1).status()), HasSubstr("known: series, writer"));
  data.groups.clear();
  EXPECT_THAT(Message(Split("natural", {}, data, 1, 1).status()), HasSubstr("no natural clients"));
  EXPECT_THAT(
      Message(
          Split("natural", {{"group", std::string("a")}, {"file", std::string("b")}}, data, 1, 1).status()),
      HasSubstr("not both"));
  EXPECT_THAT(Message(Split("natural", {{"file", folder / "none"}}, data, 1, 1).status()),
              HasSubstr("no such file"));
  folder.Write("ids", "1\ntwo\n3\n");
  EXPECT_THAT(Message(Split("natural", {{"file", folder / "ids"}}, data, 1, 1).status()),
              HasSubstr("line 2 holds 'two', not an integer"));
}

TEST(Resample, GivesManyClientsTheirOwnDraws) {
  const Dataset data = Samples(1000);
  const auto partition = Split("resample", {}, data, 100000, 1);
  ASSERT_TRUE(partition.ok());
  EXPECT_EQ(partition->clients(), 100000);
  EXPECT_EQ(partition->total_samples(), 6000000);
  std::vector<int64_t> times(1000);
  for (int64_t c = 0; c < partition->clients(); ++c) {
    for (const uint32_t sample : partition->samples(c)) ++times[sample];
  }
  for (const int64_t count : times) EXPECT_NEAR(count, 6000, 400);  // 5 standard deviations
  // A client's samples do not depend on how many clients there are.
  const auto few = Split("resample", {}, data, 10, 1);
  EXPECT_TRUE(std::ranges::equal(few->samples(9), partition->samples(9)));
}

TEST(ImbalancedTest, KeepsTheGivenShareOfEachClass) {
  const Dataset data = Samples(3000, 3);
  const auto partition = Split("imbalanced", {{"keep", std::vector<double>{1, 0.1, 0}}}, data, 4, 1);
  std::vector<int64_t> counts(3);
  for (int64_t c = 0; c < 4; ++c) {
    const std::vector<int64_t> own = LabelCounts(data, partition->samples(c));
    for (size_t k = 0; k < 3; ++k) counts[k] += own[k];
  }
  EXPECT_THAT(counts, ElementsAre(1000, 100, 0));
  EXPECT_THAT(Sizes(*partition), ElementsAre(275, 275, 275, 275));
}

TEST(ImbalancedTest, RefusesSharesThatDoNotFit) {
  const Dataset data = Samples(30, 3);
  EXPECT_THAT(Message(Split("imbalanced", {{"keep", std::vector<double>{1, 1}}}, data, 4, 1).status()),
              HasSubstr("keep"));
  EXPECT_THAT(Message(Split("imbalanced", {{"keep", std::vector<double>{1, 1, 2}}}, data, 4, 1).status()),
              HasSubstr("keep"));
  EXPECT_THAT(Message(Split("imbalanced", {{"keep", std::vector<double>{0, 0, 0.1}}}, data, 4, 1).status()),
              HasSubstr("keep"));
}

}  // namespace
}  // namespace muster
