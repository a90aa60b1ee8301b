#include <cmath>
#include <functional>

#include "core/random.h"
#include "gmock/gmock.h"
#include "server/optimization/server_optimizer.h"
#include "tests/server/plugin_options.h"

namespace muster {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::StartsWith;

constexpr int64_t kSize = 37;

std::unique_ptr<ServerOptimizer> Make(const PluginConfig& config, int64_t size = kSize) {
  auto made = Registry<ServerOptimizer>::Get().Create(config, {.size = size});
  EXPECT_TRUE(made.ok()) << made.status();
  return *std::move(made);
}

std::vector<float> Normals(uint64_t step, double scale = 1) {
  Random random({.seed = 11, .purpose = Purpose::kTest, .round = step});
  std::vector<float> values;
  for (int64_t i = 0; i < kSize; ++i) values.push_back(static_cast<float>(scale * random.Normal()));
  return values;
}

Aggregate Mean(std::vector<float> delta) {
  Aggregate aggregate;
  aggregate.delta = std::move(delta);
  return aggregate;
}

void Steps(ServerOptimizer& optimizer, std::vector<float>& model, uint64_t first, uint64_t count) {
  for (uint64_t step = first; step < first + count; ++step) {
    ASSERT_TRUE(optimizer.Step(Mean(Normals(step, 0.1)), model).ok());
  }
}

// Options that switch on everything a plug-in may remember.
OptionMap RichOptions(const std::string& name) {
  if (name == "sgd") return {{"momentum", 0.9}, {"nesterov", true}};
  if (name == "adam" || name == "yogi") return {{"bias_correction", true}};
  return {};
}

class EveryServerOptimizer : public testing::TestWithParam<std::tuple<std::string, bool>> {
 protected:
  const std::string name_ = std::get<0>(GetParam());
  const PluginConfig config_{name_, std::get<1>(GetParam()) ? RichOptions(name_) : OptionMap()};
  const std::unique_ptr<ServerOptimizer> optimizer_ = Make(config_);
};

TEST_P(EveryServerOptimizer, SavedAndLoadedGoesOnWithTheSameBits) {
  std::vector<float> model = Normals(1000);
  Steps(*optimizer_, model, 0, 7);
  const auto resumed = Make(config_);
  ASSERT_TRUE(resumed->Load(optimizer_->Save()).ok());
  std::vector<float> resumed_model = model;
  Steps(*optimizer_, model, 7, 7);
  Steps(*resumed, resumed_model, 7, 7);
  EXPECT_EQ(resumed_model, model);
  EXPECT_EQ(resumed->Save(), optimizer_->Save());
}

TEST_P(EveryServerOptimizer, StateIsVectorsOfTheModelsSize) {
  const State state = optimizer_->Save();
  for (const auto& [name, values] : state.vectors) EXPECT_EQ(values.size(), kSize) << name;
}

TEST_P(EveryServerOptimizer, ACloneHasItsOwnState) {
  std::vector<float> model = Normals(1000);
  Steps(*optimizer_, model, 0, 5);
  const State before = optimizer_->Save();
  const auto clone = optimizer_->Clone();
  std::vector<float> clone_model = model;
  Steps(*clone, clone_model, 5, 5);
  EXPECT_EQ(optimizer_->Save(), before);
  Steps(*optimizer_, model, 5, 5);
  EXPECT_EQ(clone_model, model);
}

TEST_P(EveryServerOptimizer, MovesTheWayTheClientsWent) {
  std::vector<float> model(kSize, 0.0f);
  const std::vector<float> delta = Normals(3);
  ASSERT_TRUE(optimizer_->Step(Mean(delta), model).ok());
  for (size_t i = 0; i < model.size(); ++i) EXPECT_GT(model[i] * delta[i], 0);
}

TEST_P(EveryServerOptimizer, AnUpdateOfZerosLeavesAFreshModel) {
  std::vector<float> model = Normals(1000);
  const std::vector<float> before = model;
  ASSERT_TRUE(optimizer_->Step(Mean(std::vector<float>(kSize, 0.0f)), model).ok());
  EXPECT_EQ(model, before);
}

TEST_P(EveryServerOptimizer, RefusesStateThatIsNotItsOwn) {
  std::vector<float> model = Normals(1000);
  Steps(*optimizer_, model, 0, 3);
  const State before = optimizer_->Save();

  State foreign = before;
  foreign.vectors["alien"] = std::vector<float>(kSize);
  EXPECT_THAT(Message(optimizer_->Load(foreign)), HasSubstr("'alien'"));
  for (const auto& [name, values] : before.vectors) {
    State lacking = before;
    lacking.vectors.erase(name);
    EXPECT_THAT(Message(optimizer_->Load(lacking)), HasSubstr("'" + name + "'"));
    State shorter = before;
    shorter.vectors[name].pop_back();
    EXPECT_THAT(Message(optimizer_->Load(shorter)), HasSubstr("'" + name + "'"));
  }
  EXPECT_EQ(optimizer_->Save(), before);
}

TEST_P(EveryServerOptimizer, RefusesVectorsOfAnotherSize) {
  std::vector<float> model = Normals(1000);
  const std::vector<float> before = model;
  EXPECT_FALSE(optimizer_->Step(Mean(std::vector<float>(kSize - 1)), model).ok());
  EXPECT_EQ(model, before);
}

TEST_P(EveryServerOptimizer, ChecksItsOptions) {
  ExpectOptionsAreChecked<ServerOptimizer>(name_, {.size = kSize});
}

INSTANTIATE_TEST_SUITE_P(All, EveryServerOptimizer,
                         testing::Combine(testing::ValuesIn(Registry<ServerOptimizer>::Get().Names()),
                                          testing::Bool()),
                         [](const auto& info) {
                           return std::get<0>(info.param) + (std::get<1>(info.param) ? "_rich" : "_plain");
                         });

// The rules once more, in double throughout, straight from the papers.
struct Reference {
  double m = 0, v = 0, largest = 0;
  int t = 0;
};
using Rule = std::function<double(Reference&, double delta)>;  // returns what the model moves by

struct ReferenceCase {
  std::string label;
  PluginConfig config;
  Rule rule;
};

constexpr double kTau = 1e-3;

Rule Adaptive(double rate, double beta1, double beta2, bool correct,
              double (*second)(double, double, double)) {
  return [=](Reference& r, double d) {
    if (r.t++ == 0) r.v = kTau * kTau;
    r.m = beta1 * r.m + (1 - beta1) * d;
    r.v = second(r.v, d * d, beta2);
    const double m = correct ? r.m / (1 - std::pow(beta1, r.t)) : r.m;
    const double v = correct ? r.v / (1 - std::pow(beta2, r.t)) : r.v;
    return rate * m / (std::sqrt(v) + kTau);
  };
}
double AdagradMoment(double v, double d2, double) { return v + d2; }
double AdamMoment(double v, double d2, double b) { return b * v + (1 - b) * d2; }
double YogiMoment(double v, double d2, double b) { return v - (1 - b) * d2 * ((v > d2) - (v < d2)); }

std::vector<ReferenceCase> ReferenceCases() {
  return {
      {"sgd", {"sgd", {{"learning_rate", 0.5}}}, [](Reference&, double d) { return 0.5 * d; }},
      {"sgd_momentum",
       {"sgd", {{"learning_rate", 0.5}, {"momentum", 0.9}}},
       [](Reference& r, double d) { return 0.5 * (r.m = 0.9 * r.m + d); }},
      {"sgd_nesterov",
       {"sgd", {{"learning_rate", 0.5}, {"momentum", 0.9}, {"nesterov", true}}},
       [](Reference& r, double d) { return 0.5 * (d + 0.9 * (r.m = 0.9 * r.m + d)); }},
      {"adagrad", {"adagrad", {}}, Adaptive(0.01, 0, 0, false, AdagradMoment)},
      {"adagrad_beta1", {"adagrad", {{"beta1", 0.9}}}, Adaptive(0.01, 0.9, 0, false, AdagradMoment)},
      {"adam", {"adam", {}}, Adaptive(0.01, 0.9, 0.99, false, AdamMoment)},
      {"adam_corrected", {"adam", {{"bias_correction", true}}}, Adaptive(0.01, 0.9, 0.99, true, AdamMoment)},
      {"yogi", {"yogi", {}}, Adaptive(0.01, 0.9, 0.99, false, YogiMoment)},
      {"amsgrad",
       {"amsgrad", {{"beta2", 0.5}}},
       [](Reference& r, double d) {
         if (r.t++ == 0) r.v = r.largest = kTau * kTau;
         r.m = 0.9 * r.m + 0.1 * d;
         r.v = 0.5 * r.v + 0.5 * d * d;
         r.largest = std::max(r.largest, r.v);
         return 0.01 * r.m / (std::sqrt(r.largest) + kTau);
       }},
      {"yogi_corrected", {"yogi", {{"bias_correction", true}}}, Adaptive(0.01, 0.9, 0.99, true, YogiMoment)},
  };
}

class AgainstReference : public testing::TestWithParam<ReferenceCase> {};

TEST_P(AgainstReference, FollowsThePaperOverFiftySteps) {
  const auto optimizer = Make(GetParam().config);
  std::vector<float> model = Normals(1000);
  std::vector<double> expected(model.begin(), model.end());
  std::vector<Reference> references(kSize);
  for (uint64_t step = 0; step < 50; ++step) {
    const std::vector<float> delta = Normals(step, 0.1);
    ASSERT_TRUE(optimizer->Step(Mean(delta), model).ok());
    for (size_t i = 0; i < expected.size(); ++i) expected[i] += GetParam().rule(references[i], delta[i]);
  }
  // 50 roundings of float32 values up to about 8.
  for (size_t i = 0; i < expected.size(); ++i) EXPECT_NEAR(model[i], expected[i], 50 * 0x1.0p-22) << i;
}

INSTANTIATE_TEST_SUITE_P(Rules, AgainstReference, testing::ValuesIn(ReferenceCases()),
                         [](const auto& info) { return info.param.label; });

TEST(SgdServerOptimizerTest, ByDefaultTheModelBecomesTheClientsMean) {
  const auto sgd = Make({"sgd", {}}, 3);
  std::vector<float> model = {1, -2, 0.1f};
  ASSERT_TRUE(sgd->Step(Mean(std::vector<float>{0.5f, 2, 0.2f}), model).ok());
  EXPECT_THAT(model, ElementsAre(1.5f, 0.0f, 0.1f + 0.2f));
}

// Two steps by hand: delta 2, then 1; tau 0.5, learning rate 1, beta1 0.5, beta2 0.75.
std::vector<float> AfterTwoSteps(const std::string& name, OptionMap options) {
  for (const auto& [option, value] : OptionMap{{"learning_rate", 1.0}, {"beta1", 0.5}, {"tau", 0.5}}) {
    options[option] = value;
  }
  const auto optimizer = Make({name, options}, 1);
  std::vector<float> model = {0}, path;
  for (const float delta : {2.0F, 1.0F}) {
    EXPECT_TRUE(optimizer->Step(Mean({delta}), model).ok());
    path.push_back(model[0]);
  }
  return path;
}

TEST(AdaptiveServerOptimizerTest, TwoStepsByHand) {
  using ::testing::FloatEq;
  // m = 0.5 * 0 + 0.5 * 2 = 1, then 0.5 * 1 + 0.5 * 1 = 1; v starts at 0.25.
  // Adam: v = 0.75 * 0.25 + 0.25 * 4 = 1.1875, then 0.75 * 1.1875 + 0.25 * 1 = 1.140625.
  const float adam = 1 / (std::sqrt(1.1875F) + 0.5F);
  EXPECT_THAT(AfterTwoSteps("adam", {{"beta2", 0.75}}),
              ElementsAre(FloatEq(adam), FloatEq(adam + 1 / (std::sqrt(1.140625F) + 0.5F))));
  // AMSGrad: the second moment has fallen, the larger first one still counts.
  EXPECT_THAT(AfterTwoSteps("amsgrad", {{"beta2", 0.75}}), ElementsAre(FloatEq(adam), FloatEq(2 * adam)));
  // Yogi: v = 0.25 + 0.25 * 4 = 1.25, then, v > delta^2, 1.25 - 0.25 * 1 = 1.
  const float yogi = 1 / (std::sqrt(1.25F) + 0.5F);
  EXPECT_THAT(AfterTwoSteps("yogi", {{"beta2", 0.75}}),
              ElementsAre(FloatEq(yogi), FloatEq(yogi + 1 / (1 + 0.5F))));
  // Adagrad: v = 0.25 + 4 = 4.25, then 5.25.
  const float adagrad = 1 / (std::sqrt(4.25F) + 0.5F);
  EXPECT_THAT(AfterTwoSteps("adagrad", {}),
              ElementsAre(FloatEq(adagrad), FloatEq(adagrad + 1 / (std::sqrt(5.25F) + 0.5F))));
}

// FedAvgM: m = 2, then 0.5 * 2 + 1 = 2; half of it each time. Nesterov: 2 + 0.5 * 2, then 1 + 0.5 * 2.
TEST(SgdServerOptimizerTest, MomentumByHand) {
  for (const bool nesterov : {false, true}) {
    const auto sgd = Make({"sgd", {{"learning_rate", 0.5}, {"momentum", 0.5}, {"nesterov", nesterov}}}, 1);
    std::vector<float> model = {0};
    ASSERT_TRUE(sgd->Step(Mean({2}), model).ok());
    EXPECT_EQ(model[0], nesterov ? 1.5F : 1.0F);
    ASSERT_TRUE(sgd->Step(Mean({1}), model).ok());
    EXPECT_EQ(model[0], nesterov ? 2.5F : 2.0F);
  }
}

TEST(SgdServerOptimizerTest, NesterovNeedsMomentum) {
  const auto made = Registry<ServerOptimizer>::Get().Create({"sgd", {{"nesterov", true}}}, {.size = 1});
  EXPECT_EQ(made.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(Message(made.status()), StartsWith("nesterov: "));
}

TEST(AdaptiveServerOptimizerTest, SecondMomentStartsAtTauSquared) {
  for (const std::string name : {"adagrad", "adam", "amsgrad", "yogi"}) {
    EXPECT_THAT(Make({name, {{"tau", 0.5}}}, 2)->Save().vectors.at("second_moment"),
                ElementsAre(0.25f, 0.25f))
        << name;
  }
}

TEST(AdaptiveServerOptimizerTest, RefusesACountOfStepsThatIsNone) {
  const auto adam = Make({"adam", {{"bias_correction", true}}}, 2);
  State state = adam->Save();
  state.numbers["steps"] = NAN;
  EXPECT_THAT(Message(adam->Load(state)), HasSubstr("'steps'"));
  state.numbers.erase("steps");
  EXPECT_THAT(Message(adam->Load(state)), HasSubstr("'steps'"));
}

}  // namespace
}  // namespace muster
