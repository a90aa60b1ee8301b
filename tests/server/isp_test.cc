// ISP, arXiv:2508.13803: the probe schedule, the reference loss, the search, and what each costs.
#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <numeric>
#include <set>

#include "gmock/gmock.h"
#include "server/participation/policy.h"

namespace muster {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr double kInfinity = std::numeric_limits<double>::infinity();

OptionValue Int(int64_t value) { return value; }

std::unique_ptr<ParticipationPolicy> MakeIsp(const OptionMap& options, int64_t clients) {
  auto made = Registry<ParticipationPolicy>::Get().Create(
      {"isp", options}, {.clients = clients, .rounds = 100, .has_trust_set = true});
  EXPECT_TRUE(made.ok()) << made.status();
  return *std::move(made);
}

std::unique_ptr<Selector> MakeSelector(const std::string& name) {
  auto made = Registry<Selector>::Get().Create({name, {}}, {});
  EXPECT_TRUE(made.ok()) << made.status();
  return *std::move(made);
}

// A federation as a policy sees it. A candidate model is by default just its subset's size.
struct World {
  int64_t clients = 20;
  std::function<double(int64_t round)> global_loss = [](int64_t) { return 1.0; };
  std::function<double(int64_t round, ConstParameters model)> candidate_loss = [](int64_t, ConstParameters) {
    return 2.0;
  };
  std::function<std::vector<float>(std::span<const size_t>)> candidate = [](std::span<const size_t> subset) {
    return std::vector<float>{static_cast<float>(subset.size())};
  };
  std::function<int64_t(int64_t asked)> answered = [](int64_t asked) { return asked; };
  const Selector* selector = nullptr;
  int64_t update_bytes = 0;
};

// Progress is expected from `found` clients on; 0: never.
std::function<double(int64_t, ConstParameters)> ProgressFrom(std::function<int64_t(int64_t round)> found) {
  return [found](int64_t round, ConstParameters model) {
    return found(round) > 0 && model[0] >= static_cast<float>(found(round)) ? 0.5 : 2.0;
  };
}

struct PlayedRound {
  Decision decision;
  std::optional<double> trust_loss;
  std::optional<SearchRecord> search;
  std::vector<std::vector<size_t>> subsets;  // tried
};

PlayedRound Play(ParticipationPolicy& policy, const World& world, int64_t round) {
  static const Selector* const uniform = MakeSelector("uniform").release();
  PlayedRound played;
  auto decision =
      policy.Next({.round = round, .available = world.clients, .trust_loss = [&]() -> absl::StatusOr<double> {
                     return world.global_loss(round);
                   }});
  EXPECT_TRUE(decision.ok()) << decision.status();
  if (!decision.ok()) return played;
  played.decision = *std::move(decision);
  played.trust_loss = policy.last_trust_loss();

  std::vector<ClientInfo> cohort;
  for (int64_t i = 0; i < played.decision.clients; ++i)
    cohort.push_back({.id = 5 * i + 2, .num_samples = 10});
  const int64_t accepted = world.answered(played.decision.clients);
  const auto candidate = [&](std::span<const size_t> subset) -> absl::StatusOr<std::vector<float>> {
    played.subsets.emplace_back(subset.begin(), subset.end());
    return world.candidate(subset);
  };
  const KeptUpdates kept{.clients = {cohort.begin(), cohort.begin() + accepted}, .candidate = candidate};
  auto search = policy.Observe({.round = round,
                                .cohort = cohort,
                                .accepted = accepted,
                                .uploads = accepted,
                                .upload_bytes = accepted * world.update_bytes,
                                .kept = played.decision.keep_updates ? &kept : nullptr,
                                .selector = world.selector != nullptr ? world.selector : uniform,
                                .seed = 3,
                                .trust_loss = [&](ConstParameters model) -> absl::StatusOr<double> {
                                  return world.candidate_loss(round, model);
                                }});
  EXPECT_TRUE(search.ok()) << search.status();
  if (search.ok()) played.search = *std::move(search);
  return played;
}

std::vector<PlayedRound> PlayRounds(ParticipationPolicy& policy, const World& world, int64_t count) {
  std::vector<PlayedRound> rounds;
  for (int64_t round = 0; round < count; ++round) rounds.push_back(Play(policy, world, round));
  return rounds;
}

// m from the next round on, after each search.
std::vector<int64_t> Chosen(const std::vector<PlayedRound>& rounds) {
  std::vector<int64_t> chosen;
  for (const PlayedRound& round : rounds) {
    if (round.search) chosen.push_back(round.search->chosen);
  }
  return chosen;
}

int64_t Uploads(const std::vector<PlayedRound>& rounds) {
  return std::accumulate(rounds.begin(), rounds.end(), int64_t{0},
                         [](int64_t sum, const PlayedRound& round) { return sum + round.decision.clients; });
}

TEST(IspTest, NeedsATrustSet) {
  const auto made = Registry<ParticipationPolicy>::Get().Create({"isp", {}}, {.clients = 10, .rounds = 10});
  EXPECT_EQ(made.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(Message(made.status()), "name: isp needs a trust set; set data.trust.samples, e.g. 1000");
}

TEST(IspTest, DefaultsAreThePapers) {
  World world{.clients = 100, .candidate_loss = ProgressFrom([](int64_t) { return 3; })};
  const auto isp = MakeIsp({}, 100);
  const std::vector<PlayedRound> rounds = PlayRounds(*isp, world, 54);
  for (int64_t t = 0; t < 54; ++t) {
    SCOPED_TRACE(t);
    const PlayedRound& round = rounds[static_cast<size_t>(t)];
    const bool probe = t == 12 || t == 32 || t == 52;
    EXPECT_EQ(round.decision.reason, t < 12 ? "warm-up" : probe ? "probe" : "search");
    EXPECT_EQ(round.decision.clients, t < 12 || probe ? 100 : 3);
    EXPECT_EQ(round.decision.epochs, t < 12 ? 3 : 0);
    EXPECT_EQ(round.decision.keep_updates, probe);
    EXPECT_TRUE(round.decision.uniform_weights);
    EXPECT_EQ(round.search.has_value(), probe);
    EXPECT_EQ(round.trust_loss, 1.0);
    // 10 subsets of each of the sizes 1, 2, 3; without a probe nothing is tried.
    EXPECT_EQ(round.subsets.size(), probe ? 30 : 0);
  }
}

TEST(IspTest, WithoutWarmUpTheFirstRoundIsAProbe) {
  const auto isp = MakeIsp({{"warmup_rounds", Int(0)}, {"period", Int(2)}, {"warmup_epochs", Int(7)}}, 20);
  const std::vector<PlayedRound> rounds = PlayRounds(*isp, World(), 4);
  EXPECT_EQ(rounds[0].decision.reason, "probe");
  EXPECT_EQ(rounds[1].decision.reason, "search");
  EXPECT_EQ(rounds[2].decision.reason, "probe");
  for (const PlayedRound& round : rounds) EXPECT_EQ(round.decision.epochs, 0);
}

// By hand: span 3 gives a = 2/(3+1) = 1/2; e = 4; (2+4)/2 = 3; (1+3)/2 = 2; then 5, 4, 3.
TEST(IspTest, ReferenceIsPandasMovingAverageUpToTheStartOfTheProbe) {
  const std::vector<double> losses = {4, 2, 1, 8, 3, 2};
  World world{.global_loss = [&](int64_t t) { return losses[static_cast<size_t>(t)]; }};
  OptionMap options = {{"warmup_rounds", Int(2)}, {"period", Int(3)}};
  std::vector<PlayedRound> rounds = PlayRounds(*MakeIsp(options, 20), world, 6);
  EXPECT_EQ(rounds[2].search->reference_loss, 2);
  EXPECT_EQ(rounds[5].search->reference_loss, 3);

  options["ema"] = false;  // the loss of the model the probe started from
  rounds = PlayRounds(*MakeIsp(options, 20), world, 6);
  EXPECT_EQ(rounds[2].search->reference_loss, 1);
  EXPECT_EQ(rounds[5].search->reference_loss, 2);
}

TEST(IspTest, ProgressMustBeStrictlyPositive) {
  World world{.candidate_loss = [](int64_t, ConstParameters model) { return model[0] >= 4 ? 0.999 : 1.0; }};
  const auto rounds = PlayRounds(*MakeIsp({{"warmup_rounds", Int(0)}}, 20), world, 1);
  EXPECT_EQ(rounds[0].search->found, 4);
  ASSERT_EQ(rounds[0].search->candidates.size(), 4);
  EXPECT_EQ(rounds[0].search->candidates[0].clients, 1);
  EXPECT_EQ(rounds[0].search->candidates[0].loss, 1);
  EXPECT_EQ(rounds[0].search->candidates[3].clients, 4);
  EXPECT_DOUBLE_EQ(rounds[0].search->candidates[3].loss, 0.999);
}

TEST(IspTest, StepSkipsSizes) {
  World world{.candidate_loss = ProgressFrom([](int64_t) { return 6; })};
  const auto rounds = PlayRounds(*MakeIsp({{"warmup_rounds", Int(0)}, {"step", Int(3)}}, 20), world, 1);
  EXPECT_EQ(rounds[0].search->found, 7);
  EXPECT_EQ(rounds[0].search->candidates.size(), 3);  // 1, 4, 7
}

TEST(IspTest, RoundingUpClimbsFromTwoToThree) {
  const std::vector<int64_t> found = {2, 3, 10, 1, 1, 1, 1};
  World world{.candidate_loss = ProgressFrom([&](int64_t t) { return found[static_cast<size_t>(t)]; })};
  const OptionMap every_round = {{"warmup_rounds", Int(0)}, {"period", Int(1)}};
  // 2; 2.5; 6.5; 4; 2.5; 2; 1.5
  EXPECT_THAT(Chosen(PlayRounds(*MakeIsp(every_round, 20), world, 7)), ElementsAre(2, 3, 7, 4, 3, 2, 2));
}

TEST(IspTest, MomentumOneMovesAllTheWayAndRoundingErrorsAddNoClient) {
  const std::vector<int64_t> found = {2, 9, 1};
  World world{.candidate_loss = ProgressFrom([&](int64_t t) { return found[static_cast<size_t>(t)]; })};
  OptionMap options = {{"warmup_rounds", Int(0)}, {"period", Int(1)}, {"momentum", 1.0}};
  EXPECT_THAT(Chosen(PlayRounds(*MakeIsp(options, 20), world, 3)), ElementsAre(2, 9, 1));
  // 91 - 0.7 * 90 is above 28 in binary.
  const std::vector<int64_t> fall = {91, 1};
  World large{.clients = 100,
              .candidate_loss = ProgressFrom([&](int64_t t) { return fall[static_cast<size_t>(t)]; })};
  options["momentum"] = 0.7;
  EXPECT_THAT(Chosen(PlayRounds(*MakeIsp(options, 100), large, 2)), ElementsAre(91, 28));
}

TEST(IspTest, WhereNoneIsFoundTheNumberStays) {
  const std::vector<int64_t> found = {6, 0, 8, 0};
  World world{.candidate_loss = ProgressFrom([&](int64_t t) { return found[static_cast<size_t>(t)]; })};
  const OptionMap options = {{"warmup_rounds", Int(0)}, {"period", Int(1)}};
  const auto rounds = PlayRounds(*MakeIsp(options, 20), world, 4);
  EXPECT_THAT(Chosen(rounds), ElementsAre(6, 6, 7, 7));
  EXPECT_EQ(rounds[1].search->found, 0);
  EXPECT_EQ(rounds[1].search->previous, 6);
  EXPECT_EQ(rounds[1].search->candidates.size(), 20);
}

TEST(IspTest, WhereTheFirstSearchFindsNoneTheFallbackHolds) {
  World world;
  OptionMap options = {{"warmup_rounds", Int(0)}, {"period", Int(1)}, {"initial_clients", Int(7)}};
  EXPECT_THAT(Chosen(PlayRounds(*MakeIsp(options, 20), world, 2)), ElementsAre(7, 7));
  options["fallback_clients"] = Int(9);
  EXPECT_THAT(Chosen(PlayRounds(*MakeIsp(options, 20), world, 2)), ElementsAre(9, 9));
  options["fallback_clients"] = Int(900);
  EXPECT_THAT(Chosen(PlayRounds(*MakeIsp(options, 20), world, 2)), ElementsAre(20, 20));
}

// Uploads = T0 B + (probes) B + sum of the ordinary rounds' m; the search uploads nothing. T0 = 3, period 5,
// 20 rounds: probes in rounds 3, 8, 13, 18; m = 2, 3, 5, 6 in 4, 4, 4, 1 ordinary rounds.
TEST(IspTest, UploadsAreThoseOfTheCostTable) {
  const std::map<int64_t, int64_t> found = {{3, 2}, {8, 3}, {13, 6}, {18, 6}};
  World world{.clients = 30, .candidate_loss = ProgressFrom([&](int64_t t) { return found.at(t); })};
  OptionMap options = {{"warmup_rounds", Int(3)}, {"period", Int(5)}, {"initial_clients", Int(6)}};
  const int64_t ordinary = 4 * 2 + 4 * 3 + 4 * 5 + 1 * 6;

  const auto all = PlayRounds(*MakeIsp(options, 30), world, 20);
  EXPECT_THAT(Chosen(all), ElementsAre(2, 3, 5, 6));
  EXPECT_EQ(Uploads(all), 3 * 30 + 4 * 30 + ordinary);

  options["probe"] = std::string("double");  // of m = 6 in warm-up and the first probe, then of 2, 3, 5
  const auto twice = PlayRounds(*MakeIsp(options, 30), world, 20);
  EXPECT_THAT(Chosen(twice), ElementsAre(2, 3, 5, 6));
  EXPECT_EQ(Uploads(twice), 3 * 12 + (12 + 4 + 6 + 10) + ordinary);

  options["probe_clients"] = Int(8);
  EXPECT_EQ(Uploads(PlayRounds(*MakeIsp(options, 30), world, 20)), 3 * 8 + 4 * 8 + ordinary);
}

TEST(IspTest, NeverAsksForMoreThanThereAre) {
  World world{.clients = 5};
  for (const OptionMap& options : std::vector<OptionMap>{{},
                                                         {{"probe", std::string("double")}},
                                                         {{"probe_clients", Int(50)}},
                                                         {{"fallback_clients", Int(50)}}}) {
    for (const PlayedRound& round : PlayRounds(*MakeIsp(options, 5), world, 40))
      EXPECT_EQ(round.decision.clients, 5);
  }
}

TEST(IspTest, TriesSubsetsOfThoseWhoAnsweredOnly) {
  World world{.answered = [](int64_t) { return 4; }};
  const auto rounds = PlayRounds(*MakeIsp({{"warmup_rounds", Int(0)}, {"subsets", Int(3)}}, 20), world, 1);
  std::vector<size_t> sizes;
  for (const std::vector<size_t>& subset : rounds[0].subsets) {
    sizes.push_back(subset.size());
    EXPECT_TRUE(std::is_sorted(subset.begin(), subset.end()));
    EXPECT_EQ(std::adjacent_find(subset.begin(), subset.end()), subset.end());
    EXPECT_LT(subset.back(), 4);
  }
  // Of all four there is one subset only.
  EXPECT_THAT(sizes, ElementsAre(1, 1, 1, 2, 2, 2, 3, 3, 3, 4));
}

TEST(IspTest, AProbeThatNobodyAnsweredChangesNothing) {
  World world{.candidate_loss = ProgressFrom([](int64_t) { return 3; })};
  const auto isp = MakeIsp({{"warmup_rounds", Int(0)}, {"period", Int(2)}, {"initial_clients", Int(7)}}, 20);
  world.answered = [](int64_t) { return 0; };
  EXPECT_FALSE(Play(*isp, world, 0).search.has_value());
  const PlayedRound next = Play(*isp, world, 1);
  EXPECT_EQ(next.decision.clients, 7);
  EXPECT_EQ(next.decision.reason, "initial");
  world.answered = [](int64_t asked) { return asked; };
  EXPECT_EQ(Play(*isp, world, 2).search->chosen, 3);  // still the first search: no momentum
}

TEST(IspTest, ALossThatIsNotFiniteIsLeftOut) {
  const std::vector<double> losses = {kInfinity, 4, std::nan(""), 2};
  World world{
      .global_loss = [&](int64_t t) { return losses[static_cast<size_t>(t)]; },
      .candidate_loss = [](int64_t, ConstParameters model) { return model[0] < 3 ? std::nan("") : 1.0; }};
  const auto isp = MakeIsp({{"warmup_rounds", Int(0)}, {"period", Int(3)}}, 20);
  const auto rounds = PlayRounds(*isp, world, 4);
  EXPECT_FALSE(rounds[0].search.has_value());
  EXPECT_EQ(rounds[3].search->reference_loss, 3);
  EXPECT_EQ(rounds[3].search->found, 3);
}

// f(x) = |x|^2 / 2 at x = e_0. Client i's update is (-0.2) e_0 + s (e_i - mean of all e_j): the mean over ANY
// subset of q of M clients has |mean|^2 = 0.04 + s^2 (1/q - 1/M), so the expected loss of size q is known
// without sampling.
TEST(IspTest, FindsTheSmallestSizeOfAnAnalyticQuadratic) {
  constexpr size_t kClients = 20;
  for (const double s2 : {0.0, 0.3, 0.5, 1.0, 2.0, 3.5, 6.0, 9.0, 1000.0}) {
    SCOPED_TRACE(s2);
    const auto s = static_cast<float>(std::sqrt(s2));
    std::vector<float> model(1 + kClients, 0.0f);
    model[0] = 1;
    const std::vector<float> before = model;
    World world;
    world.clients = kClients;
    world.global_loss = [](int64_t) { return 0.5; };
    world.candidate = [&](std::span<const size_t> subset) {
      std::vector<float> x = model;
      x[0] -= 0.2f;
      for (size_t i = 0; i < kClients; ++i) x[1 + i] -= s / kClients;
      for (const size_t i : subset) x[1 + i] += s / static_cast<float>(subset.size());
      return x;
    };
    world.candidate_loss = [](int64_t, ConstParameters x) {
      double sum = 0;
      for (const float value : x) sum += static_cast<double>(value) * value;
      return sum / 2;
    };
    const auto loss = [&](double q) { return 0.32 + s2 / 2 * (1 / q - 1.0 / kClients); };
    int64_t smallest = 1;
    while (loss(static_cast<double>(smallest)) >= 0.5) ++smallest;

    const auto rounds = PlayRounds(*MakeIsp({{"warmup_rounds", Int(0)}}, kClients), world, 1);
    ASSERT_TRUE(rounds[0].search.has_value());
    EXPECT_EQ(rounds[0].search->found, smallest);
    EXPECT_EQ(rounds[0].search->chosen, smallest);
    for (const Candidate& candidate : rounds[0].search->candidates) {
      EXPECT_NEAR(candidate.loss, loss(static_cast<double>(candidate.clients)), 1e-4);
    }
    EXPECT_EQ(model, before);
  }
}

// Now with chance: updates -0.2 + z_i on the line, half of the z_i +1, half -1. Drawn without replacement,
// the mean of q of M has variance (1/q) (M-q)/(M-1). Thousands of subsets see it through.
TEST(IspTest, SampledExpectationFindsTheSmallestSize) {
  constexpr size_t kClients = 20;
  World world;
  world.clients = kClients;
  world.global_loss = [](int64_t) { return 0.45; };
  world.candidate = [](std::span<const size_t> subset) {
    float mean = 0;
    for (const size_t i : subset) mean += (i % 2 == 0 ? 1.0f : -1.0f) / static_cast<float>(subset.size());
    return std::vector<float>{1.0f - 0.2f + mean};
  };
  world.candidate_loss = [](int64_t, ConstParameters x) { return 0.5 * static_cast<double>(x[0]) * x[0]; };
  const auto loss = [](double q) { return 0.32 + 0.5 / q * (kClients - q) / (kClients - 1); };
  ASSERT_GT(loss(3), 0.46);  // 0.469
  ASSERT_LT(loss(4), 0.43);  // 0.425
  const auto rounds =
      PlayRounds(*MakeIsp({{"warmup_rounds", Int(0)}, {"subsets", Int(20000)}}, kClients), world, 1);
  EXPECT_EQ(rounds[0].search->found, 4);
  for (const Candidate& candidate : rounds[0].search->candidates) {
    // Losses lie within 0 to 1.62: 5 standard deviations of the mean are below 0.03.
    EXPECT_NEAR(candidate.loss, loss(static_cast<double>(candidate.clients)), 0.03);
  }
}

// Draws as uniform does, and counts.
class CountingSelector final : public Selector {
 public:
  absl::StatusOr<std::vector<ClientId>> Select(int64_t count, std::span<const ClientInfo> candidates,
                                               Random& random) const override {
    ++selects;
    std::vector<ClientId> selected;
    for (const int64_t i : random.Sample(static_cast<int64_t>(candidates.size()), count)) {
      selected.push_back(candidates[static_cast<size_t>(i)].id);
    }
    return selected;
  }
  void Observe(const SelectorRound& /*round*/) override { ++observed; }
  std::string Save() const override { return std::to_string(observed); }

  mutable int64_t selects = 0;
  int64_t observed = 0;
};

TEST(IspTest, SearchDrawsAsTheRunsSelectorAndLeavesItsStateAlone) {
  CountingSelector selector;
  World world{.candidate_loss = ProgressFrom([](int64_t) { return 4; }), .selector = &selector};
  PlayRounds(*MakeIsp({{"warmup_rounds", Int(1)}, {"period", Int(3)}, {"subsets", Int(5)}}, 20), world, 6);
  EXPECT_EQ(selector.selects, 2 * 4 * 5);  // two probes, sizes 1 to 4, 5 subsets
  EXPECT_EQ(selector.Save(), "0");
}

TEST(IspTest, SearchLeavesTheStateOfEverySelectorAlone) {
  for (const std::string& name : Registry<Selector>::Get().Names()) {
    const auto selector = MakeSelector(name);
    const std::string before = selector->Save();
    World world{.selector = selector.get()};
    EXPECT_TRUE(PlayRounds(*MakeIsp({{"warmup_rounds", Int(0)}}, 20), world, 1)[0].search.has_value())
        << name;
    EXPECT_EQ(selector->Save(), before) << name;
  }
}

TEST(IspTest, SubsetsDifferBetweenSizesSubsetsAndRounds) {
  World world;
  const auto rounds = PlayRounds(
      *MakeIsp({{"warmup_rounds", Int(0)}, {"period", Int(1)}, {"subsets", Int(4)}}, 20), world, 2);
  const auto of_size = [](const PlayedRound& round, size_t size) {
    std::vector<std::vector<size_t>> subsets;
    for (const auto& subset : round.subsets) {
      if (subset.size() == size) subsets.push_back(subset);
    }
    return subsets;
  };
  const auto tens = of_size(rounds[0], 10);
  ASSERT_EQ(tens.size(), 4);
  for (size_t i = 1; i < tens.size(); ++i) EXPECT_NE(tens[i], tens[0]);
  EXPECT_NE(of_size(rounds[1], 10), tens);
}

void ExpectSameRounds(const PlayedRound& a, const PlayedRound& b) {
  EXPECT_EQ(a.decision.clients, b.decision.clients);
  EXPECT_EQ(a.decision.epochs, b.decision.epochs);
  EXPECT_EQ(a.decision.keep_updates, b.decision.keep_updates);
  EXPECT_EQ(a.decision.reason, b.decision.reason);
  EXPECT_EQ(a.trust_loss, b.trust_loss);
  EXPECT_EQ(a.subsets, b.subsets);
  ASSERT_EQ(a.search.has_value(), b.search.has_value());
  if (!a.search) return;
  EXPECT_EQ(a.search->reference_loss, b.search->reference_loss);
  EXPECT_EQ(a.search->found, b.search->found);
  EXPECT_EQ(a.search->chosen, b.search->chosen);
  EXPECT_EQ(a.search->previous, b.search->previous);
}

TEST(IspTest, SavedAndLoadedAfterAnyRoundGoesOnTheSame) {
  World world;
  world.global_loss = [](int64_t t) { return 1 / (1 + 0.1 * static_cast<double>(t)); };
  world.candidate_loss = [](int64_t t, ConstParameters model) {
    return 1 / (1 + 0.1 * static_cast<double>(t)) + 0.3 - 0.09 * static_cast<double>(model[0]) +
           0.02 * static_cast<double>(t);
  };
  const OptionMap options = {{"warmup_rounds", Int(2)}, {"period", Int(4)}, {"probe", std::string("double")}};
  const std::vector<PlayedRound> whole = PlayRounds(*MakeIsp(options, 20), world, 20);
  EXPECT_THAT(Chosen(whole), ElementsAre(3, 4, 5, 6, 7));
  for (int64_t cut = 0; cut < 20; ++cut) {
    SCOPED_TRACE(cut);
    const auto first = MakeIsp(options, 20);
    PlayRounds(*first, world, cut);
    const auto second = MakeIsp(options, 20);
    const absl::Status loaded = second->Load(first->Save());
    ASSERT_TRUE(loaded.ok()) << loaded;
    for (int64_t t = cut; t < 20; ++t)
      ExpectSameRounds(Play(*second, world, t), whole[static_cast<size_t>(t)]);
  }
}

TEST(IspTest, RefusesStateThatIsNotItsOwn) {
  const auto isp = MakeIsp({{"initial_clients", Int(7)}}, 20);
  const std::string before = isp->Save();
  for (const std::string state : {"", "{", "null", "[]", "{}", R"({"clients":3,"searches":1})",
                                  R"({"clients":"3","searches":1,"reference_loss":1})",
                                  R"({"clients":0,"searches":1,"reference_loss":1})",
                                  R"({"clients":21,"searches":1,"reference_loss":1})",
                                  R"({"clients":3,"searches":-1,"reference_loss":1})",
                                  R"({"clients":3.5,"searches":1,"reference_loss":1})",
                                  R"({"clients":3,"searches":1,"reference_loss":"low"})",
                                  R"({"clients":3,"searches":1,"reference_loss":1e999})",
                                  R"({"clients":18446744073709551615,"searches":1,"reference_loss":1})",
                                  R"({"clients":3,"searches":1,"reference_loss":1,"more":1})"}) {
    const absl::Status loaded = isp->Load(state);
    EXPECT_EQ(loaded.code(), absl::StatusCode::kInvalidArgument) << state;
    EXPECT_THAT(Message(loaded), HasSubstr("isp state is damaged")) << state;
    EXPECT_EQ(isp->Save(), before) << state;
  }
}

TEST(IspTest, RoundingDownNeverClimbsByOne) {
  World world{.candidate_loss = ProgressFrom([](int64_t round) { return round == 0 ? 2 : 3; })};
  const OptionMap options = {
      {"warmup_rounds", Int(0)}, {"period", Int(1)}, {"rounding", std::string("down")}};
  EXPECT_THAT(Chosen(PlayRounds(*MakeIsp(options, 20), world, 3)), ElementsAre(2, 2, 2));
}

TEST(IspTest, StaleCandidatesAreOfAllClientsUpToTheProbesSize) {
  const auto isp = MakeIsp({{"warmup_rounds", Int(0)},
                            {"probe_clients", Int(3)},
                            {"candidates", std::string("stale")},
                            {"subsets", Int(1)}},
                           20);
  const auto next =
      isp->Next({.round = 0, .available = 20, .trust_loss = []() -> absl::StatusOr<double> { return 1.0; }});
  ASSERT_TRUE(next.ok());
  EXPECT_TRUE(next->remember_updates);
  EXPECT_TRUE(next->keep_updates);
  std::set<size_t> named;
  const auto candidate = [&](std::span<const size_t> subset) -> absl::StatusOr<std::vector<float>> {
    named.insert(subset.begin(), subset.end());
    return std::vector<float>{0};
  };
  KeptUpdates kept{.clients = {}, .candidate = candidate};
  for (int64_t id = 0; id < 20; ++id) kept.clients.push_back({.id = id, .num_samples = 1, .labels = nullptr});
  const auto uniform = MakeSelector("uniform");
  const auto search =
      isp->Observe({.round = 0,
                    .cohort = std::span(kept.clients).first(3),
                    .accepted = 3,
                    .kept = &kept,
                    .selector = uniform.get(),
                    .seed = 3,
                    .trust_loss = [](ConstParameters) -> absl::StatusOr<double> { return 2.0; }});
  ASSERT_TRUE(search.ok() && search->has_value());
  EXPECT_EQ((*search)->candidates.size(), 3U);
  EXPECT_GE(*named.rbegin(), 3U);  // one that was not in the probe
}

TEST(IspTest, StaleCandidatesOfMoreThanTheirBoundAreRefused) {
  const auto make = [](int64_t bytes) {
    return Registry<ParticipationPolicy>::Get()
        .Create({"isp", {{"candidates", std::string("stale")}}},
                {.clients = 1024, .rounds = 10, .has_trust_set = true, .model_bytes = bytes})
        .status();
  };
  EXPECT_TRUE(make(256 << 10).ok());
  EXPECT_THAT(Message(make((256 << 10) + 1)), HasSubstr("candidates: stale remembers"));
}

// m0 = 10 and updates of 100 bytes: a probe of 20 costs 1000 bytes more than 10 would, rounds of 4 save 600.
TEST(IspTest, CountsTheBytesSavedAgainstItsFirstNumber) {
  World world{.candidate_loss = ProgressFrom([](int64_t) { return 4; }), .update_bytes = 100};
  const auto isp = MakeIsp({{"warmup_rounds", Int(0)}, {"initial_clients", Int(10)}, {"period", Int(5)}}, 20);
  std::vector<int64_t> saved;
  for (int64_t round = 0; round < 4; ++round) {
    Play(*isp, world, round);
    saved.push_back(isp->saved_bytes().value());
  }
  EXPECT_THAT(saved, ElementsAre(-1000, -400, 200, 800));
}

TEST(IspTest, SaysWhyInWords) {
  World world{.candidate_loss = ProgressFrom([](int64_t round) { return round == 0 ? 2 : 6 - round; })};
  const auto rounds = PlayRounds(*MakeIsp({{"warmup_rounds", Int(0)}, {"period", Int(1)}}, 20), world, 3);
  EXPECT_EQ(
      rounds[0].search->why,
      "2 clients bring the expected loss to 0.5, below the reference 1 (moving average of the losses before "
      "the probe); fewer do not (1 client: 2); first search: m = 2");
  EXPECT_THAT(rounds[1].search->why, HasSubstr("m = 2 + 0.5 (5 - 2), rounded up, = 4"));
  World never;
  const auto none =
      PlayRounds(*MakeIsp({{"warmup_rounds", Int(0)}, {"initial_clients", Int(7)}}, 20), never, 1);
  EXPECT_EQ(
      none[0].search->why,
      "no size up to 20 brings the expected loss (2) below the reference 1 (moving average of the losses "
      "before the probe); first search: m = 7");
}

TEST(IspTest, ErrorsOfTheEvaluationComeThrough) {
  const auto isp = MakeIsp({{"warmup_rounds", Int(0)}}, 20);
  const auto failing = [] { return absl::StatusOr<double>(InternalError("no loss")); };
  EXPECT_EQ(Message(isp->Next({.round = 0, .available = 20, .trust_loss = failing}).status()), "no loss");

  ASSERT_TRUE(
      isp->Next({.round = 0, .available = 20, .trust_loss = [] { return absl::StatusOr<double>(1.0); }})
          .ok());
  const std::string before = isp->Save();
  const auto selector = MakeSelector("uniform");
  const auto candidate = [](std::span<const size_t>) {
    return absl::StatusOr<std::vector<float>>(InternalError("no candidate"));
  };
  const KeptUpdates kept{.clients = {{.id = 1, .num_samples = 1}, {.id = 2, .num_samples = 1}},
                         .candidate = candidate};
  const auto observed =
      isp->Observe({.round = 0,
                    .cohort = kept.clients,
                    .accepted = 2,
                    .kept = &kept,
                    .selector = selector.get(),
                    .seed = 1,
                    .trust_loss = [](ConstParameters) { return absl::StatusOr<double>(1.0); }});
  EXPECT_EQ(Message(observed.status()), "no candidate");
  EXPECT_EQ(isp->Save(), before);
}

}  // namespace
}  // namespace muster
