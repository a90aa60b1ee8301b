// Loaders on real collections, against the counts their authors give. Skipped where the data are not at hand.
#include <gmock/gmock.h>

#include <numeric>
#include <set>

#include "tests/data/data_test_util.h"

namespace muster {
namespace {

using test::ClassCounts;
using test::Load;
using ::testing::Each;
using ::testing::ElementsAre;

double Mean(const Dataset& data) {
  return std::accumulate(data.inputs.begin(), data.inputs.end(), 0.0) /
         static_cast<double>(data.inputs.size());
}
size_t Distinct(const std::vector<int64_t>& ids) { return std::set<int64_t>(ids.begin(), ids.end()).size(); }

TEST(RealData, FashionMnist) {
  if (!std::filesystem::exists("/usr/share/datasets/fashion-mnist")) {
    GTEST_SKIP() << "Debian's package dataset-fashion-mnist is not installed";
  }
  const auto data = Load("fashion_mnist", {});
  ASSERT_TRUE(data.ok()) << data.status();
  EXPECT_THAT(data->train.sample_shape, ElementsAre(1, 28, 28));
  EXPECT_EQ(ClassCounts(data->train), std::vector<int64_t>(10, 6000));
  EXPECT_EQ(ClassCounts(data->test), std::vector<int64_t>(10, 1000));
  EXPECT_NEAR(Mean(data->train), 0.2860, 5e-5);
  EXPECT_EQ(data->train.class_names.at(9), "ankle boot");
}

TEST(RealData, Mnist) {
  MUSTER_REQUIRE_TEST_DATA(path, "mnist");
  const auto data = Load("mnist", {{"path", path}});
  ASSERT_TRUE(data.ok()) << data.status();
  EXPECT_THAT(ClassCounts(data->train),
              ElementsAre(5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949));
  EXPECT_THAT(ClassCounts(data->test), ElementsAre(980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009));
  EXPECT_NEAR(Mean(data->train), 0.1307, 5e-5);
  EXPECT_EQ(Distinct(data->train.groups.at("writer")), 539u);
  EXPECT_EQ(Distinct(data->test.groups.at("writer")), 297u);
  EXPECT_EQ(Distinct(data->train.groups.at("series")), 2u);
  const auto writers = test::Split("natural", {{"group", std::string("writer")}}, data->train, 100, 1);
  ASSERT_TRUE(writers.ok()) << writers.status();
  EXPECT_EQ(writers->clients(), 539);
  size_t fewest = 1000, most = 0;
  for (int64_t c = 0; c < writers->clients(); ++c) {
    fewest = std::min(fewest, writers->samples(c).size());
    most = std::max(most, writers->samples(c).size());
  }
  EXPECT_EQ(fewest, 19u);
  EXPECT_EQ(most, 131u);
}

TEST(RealData, Ecg) {
  MUSTER_REQUIRE_TEST_DATA(path, "mitbih-ecg");
  const auto data = Load("ecg", {{"path", path}});
  ASSERT_TRUE(data.ok()) << data.status();
  EXPECT_THAT(data->train.sample_shape, ElementsAre(1, 187));
  EXPECT_THAT(ClassCounts(data->train), ElementsAre(45828, 943, 3787, 414, 8));
  EXPECT_THAT(ClassCounts(data->test), ElementsAre(44218, 1837, 3219, 388, 7));
  EXPECT_THAT(data->train.class_names, ElementsAre("N", "S", "V", "F", "Q"));
  const std::vector<int64_t>& records = data->train.groups.at("record");
  EXPECT_EQ(Distinct(records), 22u);
  EXPECT_EQ(Distinct(data->test.groups.at("record")), 22u);
  EXPECT_EQ(std::count(records.begin(), records.end(), 101), 1858 + 3 + 2);
}

TEST(RealData, Cifar10) {
  MUSTER_REQUIRE_TEST_DATA(path, "cifar10");
  const auto data = Load("cifar10", {{"path", path}});
  ASSERT_TRUE(data.ok()) << data.status();
  EXPECT_THAT(ClassCounts(data->train), ElementsAre(1005, 974, 1032, 1016, 999, 937, 1030, 1001, 1025, 981));
  EXPECT_THAT(ClassCounts(data->test), Each(200));
  double channels[3] = {};
  for (size_t i = 0; i < data->train.inputs.size(); ++i) channels[i / 1024 % 3] += data->train.inputs[i];
  EXPECT_NEAR(channels[0] / 10240000, 0.4935, 5e-5);
  EXPECT_NEAR(channels[1] / 10240000, 0.4834, 5e-5);
  EXPECT_NEAR(channels[2] / 10240000, 0.4472, 5e-5);
}

TEST(RealData, A9a) {
  MUSTER_REQUIRE_TEST_DATA(path, "libsvm");
  const auto data =
      Load("libsvm", {{"train", std::string("a9a.gz")}, {"test", std::string("a9a.t.gz")}}, path);
  ASSERT_TRUE(data.ok()) << data.status();
  EXPECT_THAT(data->train.sample_shape, ElementsAre(123));
  EXPECT_EQ(data->test.sample_shape, data->train.sample_shape);
  EXPECT_THAT(ClassCounts(data->train), ElementsAre(24720, 7841));
  EXPECT_THAT(ClassCounts(data->test), ElementsAre(12435, 3846));
  EXPECT_NEAR(Mean(data->train) * 123, 13.87, 0.005);
}

TEST(RealData, PhishingHeldOut) {
  MUSTER_REQUIRE_TEST_DATA(path, "libsvm");
  const auto data = Load("libsvm", {{"train", std::string("phishing.gz")}}, path);
  ASSERT_TRUE(data.ok()) << data.status();
  EXPECT_EQ(data->train.size(), 8844);
  EXPECT_EQ(data->test.size(), 2211);
  EXPECT_THAT(data->train.sample_shape, ElementsAre(68));
  EXPECT_EQ(ClassCounts(data->train)[1] + ClassCounts(data->test)[1], 6157);
}

TEST(RealData, Adult) {
  MUSTER_REQUIRE_TEST_DATA(path, "adult");
  const auto data = Load("csv",
                         {{"train", std::string("adult.data.gz")},
                          {"test", std::string("adult.test.gz")},
                          {"header", false},
                          {"test_skip_lines", int64_t{1}},
                          {"target", std::string("14")},
                          {"group", std::string("13")}},
                         path);
  ASSERT_TRUE(data.ok()) << data.status();
  // 6 numbers; 9 + 16 + 7 + 15 + 6 + 5 + 2 + 42 categories, "?" being one.
  EXPECT_THAT(data->train.sample_shape, ElementsAre(108));
  EXPECT_THAT(ClassCounts(data->train), ElementsAre(24720, 7841));
  EXPECT_THAT(ClassCounts(data->test), ElementsAre(12435, 3846));
  EXPECT_THAT(data->train.class_names, ElementsAre("<=50K", ">50K"));
  EXPECT_EQ(data->train.inputs[0], 39);
  EXPECT_EQ(Distinct(data->train.groups.at("13")), 42u);
}

TEST(RealData, CaliforniaHousing) {
  MUSTER_REQUIRE_TEST_DATA(path, "california-housing");
  const auto data = Load("csv",
                         {{"train", std::string("housing.csv.gz")},
                          {"target", std::string("median_house_value")},
                          {"task", std::string("regression")},
                          {"group", std::string("ocean_proximity")}},
                         path);
  ASSERT_TRUE(data.ok()) << data.status();
  EXPECT_EQ(data->train.size(), 16512);
  EXPECT_EQ(data->test.size(), 4128);
  EXPECT_THAT(data->train.sample_shape, ElementsAre(13));  // 8 numbers, 5 regions
  EXPECT_EQ(*std::max_element(data->train.values.begin(), data->train.values.end()), 500001);
  // Regions in the order of the alphabet: <1H OCEAN, INLAND, ISLAND, NEAR BAY, NEAR OCEAN.
  std::vector<int64_t> regions(5);
  for (const Dataset* part : {&data->train, &data->test}) {
    for (const int64_t region : part->groups.at("ocean_proximity")) ++regions[region];
  }
  EXPECT_THAT(regions, ElementsAre(9136, 6551, 5, 2290, 2658));
}

}  // namespace
}  // namespace muster
