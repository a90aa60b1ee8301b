// What each selector is for, by values worked out by hand.
#include <cmath>
#include <map>

#include "core/statistics.h"
#include "gmock/gmock.h"
#include "server/selection/selector.h"
#include "tests/server/fakes.h"

namespace muster {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::UnorderedElementsAre;

std::unique_ptr<Selector> Make(const std::string& name, const OptionMap& options = {}) {
  auto made = Registry<Selector>::Get().Create({name, options}, {.seed = 3});
  EXPECT_TRUE(made.ok()) << made.status();
  return *std::move(made);
}

std::vector<ClientId> Draw(const Selector& selector, int64_t count, std::span<const ClientInfo> candidates,
                           uint64_t round = 0) {
  Random random({.seed = 7, .purpose = Purpose::kSelection, .round = round});
  auto selected = selector.Select(count, candidates, random);
  EXPECT_TRUE(selected.ok()) << selected.status();
  return selected.value_or(std::vector<ClientId>());
}

// Clients 0, 1, ... of ten samples each.
std::vector<ClientInfo> Clients(int64_t count) {
  std::vector<ClientInfo> clients;
  for (int64_t id = 0; id < count; ++id) clients.push_back({.id = id, .num_samples = 10, .labels = nullptr});
  return clients;
}

// Everyone of `numbers` is asked and tells its value under `name`.
void Tell(Selector& selector, int64_t round, const char* name, const std::map<ClientId, double>& numbers,
          int64_t steps = 10) {
  std::vector<ClientInfo> cohort;
  std::vector<ClientReport> reports;
  for (const auto& [id, number] : numbers) {
    cohort.push_back({.id = id, .num_samples = 10, .labels = nullptr});
    reports.push_back(
        {.client = cohort.back(), .train_loss = 0, .steps = steps, .numbers = {{name, {number}}}});
  }
  selector.Observe({.round = round, .cohort = cohort, .reports = reports});
}

TEST(Selectors, SayWhatTheyNeed) {
  EXPECT_THAT(Make("uniform")->Needs().statistics, IsEmpty());
  EXPECT_THAT(Make("power_of_choice")->Needs().statistics, ElementsAre("local_loss"));
  EXPECT_THAT(Make("fedcor")->Needs().statistics, ElementsAre("local_loss"));
  EXPECT_THAT(Make("oort")->Needs().statistics, ElementsAre("local_loss_rms"));
  EXPECT_THAT(Make("delta")->Needs().statistics, ElementsAre("gradient_deviation"));
  EXPECT_TRUE(Make("delta")->Needs().deviations);
  EXPECT_TRUE(Make("fedcbs")->Needs().labels);
}

TEST(PowerOfChoiceTest, TakesTheLargestLossesOfItsCandidates) {
  const auto selector = Make("power_of_choice");
  Tell(*selector, 0, statistics::kLoss, {{0, 0.5}, {1, 2.0}, {2, 1.0}, {3, 3.0}});
  EXPECT_THAT(Draw(*selector, 2, Clients(4)), ElementsAre(3, 1));
  Tell(*selector, 1, statistics::kLoss, {{3, 0.1}});  // told last
  EXPECT_THAT(Draw(*selector, 2, Clients(4)), ElementsAre(1, 2));
}

TEST(PowerOfChoiceTest, ThoseNeverAskedComeFirstAndThoseWhoDoNotTellAreAverage) {
  const auto selector = Make("power_of_choice");
  Tell(*selector, 0, statistics::kLoss, {{0, 1.0}, {1, 3.0}});
  Tell(*selector, 1, "other", {{2, 0.0}});  // asked, told no loss: 2.0
  EXPECT_THAT(Draw(*selector, 4, Clients(4)), ElementsAre(3, 1, 2, 0));
}

TEST(PowerOfChoiceTest, OneCandidateForEveryPlaceIsADrawBySize) {
  const auto selector = Make("power_of_choice", {{"candidates", int64_t{1}}});
  Tell(*selector, 0, statistics::kLoss, {{0, 100}, {1, 1}});
  std::vector<ClientInfo> clients = Clients(2);
  clients[1].num_samples = 30;
  int large = 0;
  for (uint64_t round = 0; round < 4000; ++round) large += Draw(*selector, 1, clients, round)[0] == 1 ? 1 : 0;
  EXPECT_NEAR(large, 3000, 5 * std::sqrt(4000 * 0.75 * 0.25));
}

TEST(DeltaTest, DrawsInProportionToTheDeviations) {
  // p = sqrt(0.8 d^2 + 0.2 s^2): 2 and 1 for (2, 2) and (1, 1); they share 2 in 4/3 : 2/3, the unseen has 1.
  const auto selector = Make("delta");
  std::vector<ClientInfo> cohort = Clients(2);
  std::vector<ClientReport> reports;
  for (int64_t id = 0; id < 2; ++id) {
    const double value = id == 0 ? 2 : 1;
    reports.push_back({.client = cohort[static_cast<size_t>(id)],
                       .numbers = {{statistics::kGradientDeviation, {value}}},
                       .deviation = value});
  }
  selector->Observe({.round = 0, .cohort = cohort, .reports = reports});
  std::map<ClientId, int> counts;
  constexpr int kDraws = 9000;
  for (uint64_t round = 0; round < kDraws; ++round) ++counts[Draw(*selector, 1, Clients(3), round)[0]];
  EXPECT_NEAR(counts[0], kDraws * 4.0 / 9, 250);
  EXPECT_NEAR(counts[1], kDraws * 2.0 / 9, 250);
  EXPECT_NEAR(counts[2], kDraws * 3.0 / 9, 250);
}

TEST(DeltaTest, RefusesWeightsThatAreBothZero) {
  const auto made = Registry<Selector>::Get().Create({"delta", {{"alpha1", 0.0}, {"alpha2", 0.0}}}, {});
  EXPECT_THAT(Message(made.status()), HasSubstr("alpha1: "));
}

std::shared_ptr<const std::vector<int64_t>> Labels(std::vector<int64_t> counts) {
  return std::make_shared<const std::vector<int64_t>>(std::move(counts));
}

TEST(FedCbsTest, ComplementsTheClassesDrawnBefore) {
  // 0 and 1 together are balanced, 0 and 2 are not: QCID 0 against 1/2.
  std::vector<ClientInfo> clients = Clients(3);
  clients[0].labels = clients[2].labels = Labels({10, 0});
  clients[1].labels = Labels({0, 10});
  const auto selector = Make("fedcbs");
  for (uint64_t round = 0; round < 20; ++round) {
    EXPECT_THAT(Draw(*selector, 2, clients, round), Contains(1));
  }
}

TEST(FedCbsTest, ExplorationBringsInThoseWhoTookPartRarely) {
  const std::vector<ClientInfo> clients = Clients(2);  // no labels: exploration alone
  const auto selector = Make("fedcbs");
  for (int64_t round = 0; round < 9; ++round) {
    selector->Observe({.round = round, .cohort = std::span(clients).first(1), .reports = {}});
  }
  int second = 0;
  for (uint64_t round = 0; round < 4000; ++round)
    second += Draw(*selector, 1, clients, round)[0] == 1 ? 1 : 0;
  EXPECT_NEAR(second, 3000, 5 * std::sqrt(4000 * 0.75 * 0.25));  // sqrt(1/9) : sqrt(1/1)
}

TEST(FedCorTest, PrefersThoseWhoseLossesMoveWithTheOthers) {
  const auto selector = Make("fedcor", {{"warmup_rounds", int64_t{1}}});
  // 0, 1, 2 move together, 3 on its own, against them.
  for (int64_t round = 0; round < 6; ++round) {
    const double together = round % 2 == 0 ? 1.0 : 2.0;
    Tell(*selector, round, statistics::kLoss,
         {{0, together}, {1, together}, {2, together}, {3, round % 3 == 0 ? 1.0 : 1.1}});
  }
  const std::vector<ClientId> drawn = Draw(*selector, 2, Clients(4));
  EXPECT_LT(drawn[0], 3);
  EXPECT_EQ(Draw(*selector, 2, Clients(4), 99), drawn);  // no chance in it
}

TEST(FedCorTest, WhatIsKnownOfOneNeedNotBeAskedOfItsTwin) {
  // 0 and 1 are twins; 2 is independent of them and moves more: 0 (or 1), then 2.
  const auto selector = Make("fedcor", {{"warmup_rounds", int64_t{1}}, {"discount", 1.0}});
  const double a[] = {1, 3, 1, 3, 1, 3, 1, 3}, b[] = {1, 1, 3, 3, 1, 1, 3, 3};
  for (int64_t round = 0; round < 8; ++round) {
    Tell(*selector, round, statistics::kLoss, {{0, 2 * a[round]}, {1, 2 * a[round]}, {2, 3 * b[round]}});
  }
  EXPECT_THAT(Draw(*selector, 2, Clients(3)), ElementsAre(0, 2));
}

TEST(OortTest, ExploitsUtilityAndPunishesTheSlow) {
  const OptionMap exploit = {{"exploration", 0.0}, {"min_exploration", 0.0}, {"cutoff", 1.0}, {"clip", 1.0}};
  const auto selector = Make("oort", exploit);
  Tell(*selector, 0, statistics::kLossRms, {{0, 1.0}, {1, 2.0}, {2, 4.0}});
  EXPECT_THAT(Draw(*selector, 1, Clients(3)), ElementsAre(2));
  EXPECT_THAT(Draw(*selector, 2, Clients(3)), UnorderedElementsAre(1, 2));
  // 2 takes ten times the preferred duration from now on: a hundredth of its utility is left.
  Tell(*selector, 1, statistics::kLossRms, {{2, 4.0}}, /*steps=*/100);
  EXPECT_THAT(Draw(*selector, 1, Clients(3)), ElementsAre(1));
}

TEST(OortTest, ExploresThoseWhoNeverTookPart) {
  const auto selector = Make("oort", {{"exploration", 1.0}, {"exploration_decay", 1.0}});
  Tell(*selector, 0, statistics::kLossRms, {{0, 9.0}, {1, 9.0}});
  EXPECT_THAT(Draw(*selector, 2, Clients(4)), UnorderedElementsAre(2, 3));
}

TEST(RoundRobinTest, NobodyIsAskedTwiceBeforeAllWere) {
  const auto selector = Make("round_robin");
  const std::vector<ClientInfo> clients = Clients(5);
  std::vector<std::vector<ClientId>> drawn;
  for (int64_t round = 0; round < 4; ++round) {
    drawn.push_back(Draw(*selector, 2, clients));
    std::vector<ClientInfo> cohort;
    std::vector<ClientId> sorted = drawn.back();
    std::sort(sorted.begin(), sorted.end());
    for (const ClientId id : sorted) cohort.push_back(clients[static_cast<size_t>(id)]);
    selector->Observe({.round = round, .cohort = cohort, .reports = {}});
  }
  EXPECT_THAT(drawn, ElementsAre(ElementsAre(0, 1), ElementsAre(2, 3), ElementsAre(4, 0), ElementsAre(1, 2)));
}

TEST(ByAvailabilityTest, FollowsTheTraceRoundByRound) {
  const test::TemporaryFolder folder;
  const std::string trace = folder.path() + "/trace.json";
  ASSERT_TRUE(WriteFileAtomic(trace, R"({"available": [[2, 0], [1], []]})").ok());
  const auto selector = Make("by_availability", {{"trace", trace}});
  const std::vector<ClientInfo> clients = Clients(3);
  EXPECT_THAT(Draw(*selector, 3, clients), UnorderedElementsAre(0, 2));  // fewer than asked
  selector->Observe({.round = 0, .cohort = {}, .reports = {}});
  EXPECT_THAT(Draw(*selector, 2, clients), ElementsAre(1));
  selector->Observe({.round = 1, .cohort = {}, .reports = {}});
  EXPECT_THAT(Draw(*selector, 1, clients, 5),
              testing::AnyOf(ElementsAre(0), ElementsAre(2)));  // waits for the next
  const auto bad =
      Registry<Selector>::Get().Create({"by_availability", {{"trace", folder.path() + "/no"}}}, {});
  EXPECT_FALSE(bad.ok());
}

TEST(ByAvailabilityTest, WhoIsUpIsAFactOfTheRound) {
  const auto selector = Make("by_availability", {{"probability", 0.5}});
  const std::vector<ClientInfo> clients = Clients(200);
  std::vector<ClientId> a = Draw(*selector, 200, clients, 1), b = Draw(*selector, 200, clients, 2);
  EXPECT_NEAR(static_cast<double>(a.size()), 100, 5 * std::sqrt(50));
  std::sort(a.begin(), a.end());
  std::sort(b.begin(), b.end());
  EXPECT_EQ(a, b);
  selector->Observe({.round = 0, .cohort = {}, .reports = {}});
  std::vector<ClientId> next = Draw(*selector, 200, clients, 1);
  std::sort(next.begin(), next.end());
  EXPECT_NE(next, a);
}

}  // namespace
}  // namespace muster
