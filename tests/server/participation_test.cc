// What every participation policy must do, and the simple ones. ISP's own tests are in isp_test.cc.
#include "gmock/gmock.h"
#include "server/participation/policy.h"
#include "tests/server/plugin_options.h"

namespace muster {
namespace {

using ::testing::ElementsAre;
using ::testing::StartsWith;

constexpr ParticipationPolicy::Context kContext{.clients = 100, .rounds = 60, .has_trust_set = true};

std::unique_ptr<ParticipationPolicy> Make(const PluginConfig& config) {
  auto made = Registry<ParticipationPolicy>::Get().Create(config, kContext);
  EXPECT_TRUE(made.ok()) << made.status();
  return *std::move(made);
}

Decision Next(ParticipationPolicy& policy, int64_t round, int64_t available) {
  const auto decision =
      policy.Next({.round = round, .available = available, .trust_loss = [&]() -> absl::StatusOr<double> {
                     return 2.0 / (round + 1.0);
                   }});
  EXPECT_TRUE(decision.ok()) << decision.status();
  return decision.value_or(Decision());
}

class EveryPolicy : public testing::TestWithParam<std::string> {};

TEST_P(EveryPolicy, AsksBetweenOneAndAllAvailableClients) {
  const auto policy = Make({GetParam(), {}});
  for (int64_t round = 0; round < kContext.rounds; ++round) {
    const int64_t available = 1 + (round * 7) % 100;
    const Decision decision = Next(*policy, round, available);
    EXPECT_GE(decision.clients, 1);
    EXPECT_LE(decision.clients, available);
    EXPECT_GE(decision.epochs, 0);
    EXPECT_NE(decision.reason, "");
  }
}

TEST_P(EveryPolicy, SavedAndLoadedDecidesTheSame) {
  const auto policy = Make({GetParam(), {}});
  for (int64_t round = 0; round < 15; ++round) Next(*policy, round, 100);
  const auto resumed = Make({GetParam(), {}});
  const absl::Status loaded = resumed->Load(policy->Save());
  ASSERT_TRUE(loaded.ok()) << loaded;
  EXPECT_EQ(resumed->Save(), policy->Save());
  for (int64_t round = 15; round < 60; ++round) {
    const Decision a = Next(*policy, round, 100), b = Next(*resumed, round, 100);
    EXPECT_EQ(a.clients, b.clients);
    EXPECT_EQ(a.reason, b.reason);
  }
}

TEST_P(EveryPolicy, ChecksItsOptions) { ExpectOptionsAreChecked<ParticipationPolicy>(GetParam(), kContext); }

INSTANTIATE_TEST_SUITE_P(All, EveryPolicy, testing::ValuesIn(Registry<ParticipationPolicy>::Get().Names()),
                         [](const auto& info) { return info.param; });

TEST(FixedTest, IsTenByDefaultAndAllWhereThereAreFewer) {
  EXPECT_EQ(Next(*Make({"fixed", {}}), 0, 100).clients, 10);
  const auto fixed = Make({"fixed", {{"clients", int64_t{30}}}});
  EXPECT_EQ(Next(*fixed, 0, 100).clients, 30);
  const Decision scarce = Next(*fixed, 1, 20);
  EXPECT_EQ(scarce.clients, 20);
  EXPECT_EQ(scarce.reason, "fixed");
  EXPECT_FALSE(scarce.keep_updates);
  EXPECT_FALSE(scarce.uniform_weights);
}

TEST(FractionTest, IsRoundedToTheNearestButNeverToNone) {
  const auto clients = [](double fraction, int64_t available) {
    return Next(*Make({"fraction", {{"fraction", fraction}}}), 0, available).clients;
  };
  EXPECT_EQ(clients(0.29, 100), 29);  // 0.29 * 100 is below 29 in binary
  EXPECT_EQ(clients(0.1, 30), 3);     // 0.1 * 30 is above 3
  EXPECT_EQ(clients(0.1, 14), 1);
  EXPECT_EQ(clients(0.1, 15), 2);
  EXPECT_EQ(clients(0.001, 100), 1);
  EXPECT_EQ(clients(1, 7), 7);
}

TEST(ScheduleTest, EachStageHoldsFromItsRoundOn) {
  const auto schedule = Make(
      {"schedule", {{"rounds", std::vector<int64_t>{0, 2, 3}}, {"clients", std::vector<int64_t>{5, 10, 2}}}});
  std::vector<int64_t> clients;
  for (int64_t round = 0; round < 6; ++round) clients.push_back(Next(*schedule, round, 8).clients);
  EXPECT_THAT(clients, ElementsAre(5, 5, 8, 2, 2, 2));
}

TEST(ScheduleTest, RefusesListsThatAreNoSchedule) {
  const auto message = [](std::vector<int64_t> rounds, std::vector<int64_t> clients) {
    return Message(Registry<ParticipationPolicy>::Get()
                       .Create({"schedule", {{"rounds", rounds}, {"clients", clients}}}, kContext)
                       .status());
  };
  EXPECT_THAT(message({1, 2}, {5, 5}), StartsWith("rounds: must start with round 0"));
  EXPECT_THAT(message({}, {}), StartsWith("rounds: must start with round 0"));
  EXPECT_THAT(message({0, 5, 5}, {1, 2, 3}), StartsWith("rounds: must ascend, but 5 follows 5"));
  EXPECT_THAT(message({0, 5}, {1, 2, 3}), StartsWith("clients: has 3 entries, rounds has 2"));
  EXPECT_EQ(message({0, 5}, {1, 2}), "");
}

TEST(AdaFlTest, HoldsThenGrowsToItsLimit) {
  const auto policy = Make({"adafl", {}});
  // Rounds count from 0 here: round 11 is t = 12. 5 + 20 / 40 is rounded up.
  EXPECT_EQ(Next(*policy, 0, 100).clients, 5);
  EXPECT_EQ(Next(*policy, 30, 100).clients, 5);
  EXPECT_EQ(Next(*policy, 31, 100).clients, 6);
  EXPECT_EQ(Next(*policy, 51, 100).clients, 6);
  EXPECT_EQ(Next(*policy, 11 + 40 * 15, 100).clients, 20);
  EXPECT_EQ(Next(*policy, 5000, 100).clients, 20);
  EXPECT_EQ(Next(*policy, 5000, 3).clients, 3);
}

std::unique_ptr<ParticipationPolicy> Budget(int64_t total, int64_t round) {
  auto made = Registry<ParticipationPolicy>::Get().Create(
      {"byte_budget", {{"total_bytes", total}, {"round_bytes", round}}},
      {.clients = 100, .rounds = 10, .model_bytes = 100});
  EXPECT_TRUE(made.ok()) << made.status();
  return *std::move(made);
}
void Spend(ParticipationPolicy& policy, int64_t round, int64_t uploads, int64_t bytes) {
  AfterRound after{.round = round,
                   .cohort = {},
                   .accepted = uploads,
                   .uploads = uploads,
                   .upload_bytes = bytes,
                   .trust_loss = [](ConstParameters) -> absl::StatusOr<double> { return 0.0; }};
  EXPECT_TRUE(policy.Observe(after).ok());
}

TEST(ByteBudgetTest, SpreadsWhatIsLeftOverTheRoundsLeft) {
  const auto policy = Budget(5000, 0);
  EXPECT_EQ(Next(*policy, 0, 100).clients, 5);  // 500 a round, 100 an update without compression
  Spend(*policy, 0, 5, 50);                     // compressed: 10 an update; 4950 over 9 rounds are 550
  EXPECT_EQ(Next(*policy, 1, 100).clients, 55);
  EXPECT_EQ(Next(*policy, 1, 30).clients, 30);
  EXPECT_FALSE(policy->IsDone());
  Spend(*policy, 1, 10, 4945);
  EXPECT_TRUE(policy->IsDone());
  EXPECT_EQ(Next(*policy, 2, 30).clients, 1);
}

TEST(ByteBudgetTest, KeepsWithinTheRoundsBudgetToo) {
  const auto policy = Budget(0, 750);
  EXPECT_EQ(Next(*policy, 0, 100).clients, 7);
  Spend(*policy, 0, 7, 1'000'000);
  EXPECT_EQ(Next(*policy, 1, 100).clients, 1);
  EXPECT_FALSE(policy->IsDone());
  EXPECT_EQ(Next(*Budget(1500, 75), 0, 100).clients, 1);
}

}  // namespace
}  // namespace muster
