// Where the methods end on quadratics whose fixed points are known in closed form: FedAvg's drift, and what
// each method makes of it.
#include <cmath>

#include "gmock/gmock.h"
#include "tests/methods/quadratics.h"

namespace muster {
namespace {

using test::Quadratic;
using test::QuadraticFederation;

double EndOf(QuadraticFederation& federation, int64_t rounds) {
  const std::vector<float> model = federation.Run(rounds);
  EXPECT_TRUE(federation.status.ok()) << federation.status;
  return model.empty() ? NAN : model[0];
}

// Clients that differ in how curved and where they are, with as many steps each. The optimum of the sum is
// 100 / 11; many steps pull FedAvg towards the mean of the centres.
const std::vector<Quadratic> kCurved = {{.curvature = 1, .centre = 0, .steps = 20},
                                        {.curvature = 10, .centre = 10, .steps = 20}};
constexpr double kCurvedOptimum = 100.0 / 11;

// The point that x = x + mean_i Delta_i(x) leaves alone, Delta_i(x) = moved_i (centre_i - x).
double FixedPoint(const std::vector<Quadratic>& clients, const std::vector<double>& moved) {
  double sum = 0, weight = 0;
  for (size_t k = 0; k < clients.size(); ++k) {
    sum += moved[k] * clients[k].centre;
    weight += moved[k];
  }
  return sum / weight;
}

TEST(FixedPointsTest, FedAvgDriftsOffTheOptimum) {
  QuadraticFederation federation({"none", {}}, kCurved);
  const double expected =
      FixedPoint(kCurved, {1 - std::pow(1 - 0.05 * 1, 20), 1 - std::pow(1 - 0.05 * 10, 20)});
  EXPECT_NEAR(expected, 6.09, 0.005);
  EXPECT_NEAR(EndOf(federation, 300), expected, 1e-5);
}

TEST(FixedPointsTest, ScaffoldEndsAtTheOptimum) {
  QuadraticFederation federation({"scaffold", {}}, kCurved);
  EXPECT_NEAR(EndOf(federation, 600), kCurvedOptimum, 1e-5);
}

TEST(FixedPointsTest, ScaffoldsControlsAreTheClientsGradientsAtTheOptimum) {
  QuadraticFederation federation({"scaffold", {}}, kCurved);
  EndOf(federation, 600);
  EXPECT_NEAR(federation.pool->memories[0].vectors.at("control")[0], 1 * (kCurvedOptimum - 0), 1e-4);
  EXPECT_NEAR(federation.pool->memories[1].vectors.at("control")[0], 10 * (kCurvedOptimum - 10), 1e-4);
}

// Two rounds by hand, option II as the paper writes it, with another number of steps for each client.
TEST(FixedPointsTest, ScaffoldFollowsOptionTwoStepByStep) {
  const std::vector<Quadratic> clients = {{.curvature = 1, .centre = 0, .steps = 3},
                                          {.curvature = 4, .centre = 10, .steps = 5}};
  const double rate = 0.05;
  double x = 0, c = 0;
  std::vector<double> own(2);
  for (int round = 0; round < 2; ++round) {
    double moved = 0, changed = 0;
    for (size_t k = 0; k < 2; ++k) {
      double y = x;
      for (int step = 0; step < clients[k].steps; ++step) {
        y -= rate * (clients[k].curvature * (y - clients[k].centre) - own[k] + c);
      }
      const double next = own[k] - c + (x - y) / (static_cast<double>(clients[k].steps) * rate);
      moved += (y - x) / 2;
      changed += (next - own[k]) / 2;
      own[k] = next;
    }
    x += moved;
    c += changed;
  }
  QuadraticFederation federation({"scaffold", {}}, clients);
  EXPECT_NEAR(EndOf(federation, 2), x, 1e-5);
  EXPECT_NEAR(federation.pool->memories[0].vectors.at("control")[0], own[0], 1e-5);
  EXPECT_NEAR(federation.pool->memories[1].vectors.at("control")[0], own[1], 1e-5);
}

TEST(FixedPointsTest, ScaffoldWithHalfOfTheClientsEndsAtTheOptimum) {
  const std::vector<Quadratic> clients = {{.curvature = 1, .centre = 0, .steps = 10},
                                          {.curvature = 10, .centre = 10, .steps = 10},
                                          {.curvature = 3, .centre = -5, .steps = 10},
                                          {.curvature = 6, .centre = 2, .steps = 10}};
  QuadraticFederation federation({"scaffold", {}}, clients);
  federation.policy.clients = 2;
  EXPECT_NEAR(EndOf(federation, 3000), (1 * 0 + 10 * 10 - 3 * 5 + 6 * 2) / 20.0, 1e-4);
}

TEST(FixedPointsTest, FedDynEndsAtTheOptimum) {
  std::vector<Quadratic> clients = kCurved;
  for (Quadratic& client : clients) client.steps = 400;  // nearly the exact minimum of the local problem
  QuadraticFederation averaged({"none", {}}, clients);
  EXPECT_NEAR(EndOf(averaged, 50), 5, 1e-4);  // the mean of the centres
  QuadraticFederation federation({"feddyn", {{"alpha", 1.0}}}, clients);
  EXPECT_NEAR(EndOf(federation, 300), kCurvedOptimum, 1e-5);
}

// Rounds of exact local solutions: y = (a m + g + alpha x) / (a + alpha). Without a cap and with one.
TEST(FixedPointsTest, FedDynsFirstRoundsAreThoseOfThePaper) {
  const double alpha = 2;
  std::vector<Quadratic> clients = kCurved;
  for (Quadratic& client : clients) client.steps = 400;
  for (const double cap : {0.0, 0.85}) {
    std::vector<double> g(2);
    double x = 0, h = 0;
    for (int round = 0; round < 3; ++round) {
      double mean = 0;
      for (size_t k = 0; k < 2; ++k) {
        const auto& [curvature, centre, steps, samples] = clients[k];
        const double y = (curvature * centre + g[k] + alpha * x) / (curvature + alpha);
        g[k] -= alpha * (y - x);
        mean += y / 2;
      }
      h -= alpha * (mean - x);  // alpha / N times the sum over both
      const double share = cap == 0 ? 1 : std::min(1.0, cap * std::fabs(mean - x) / std::fabs(h / alpha));
      x = mean - share * h / alpha;
    }
    QuadraticFederation federation({"feddyn", {{"alpha", alpha}, {"drift_cap", cap}}}, clients);
    EXPECT_NEAR(EndOf(federation, 3), x, 1e-4);
    EXPECT_NEAR(federation.pool->memories[0].vectors.at("gradient")[0], g[0], 1e-4);
    EXPECT_NEAR(federation.pool->memories[1].vectors.at("gradient")[0], g[1], 1e-4);
  }
}

TEST(FixedPointsTest, FedDynWithHalfOfTheClientsEndsAtTheOptimum) {
  const std::vector<Quadratic> clients = {{.curvature = 1, .centre = 0, .steps = 400},
                                          {.curvature = 10, .centre = 10, .steps = 400},
                                          {.curvature = 3, .centre = -5, .steps = 400},
                                          {.curvature = 6, .centre = 2, .steps = 400}};
  QuadraticFederation federation({"feddyn", {{"alpha", 5.0}}}, clients);
  federation.policy.clients = 2;
  EXPECT_NEAR(EndOf(federation, 2000), (1 * 0 + 10 * 10 - 3 * 5 + 6 * 2) / 20.0, 1e-3);
}

// With exact local solutions a client moves by a / (a + mu) of its way: FedAvg is in the middle of the
// centres, a strong pull ends near the optimum.
TEST(FixedPointsTest, FedProxsPullDecidesHowFarOffItEnds) {
  std::vector<Quadratic> clients = kCurved;
  for (Quadratic& client : clients) client.steps = 400;
  for (const double mu : {0.0, 1.0, 10.0}) {
    QuadraticFederation federation({"fedprox", {{"mu", mu}}}, clients);
    const double expected = FixedPoint(clients, {1 / (1 + mu), 10 / (10 + mu)});
    EXPECT_NEAR(EndOf(federation, 300), expected, 1e-4) << mu;
  }
  EXPECT_NEAR(FixedPoint(clients, {1 / (1 + 10.0), 10 / (10 + 10.0)}), 8.4615, 1e-4);
}

// Clients with as much curvature and unequally many steps. The optimum is 5.
const std::vector<Quadratic> kUneven = {{.curvature = 1, .centre = 0, .steps = 1},
                                        {.curvature = 1, .centre = 10, .steps = 10}};

TEST(FixedPointsTest, FedNovaCountsStepsAndNotClientsWithMany) {
  const double ten = 1 - std::pow(1 - 0.01, 10);
  QuadraticFederation averaged({"none", {}}, kUneven);
  averaged.pool->rate = 0.01;
  EXPECT_NEAR(EndOf(averaged, 2000), FixedPoint(kUneven, {0.01, ten}), 1e-4);
  EXPECT_NEAR(FixedPoint(kUneven, {0.01, ten}), 9.05, 0.005);

  QuadraticFederation federation({"fednova", {}}, kUneven);
  federation.pool->rate = 0.01;
  EXPECT_NEAR(EndOf(federation, 2000), FixedPoint(kUneven, {0.01, ten / 10}), 1e-4);
  EXPECT_NEAR(FixedPoint(kUneven, {0.01, ten / 10}), 4.89, 0.005);
}

TEST(FixedPointsTest, FedNovasBiasGoesWithTheLearningRate) {
  double last = 10;
  for (const double rate : {0.1, 0.01, 0.001}) {
    QuadraticFederation federation({"fednova", {}}, kUneven);
    federation.pool->rate = rate;
    const double bias = std::abs(EndOf(federation, 10000) - 5);
    EXPECT_LT(bias, last / 5) << rate;
    last = bias;
  }
}

// tau_eff = (1 + 10) / 2 steps of the mean direction.
TEST(FixedPointsTest, FedNovasRoundIsTheEffectiveNumberOfMeanSteps) {
  QuadraticFederation federation({"fednova", {}}, kUneven);
  federation.pool->rate = 0.01;
  const double ten = 10 * (1 - std::pow(1 - 0.01, 10));
  EXPECT_NEAR(EndOf(federation, 1), 5.5 * (0 / 1.0 + ten / 10) / 2, 1e-5);
  EXPECT_THAT(federation.recorder.records.at(0).numbers.at("effective_steps"), testing::ElementsAre(5.5));
}

TEST(FixedPointsTest, FedNovaWeighsStepsAsTheAggregatorWeighsUpdates) {
  std::vector<Quadratic> clients = kUneven;
  clients[0].samples = 3;
  QuadraticFederation federation({"fednova", {}}, clients);
  federation.options.aggregator = {.name = "fedavg", .options = {}};
  federation.pool->rate = 0.01;
  EndOf(federation, 1);
  EXPECT_THAT(federation.recorder.records.at(0).numbers.at("effective_steps"),
              testing::ElementsAre(0.75 * 1 + 0.25 * 10));
}

TEST(FixedPointsTest, FedNovaWithEquallyManyStepsIsFedAvg) {
  QuadraticFederation averaged({"none", {}}, kCurved), federation({"fednova", {}}, kCurved);
  EXPECT_NEAR(EndOf(federation, 7), EndOf(averaged, 7), 1e-5);
}

double NormalizerOf(const PluginConfig& config, const OptionMap& sgd, int64_t steps, double factor = 1) {
  const Layout layout = QuadraticFederation::OneElement();
  const auto method = test::MakeMethod(config, layout, {"sgd", sgd});
  const std::vector<float> start = {0};
  const auto local = *method->Start({.model = start, .vectors = {}, .learning_rate_factor = factor}, State());
  std::vector<float> delta = {1};
  std::map<std::string, std::vector<float>> extras;
  std::map<std::string, std::vector<double>> numbers;
  LocalMethod::Work work{steps, steps, delta, extras, numbers};
  State memory;
  EXPECT_TRUE(local->Finish(work, memory).ok());
  const double normalizer = numbers.at("method/normalizer").at(0);
  EXPECT_FLOAT_EQ(delta[0], static_cast<float>(1 / normalizer));
  return normalizer;
}

TEST(FedNovaTest, NormalizersAreThoseOfThePapersTable) {
  EXPECT_DOUBLE_EQ(NormalizerOf({"fednova", {}}, {{"learning_rate", 0.1}}, 7), 7);
  const double rho = 0.9;
  EXPECT_NEAR(NormalizerOf({"fednova", {}}, {{"momentum", rho}}, 7),
              (7 - rho * (1 - std::pow(rho, 7)) / (1 - rho)) / (1 - rho), 1e-9);
  const double pull = 0.1 * 0.5 * 0.3;  // learning rate, schedule's factor, mu
  EXPECT_NEAR(NormalizerOf({"fednova", {{"mu", 0.3}}}, {{"learning_rate", 0.1}}, 7, 0.5),
              (1 - std::pow(1 - pull, 7)) / pull, 1e-9);
}

// Nesterov, 2 steps: g + rho g, then g + rho (rho g + g); dampening 0.5: g, then rho g + g / 2.
TEST(FedNovaTest, NormalizersFollowTheLocalRule) {
  EXPECT_DOUBLE_EQ(NormalizerOf({"fednova", {}}, {{"momentum", 0.5}, {"nesterov", true}}, 2),
                   1 + 0.5 + 1 + 0.5 * 1.5);
  EXPECT_DOUBLE_EQ(NormalizerOf({"fednova", {}}, {{"momentum", 0.5}, {"dampening", 0.5}}, 2), 1 + 0.5 + 0.5);
}

TEST(FedNovaTest, APullThatOvershootsIsRefused) {
  const Layout layout = QuadraticFederation::OneElement();
  const auto made = Registry<Method>::Get().Create(
      {"fednova", {{"mu", 20.0}}}, {.layout = &layout, .optimizer = {"sgd", {{"learning_rate", 0.1}}}});
  EXPECT_THAT(Message(made.status()), testing::StartsWith("mu: "));
}

TEST(FixedPointsTest, FedNovaUndoesMomentumsHeadStart) {
  QuadraticFederation federation({"fednova", {}}, kUneven, {"sgd", {{"momentum", 0.9}}});
  federation.pool->rate = 0.001;
  federation.pool->momentum = 0.9;
  EXPECT_NEAR(EndOf(federation, 6000), 5, 0.1);
}

}  // namespace
}  // namespace muster
