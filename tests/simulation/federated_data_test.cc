// Who holds what, once the configuration's steps are put together.
#include "learning/federated_data.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <set>

#include "absl/strings/str_cat.h"
#include "core/config.h"
#include "core/file.h"

namespace muster {
namespace {

absl::StatusOr<FederatedData> Build(const std::string& data, uint64_t seed = 1, const std::string& pin = "") {
  v1::Experiment config;
  const absl::Status status =
      LoadConfig(absl::StrCat("model: bottleneck\ndata:\n", data), "test", ".", {}, config);
  if (!status.ok()) return status;
  return BuildFederatedData(config.data(), pin, seed);
}

std::multiset<uint32_t> Held(const Partition& partition) {
  std::multiset<uint32_t> held;
  for (int64_t c = 0; c < partition.clients(); ++c) {
    held.insert(partition.samples(c).begin(), partition.samples(c).end());
  }
  return held;
}

constexpr char kSplit[] = R"(
  dataset: {name: rings, samples: 500}
  clients: 10
  partition: {name: dirichlet, alpha: 0.5}
  validation_fraction: 0.2
)";

TEST(FederatedDataTest, ValidationPartsAreDisjointAndOfTheAskedShare) {
  const auto data = Build(kSplit);
  ASSERT_TRUE(data.ok()) << data.status();
  ASSERT_EQ(data->validation.clients(), data->clients());
  std::multiset<uint32_t> all = Held(data->training);
  const std::multiset<uint32_t> validation = Held(data->validation);
  all.insert(validation.begin(), validation.end());
  EXPECT_EQ(all, Held(data->dealt));
  EXPECT_EQ(std::set<uint32_t>(all.begin(), all.end()).size(), 500U);
  for (int64_t c = 0; c < data->clients(); ++c) {
    const double size = static_cast<double>(data->dealt.samples(c).size());
    EXPECT_NEAR(static_cast<double>(data->validation.samples(c).size()), 0.2 * size, 1) << c;
    // Class by class, too.
    const auto whole = ClassCounts(data->train(), data->dealt.samples(c));
    const auto kept = ClassCounts(data->train(), data->validation.samples(c));
    for (size_t k = 0; k < whole.size(); ++k) {
      EXPECT_NEAR(static_cast<double>(kept[k]), 0.2 * static_cast<double>(whole[k]), 1) << c;
    }
  }
}

TEST(FederatedDataTest, AHeldOutTrustSetBelongsToNobody) {
  const auto data = Build(absl::StrCat(kSplit, "  trust: {samples: 60}\n"));
  ASSERT_TRUE(data.ok()) << data.status();
  ASSERT_EQ(data->trust.size(), 60U);
  EXPECT_TRUE(std::is_sorted(data->trust.begin(), data->trust.end()));
  const std::multiset<uint32_t> held = Held(data->dealt);
  EXPECT_EQ(held.size(), 440U);
  for (const uint32_t sample : data->trust) EXPECT_EQ(held.count(sample), 0U) << sample;
}

TEST(FederatedDataTest, ATrustSetOfValidationSamplesIsNeverTrainedOn) {
  const auto data = Build(absl::StrCat(kSplit, "  trust: {samples: 60, source: validation}\n"));
  ASSERT_TRUE(data.ok()) << data.status();
  ASSERT_EQ(data->trust.size(), 60U);
  const std::multiset<uint32_t> training = Held(data->training), validation = Held(data->validation);
  for (const uint32_t sample : data->trust) {
    EXPECT_EQ(training.count(sample), 0U) << sample;
    EXPECT_EQ(validation.count(sample), 1U) << sample;
  }
  const auto greedy = Build(absl::StrCat(kSplit, "  trust: {samples: 400, source: validation}\n"));
  EXPECT_EQ(greedy.status().code(), absl::StatusCode::kInvalidArgument);
}

TEST(FederatedDataTest, SmallClientsAreDroppedAndTheRestRenumbered) {
  const auto data = Build(absl::StrCat(kSplit, "  min_samples: 40\n"));
  ASSERT_TRUE(data.ok()) << data.status();
  EXPECT_GT(data->dropped_clients, 0);
  EXPECT_EQ(data->clients() + data->dropped_clients, 10);
  for (int64_t c = 0; c < data->clients(); ++c) EXPECT_GE(data->training.samples(c).size(), 40U);
  const auto nobody = Build(absl::StrCat(kSplit, "  min_samples: 1000\n"));
  EXPECT_EQ(nobody.status().code(), absl::StatusCode::kInvalidArgument);
}

TEST(FederatedDataTest, ARecordedPartitionGivesTheSameData) {
  const std::string text = absl::StrCat(kSplit, "  min_samples: 20\n  trust: {samples: 60}\n");
  const auto drawn = Build(text);
  ASSERT_TRUE(drawn.ok()) << drawn.status();
  const std::string file = ::testing::TempDir() + "muster-federated-data-partition.json";
  ASSERT_TRUE(WriteFileAtomic(file, PartitionToJson(drawn->dealt)).ok());
  const auto pinned = Build(text, 1, file);
  ASSERT_TRUE(pinned.ok()) << pinned.status();
  EXPECT_EQ(pinned->trust, drawn->trust);
  ASSERT_EQ(pinned->clients(), drawn->clients());
  for (int64_t c = 0; c < drawn->clients(); ++c) {
    EXPECT_TRUE(std::ranges::equal(pinned->training.samples(c), drawn->training.samples(c))) << c;
    EXPECT_TRUE(std::ranges::equal(pinned->validation.samples(c), drawn->validation.samples(c))) << c;
  }
}

TEST(FederatedDataTest, TrainLimitKeepsAShuffledPartAndTheSeedDecidesWhich) {
  const std::string text = "\n  dataset: {name: rings, samples: 500}\n  clients: 5\n  train_limit: 100\n";
  const auto data = Build(text), again = Build(text), other = Build(text, 2);
  ASSERT_TRUE(data.ok() && again.ok() && other.ok());
  EXPECT_EQ(data->train().size(), 100);
  EXPECT_EQ(data->train().inputs, again->train().inputs);
  EXPECT_NE(data->train().inputs, other->train().inputs);
}

}  // namespace
}  // namespace muster
