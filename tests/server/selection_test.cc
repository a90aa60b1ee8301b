#include <algorithm>
#include <cmath>
#include <map>
#include <set>

#include "core/statistics.h"
#include "gmock/gmock.h"
#include "server/selection/selector.h"
#include "tests/server/plugin_options.h"

namespace muster {
namespace {

using ::testing::UnorderedElementsAreArray;

std::shared_ptr<const std::vector<int64_t>> Labels(std::vector<int64_t> counts) {
  return std::make_shared<const std::vector<int64_t>>(std::move(counts));
}

// Ids with gaps, sizes 0, 1, 2, ... so that ties and clients without samples are among them; every fourth
// does not tell its labels, one knows of other classes than the rest.
std::vector<ClientInfo> SomeClients(int64_t count) {
  std::vector<ClientInfo> clients;
  for (int64_t i = 0; i < count; ++i) {
    clients.push_back({.id = 3 * i + 1, .num_samples = i / 2, .labels = nullptr});
    if (i % 4 != 3) clients.back().labels = Labels({i / 2, 0, i % 3});
  }
  if (count > 5) clients[5].labels = Labels({1, 1});
  return clients;
}

std::unique_ptr<Selector> Make(const std::string& name) {
  auto made = Registry<Selector>::Get().Create({name, {}}, {});
  EXPECT_TRUE(made.ok()) << made.status();
  return *std::move(made);
}

std::vector<ClientId> Draw(const Selector& selector, int64_t count, std::span<const ClientInfo> candidates,
                           uint64_t round) {
  Random random({.seed = 7, .purpose = Purpose::kSelection, .round = round});
  const auto selected = selector.Select(count, candidates, random);
  EXPECT_TRUE(selected.ok()) << selected.status();
  return selected.value_or(std::vector<ClientId>());
}

// Rounds in which every client was asked now and then; every fifth tells nothing, every seventh fails, one
// tells nonsense.
void ObserveRounds(Selector& selector, std::span<const ClientInfo> clients, int64_t rounds) {
  for (int64_t round = 0; round < rounds; ++round) {
    Random random({.seed = 5, .round = static_cast<uint64_t>(round)});
    std::vector<ClientInfo> cohort;
    std::vector<ClientReport> reports;
    for (const ClientInfo& client : clients) {
      if (random.Below(3) > 0) continue;
      cohort.push_back(client);
      if (client.id % 7 == 0) continue;
      ClientReport& report = reports.emplace_back();
      report.client = client;
      report.steps = 1 + static_cast<int64_t>(random.Below(9));
      report.deviation = random.Uniform();
      if (client.id % 5 == 0) continue;
      for (const char* name : {statistics::kLoss, statistics::kLossRms, statistics::kGradientDeviation}) {
        report.numbers[name] = {random.Uniform() + 1 / static_cast<double>(round + 1)};
      }
      if (client.id == 1) report.numbers = {{statistics::kLoss, {-1}}, {statistics::kLossRms, {1, 2}}};
    }
    selector.Observe({.round = round, .cohort = cohort, .reports = reports});
  }
}

class EverySelector : public testing::TestWithParam<std::string> {
 protected:
  const std::unique_ptr<Selector> selector_ = Make(GetParam());
};

TEST_P(EverySelector, DrawsDistinctCandidatesInTheNumberAsked) {
  const std::vector<ClientInfo> clients = SomeClients(23);
  for (int64_t count = 0; count <= 23; ++count) {
    const std::vector<ClientId> drawn = Draw(*selector_, count, clients, static_cast<uint64_t>(count));
    EXPECT_EQ(static_cast<int64_t>(drawn.size()), count);
    EXPECT_EQ(std::set<ClientId>(drawn.begin(), drawn.end()).size(), drawn.size());
    for (const ClientId id : drawn) {
      EXPECT_TRUE(
          std::any_of(clients.begin(), clients.end(), [id](const ClientInfo& c) { return c.id == id; }));
    }
  }
}

TEST_P(EverySelector, DrawsAllWhereAllAreAsked) {
  std::vector<ClientId> ids;
  for (const ClientInfo& client : SomeClients(17)) ids.push_back(client.id);
  EXPECT_THAT(Draw(*selector_, 17, SomeClients(17), 0), UnorderedElementsAreArray(ids));
}

TEST_P(EverySelector, DependsOnTheRandomKeyOnly) {
  const std::vector<ClientInfo> clients = SomeClients(50);
  const std::vector<ClientId> first = Draw(*selector_, 10, clients, 1);
  Draw(*selector_, 20, clients, 2);
  EXPECT_EQ(Draw(*selector_, 10, clients, 1), first);
  EXPECT_EQ(Draw(*Make(GetParam()), 10, clients, 1), first);
  if (GetParam() != "round_robin") {
    EXPECT_NE(Draw(*selector_, 10, clients, 3), first);
  }
}

TEST_P(EverySelector, AfterWhatItWasToldStillDrawsDistinctCandidates) {
  const std::vector<ClientInfo> clients = SomeClients(23);
  ObserveRounds(*selector_, clients, 30);
  for (int64_t count = 0; count <= 23; ++count) {
    const std::vector<ClientId> drawn = Draw(*selector_, count, clients, static_cast<uint64_t>(count));
    EXPECT_EQ(static_cast<int64_t>(drawn.size()), count);
    EXPECT_EQ(std::set<ClientId>(drawn.begin(), drawn.end()).size(), drawn.size());
  }
}

// Some are away: of the rest it draws as many as are asked, whatever it knows of the others.
TEST_P(EverySelector, DrawsAmongThoseWhoAreThere) {
  std::vector<ClientInfo> clients = SomeClients(23);
  ObserveRounds(*selector_, clients, 20);
  clients.erase(clients.begin() + 3, clients.begin() + 15);
  clients.push_back({.id = 1000, .num_samples = 4, .labels = nullptr});  // new
  const std::vector<ClientId> drawn = Draw(*selector_, 12, clients, 1);
  std::vector<ClientId> ids;
  for (const ClientInfo& client : clients) ids.push_back(client.id);
  EXPECT_THAT(drawn, UnorderedElementsAreArray(ids));
}

TEST_P(EverySelector, SavedAndLoadedAfterAnyRoundGoesOnTheSame) {
  const std::vector<ClientInfo> clients = SomeClients(23);
  for (const int64_t rounds : {0, 1, 13, 40}) {
    const auto original = Make(GetParam()), copy = Make(GetParam());
    ObserveRounds(*original, clients, rounds);
    ASSERT_TRUE(copy->Load(original->Save()).ok());
    EXPECT_EQ(copy->Save(), original->Save());
    EXPECT_EQ(Draw(*copy, 9, clients, 2), Draw(*original, 9, clients, 2));
    ObserveRounds(*original, clients, 3);
    ObserveRounds(*copy, clients, 3);
    EXPECT_EQ(copy->Save(), original->Save());
  }
}

TEST_P(EverySelector, RefusesStateThatIsNotItsOwn) {
  const std::string before = selector_->Save();
  if (before.empty()) return;  // it remembers nothing
  for (const char* damaged : {"", "x", "{}", "[1]", R"({"round": 1, "clients": [[1]]})", "-7"}) {
    EXPECT_EQ(selector_->Load(damaged).code(), absl::StatusCode::kInvalidArgument) << damaged;
  }
  EXPECT_EQ(selector_->Save(), before);
}

TEST_P(EverySelector, SelectingLeavesTheStateAsItWas) {
  ObserveRounds(*selector_, SomeClients(9), 20);
  const std::string before = selector_->Save();
  Draw(*selector_, 5, SomeClients(9), 1);
  EXPECT_EQ(selector_->Save(), before);
  EXPECT_TRUE(selector_->Load(before).ok());
}

TEST_P(EverySelector, RefusesMoreThanThereAre) {
  Random random({.seed = 1});
  EXPECT_FALSE(selector_->Select(4, SomeClients(3), random).ok());
  EXPECT_FALSE(selector_->Select(-1, SomeClients(3), random).ok());
}

TEST_P(EverySelector, ChecksItsOptions) { ExpectOptionsAreChecked<Selector>(GetParam(), {}); }

INSTANTIATE_TEST_SUITE_P(All, EverySelector, testing::ValuesIn(Registry<Selector>::Get().Names()),
                         [](const auto& info) { return info.param; });

// Counts are binomial: within 5 standard deviations of the mean but for 1 in 1.7 million seeds.
void ExpectShare(int count, int draws, double probability) {
  EXPECT_NEAR(count, draws * probability, 5 * std::sqrt(draws * probability * (1 - probability)));
}

TEST(UniformSelectorTest, EveryClientIsEquallyLikelyAtEveryPlace) {
  const std::vector<ClientInfo> clients = SomeClients(5);
  std::map<ClientId, int> first, any;
  constexpr int kDraws = 20000;
  for (int i = 0; i < kDraws; ++i) {
    const std::vector<ClientId> drawn = Draw(*Make("uniform"), 2, clients, static_cast<uint64_t>(i));
    ++first[drawn[0]];
    for (const ClientId id : drawn) ++any[id];
  }
  for (const ClientInfo& client : clients) {
    ExpectShare(first[client.id], kDraws, 1.0 / 5);
    ExpectShare(any[client.id], kDraws, 2.0 / 5);
  }
}

TEST(BySizeSelectorTest, DrawsInProportionToSamplesWithoutReplacement) {
  const std::vector<ClientInfo> clients = {{.id = 0, .num_samples = 100},
                                           {.id = 1, .num_samples = 200},
                                           {.id = 2, .num_samples = 300},
                                           {.id = 3, .num_samples = 400}};
  std::map<ClientId, int> first;
  std::map<std::pair<ClientId, ClientId>, int> pairs;
  constexpr int kDraws = 20000;
  for (int i = 0; i < kDraws; ++i) {
    const std::vector<ClientId> drawn = Draw(*Make("by_size"), 2, clients, static_cast<uint64_t>(i));
    ++first[drawn[0]];
    ++pairs[{drawn[0], drawn[1]}];
  }
  for (const ClientInfo& a : clients) {
    const double p = static_cast<double>(a.num_samples) / 1000;
    ExpectShare(first[a.id], kDraws, p);
    for (const ClientInfo& b : clients) {
      if (a.id == b.id) continue;
      // The second is drawn in proportion among those left.
      ExpectShare(pairs[{a.id, b.id}], kDraws, p * static_cast<double>(b.num_samples) / 1000 / (1 - p));
    }
  }
}

TEST(BySizeSelectorTest, ClientsWithoutSamplesComeLastAndAreEquallyLikely) {
  const std::vector<ClientInfo> clients = {
      {.id = 0, .num_samples = 0}, {.id = 1, .num_samples = 5}, {.id = 2, .num_samples = 0}};
  std::map<ClientId, int> second;
  constexpr int kDraws = 2000;
  for (int i = 0; i < kDraws; ++i) {
    const std::vector<ClientId> drawn = Draw(*Make("by_size"), 2, clients, static_cast<uint64_t>(i));
    EXPECT_EQ(drawn[0], 1);
    ++second[drawn[1]];
  }
  ExpectShare(second[0], kDraws, 0.5);
  ExpectShare(second[2], kDraws, 0.5);
}

TEST(BySizeSelectorTest, HugeSizesKeepTheirProportion) {
  // u^(1/w) itself would round to 1 for both.
  const int64_t huge = int64_t{1} << 55;
  const std::vector<ClientInfo> clients = {{.id = 0, .num_samples = huge},
                                           {.id = 1, .num_samples = 3 * huge}};
  int first = 0;
  constexpr int kDraws = 4000;
  for (int i = 0; i < kDraws; ++i) {
    first += Draw(*Make("by_size"), 1, clients, static_cast<uint64_t>(i))[0] == 0 ? 1 : 0;
  }
  ExpectShare(first, kDraws, 0.25);
}

}  // namespace
}  // namespace muster
