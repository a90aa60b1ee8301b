// Majority vote, and the step sizes and weights that servers estimate from what clients tell.
#include <cmath>
#include <limits>

#include "gmock/gmock.h"
#include "server/optimization/server_optimizer.h"
#include "tests/server/fakes.h"

namespace muster {
namespace {

using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

Layout ThreeElements() {
  Layout layout;
  layout.Add("x", {3}, true);
  return layout;
}

TEST(MajorityVoteTest, CountsVotesNotSizes) {
  const Layout layout = ThreeElements();
  const std::vector<ClientInfo> cohort = {{1, 1}, {2, 1}, {3, 1}};
  auto made =
      Registry<Aggregator>::Get().Create({"majority_vote", {}}, {.layout = &layout, .cohort = cohort});
  ASSERT_TRUE(made.ok());
  const std::vector<std::vector<float>> deltas = {{100, -1, 0.5F}, {-0.1F, -3, -2}, {-1e-20F, 7, 0}};
  for (size_t i = 0; i < 3; ++i) {
    Update update;
    update.client = cohort[i].id;
    update.num_samples = 1;
    update.payload = test::Encode(deltas[i], layout);
    ASSERT_TRUE((*made)->Add(update).ok());
  }
  const auto aggregate = std::move(**made).Finish();
  ASSERT_TRUE(aggregate.ok());
  EXPECT_THAT(aggregate->delta, ElementsAre(-1, -1, 0));  // 1:2, 1:2, 1:1
}

std::unique_ptr<ServerOptimizer> Make(const PluginConfig& config, int64_t clients = 3) {
  auto made = Registry<ServerOptimizer>::Get().Create(config, {.size = 2, .clients = clients});
  EXPECT_TRUE(made.ok()) << made.status();
  return *std::move(made);
}

Aggregate Votes(std::vector<ClientReport> reports) {
  Aggregate aggregate;
  aggregate.delta = {1, -1};
  aggregate.updates = static_cast<int64_t>(reports.size());
  aggregate.total_weight = static_cast<double>(reports.size());
  aggregate.reports = std::move(reports);
  return aggregate;
}

TEST(AliasServerTest, FindsItsStepFromWhatClientsTell) {
  const auto alias = Make({"alias", {}});
  std::vector<float> model = {0, 0};
  // distance 2, smoothness (6 + 10) / 2 = 8: a step of sqrt(2 / 8).
  ASSERT_TRUE(
      alias
          ->Step(
              Votes({{.client = {0, 1}, .train_loss = 1.5, .steps = 1, .numbers = {{"smoothness", {6}}}},
                     {.client = {1, 1}, .train_loss = 2.5, .steps = 1, .numbers = {{"smoothness", {10}}}}}),
              model)
          .ok());
  EXPECT_THAT(model, ElementsAre(0.5F, -0.5F));
  // Rounds without a measurement keep it; one with 24 more quarters its square.
  ASSERT_TRUE(
      alias->Step(Votes({{.client = {0, 1}, .train_loss = 9, .steps = 1, .numbers = {}}}), model).ok());
  EXPECT_THAT(model, ElementsAre(1, -1));
  ASSERT_TRUE(
      alias
          ->Step(Votes({{.client = {0, 1}, .train_loss = 9, .steps = 1, .numbers = {{"smoothness", {24}}}}}),
                 model)
          .ok());
  EXPECT_THAT(model, ElementsAre(1.25F, -1.25F));
  EXPECT_THAT(alias->Report().at("step_size"), ElementsAre(0.25));
}

TEST(AliasServerTest, LeavesOutWhatIsNoEstimate) {
  const auto alias = Make({"alias", {}});
  std::vector<float> model = {0, 0};
  const double nan = std::numeric_limits<double>::quiet_NaN();
  std::vector<ClientReport> reports = {
      {.client = {0, 1}, .train_loss = 2, .steps = 1, .numbers = {{"smoothness", {8}}}}};
  for (const std::vector<double>& wrong : {std::vector<double>{nan}, {HUGE_VAL}, {-1}, {}, {1, 2}}) {
    reports.push_back({.client = {1, 1}, .train_loss = nan, .steps = 1, .numbers = {{"smoothness", wrong}}});
  }
  ASSERT_TRUE(alias->Step(Votes(reports), model).ok());
  EXPECT_THAT(model, ElementsAre(0.5F, -0.5F));
}

TEST(AlsoServerTest, WeighsClientsByTheirLosses) {
  const auto also = Make({"also",
                          {{"groups", std::string("client")},
                           {"prior", std::string("uniform")},
                           {"mode", std::string("descent_ascent")},
                           {"pi_learning_rate", 0.1},
                           {"pi_decay", 0.0},
                           {"epsilon", 1e-12}}});
  const std::vector<ClientInfo> cohort = {{0, 5}, {2, 5}};
  EXPECT_THAT(*also->Weights(cohort), Each(::testing::DoubleEq(1.0 / 3)));
  Aggregate aggregate;
  aggregate.delta = {3, 6};
  aggregate.updates = 2;
  aggregate.total_weight = 2.0 / 3;
  EXPECT_THAT(also->Statistics(), ElementsAre("local_loss"));
  // The loss at the model that was sent counts; of a client that does not tell it, the loss while training.
  aggregate.reports = {{.client = {0, 5}, .train_loss = 7, .steps = 1, .numbers = {{"local_loss", {1}}}},
                       {.client = {2, 5}, .train_loss = 3, .steps = 1, .numbers = {}}};
  std::vector<float> model = {0, 0};
  ASSERT_TRUE(also->Step(aggregate, model).ok());
  EXPECT_THAT(model, ElementsAre(3, 6));  // 3 / 2 * 2 / 3 times the mean
  // Gains 3/2 * {1, 0, 3}: weights proportional to exp(0.15), 1, exp(0.45).
  const std::vector<double> pi = also->Report().at("group_weights");
  EXPECT_NEAR(pi[0] / pi[1], std::exp(0.15), 1e-9);
  EXPECT_NEAR(pi[2] / pi[1], std::exp(0.45), 1e-9);
}

TEST(AlsoServerTest, SendsTheWeightsOfClassesToTheClients) {
  const auto also =
      Make({"also", {{"pi_learning_rate", 0.1}, {"pi_decay", 0.0}, {"mode", std::string("descent_ascent")}}});
  EXPECT_TRUE(also->Broadcast().empty());
  const Numbers honest = {{"group_loss", {10, 30}}, {"group_samples", {29, 9}}};
  std::vector<ClientReport> reports = {{.client = {0, 5}, .train_loss = 1, .steps = 1, .numbers = honest}};
  for (const Numbers& wrong : {Numbers{{"group_loss", {1}}, {"group_samples", {1, 2}}},
                               Numbers{{"group_loss", {1, -1}}, {"group_samples", {1, 2}}},
                               Numbers{{"group_loss", {1, 1, 1}}, {"group_samples", {1, 2, 3}}},
                               Numbers{{"group_loss", {HUGE_VAL, 1}}, {"group_samples", {1, 2}}}}) {
    reports.push_back({.client = {1, 5}, .train_loss = 1, .steps = 1, .numbers = wrong});
  }
  std::vector<float> model = {0, 0};
  ASSERT_TRUE(also->Step(Votes(reports), model).ok());
  // Prior 1/30 : 1/10; gains 2/38 {10, 30}.
  const std::vector<float> sent = also->Broadcast().at("group_weights");
  EXPECT_NEAR(sent[1] / sent[0], 3 * std::exp(0.1 * 2 / 38 * 20), 1e-4);
  const auto resumed =
      Make({"also", {{"pi_learning_rate", 0.1}, {"pi_decay", 0.0}, {"mode", std::string("descent_ascent")}}});
  ASSERT_TRUE(resumed->Load(also->Save()).ok());
  EXPECT_EQ(resumed->Broadcast(), also->Broadcast());
  EXPECT_EQ(resumed->Save(), also->Save());
}

TEST(AlsoServerTest, RefusesAPriorThatDoesNotFit) {
  const auto error = [](const OptionMap& options) {
    return Message(
        Registry<ServerOptimizer>::Get().Create({"also", options}, {.size = 2, .clients = 3}).status());
  };
  EXPECT_THAT(error({{"groups", std::string("client")}}), HasSubstr("prior"));
  EXPECT_THAT(error({{"prior", std::string("given")}}), HasSubstr("weights"));
  EXPECT_THAT(error({{"groups", std::string("client")},
                     {"prior", std::string("given")},
                     {"weights", std::vector<double>{1, 2}}}),
              HasSubstr("2 given for 3 clients"));
}

}  // namespace
}  // namespace muster
