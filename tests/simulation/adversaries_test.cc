// Adversaries: hand-computed lies, who lies, and what every one of them owes to the rest of the program.
#include "simulation/adversaries.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <set>

#include "absl/strings/str_cat.h"
#include "core/config.h"
#include "server/rounds/events.h"
#include "simulation/collusion.h"
#include "simulation/simulated_federation.h"
#include "tests/server/plugin_options.h"

namespace muster {
namespace {

using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::SizeIs;

std::unique_ptr<Adversary> Make(const std::string& name, OptionMap options = {}) {
  options["fraction"] = 0.2;
  auto made = Registry<Adversary>::Get().Create({name, options}, {.num_classes = 4});
  EXPECT_TRUE(made.ok()) << made.status();
  return *std::move(made);
}

// What the adversary makes of an update, as client 3 of a cohort of 10 in round 2.
std::vector<float> Lie(const Adversary& adversary, std::vector<float> update, State& memory,
                       std::vector<float> model = {}, const Collusion* collusion = nullptr) {
  adversary.Falsify(
      {.seed = 1, .round = 2, .client = 3, .cohort = 10, .model = model, .collusion = collusion}, update,
      memory);
  return update;
}
std::vector<float> Lie(const Adversary& adversary, std::vector<float> update,
                       const Collusion* collusion = nullptr) {
  State memory;
  return Lie(adversary, std::move(update), memory, {}, collusion);
}

TEST(Adversary, SignsAreFlippedAndAmplified) {
  EXPECT_THAT(Lie(*Make("sign_flip"), {1, -2, 0.5}), ElementsAre(-1, 2, -0.5));
  EXPECT_THAT(Lie(*Make("sign_flip", {{"factor", 4.0}}), {1, -2}), ElementsAre(-4, 8));
}

TEST(Adversary, UpdatesAreScaled) {
  EXPECT_THAT(Lie(*Make("scale", {{"factor", 3.0}}), {1, -2}), ElementsAre(3, -6));
}

TEST(Adversary, LabelsAreMirrored) {
  const auto adversary = Make("flip_labels");
  EXPECT_THAT(adversary->Relabel(), ElementsAre(3, 2, 1, 0));
  EXPECT_THAT(Lie(*adversary, {1, 2}), ElementsAre(1, 2));
  const auto regression =
      Registry<Adversary>::Get().Create({"flip_labels", {{"fraction", 0.2}}}, {.num_classes = 0});
  EXPECT_THAT(Message(regression.status()), HasSubstr("no classes"));
}

TEST(Adversary, NoiseHasItsDeviationAndIsDrawnByRound) {
  const auto adversary = Make("noise", {{"deviation", 2.0}});
  const std::vector<float> first = Lie(*adversary, std::vector<float>(20'000, 7));
  double sum = 0, squares = 0;
  for (const float value : first) {
    sum += value;
    squares += static_cast<double>(value) * value;
  }
  EXPECT_NEAR(sum / 20'000, 0, 5 * 2 / std::sqrt(20'000.0));
  EXPECT_NEAR(squares / 20'000, 4, 5 * 4 * std::sqrt(2 / 20'000.0));
  EXPECT_EQ(Lie(*adversary, std::vector<float>(20'000, 0)), first);
  std::vector<float> later(20'000);
  State memory;
  adversary->Falsify({.seed = 1, .round = 3, .client = 3, .cohort = 10, .model = {}}, later, memory);
  EXPECT_NE(later, first);
}

TEST(Adversary, FreeRidersSendNothingOrWhatOthersDid) {
  State memory;
  EXPECT_THAT(Lie(*Make("free_ride"), {1, 2}, memory, {5, 6}), ElementsAre(0, 0));
  EXPECT_TRUE(memory.empty());
  const auto stale = Make("free_ride", {{"update", std::string("stale")}});
  EXPECT_THAT(Lie(*stale, {1, 2}, memory, {5, 6}), ElementsAre(0, 0));
  EXPECT_THAT(Lie(*stale, {1, 2}, memory, {7, 5}), ElementsAre(2, -1));
  EXPECT_THAT(Lie(*stale, {1, 2}, memory, {7, 5.5}), ElementsAre(0, 0.5));
}

TEST(Collusion, IsMeanAndDeviationByCoordinate) {
  CollusionBuilder builder(2);
  for (const std::vector<float>& update : {std::vector<float>{1, 5}, {3, 5}, {5, 5}, {7, 5}})
    builder.Add(update);
  const Collusion collusion = builder.Finish();
  EXPECT_EQ(collusion.members, 4);
  EXPECT_THAT(collusion.mean, ElementsAre(4, 5));
  EXPECT_THAT(collusion.deviation, ElementsAre(std::sqrt(5.0F), 0));
}

TEST(Adversary, ALittleIsEnough) {
  const Collusion collusion{.members = 4, .mean = {1, -1}, .deviation = {0.5, 2}};
  EXPECT_THAT(Lie(*Make("a_little_is_enough", {{"z", 1.5}}), {9, 9}, &collusion), ElementsAre(0.25, -4));
  // n = 10, f = 4: s = 6 - 4 = 2 supporters of 6 honest ones; P(X < z) = 4 / 6, z = 0.430727.
  const std::vector<float> lie = Lie(*Make("a_little_is_enough"), {9, 9}, &collusion);
  EXPECT_NEAR(lie[0], 1 - 0.430727 * 0.5, 1e-5);
  EXPECT_NEAR(lie[1], -1 - 0.430727 * 2, 1e-5);
  // n = 10, f = 1: five supporters are more than half of the nine honest ones; nothing can be hidden.
  const Collusion alone{.members = 1, .mean = {1, -1}, .deviation = {0.5, 2}};
  EXPECT_THAT(Lie(*Make("a_little_is_enough"), {9, 9}, &alone), ElementsAre(1, -1));
}

TEST(Adversary, InnerProductManipulation) {
  const Collusion collusion{.members = 2, .mean = {1, -4}, .deviation = {0.5, 2}};
  EXPECT_THAT(Lie(*Make("inner_product", {{"epsilon", 0.25}}), {9, 9}, &collusion), ElementsAre(-0.25, 1));
}

TEST(Adversary, ArrivalsAreDrawnByRoundAndClient) {
  const auto drops = Make("drop_out", {{"probability", 0.3}});
  const auto late = Make("late", {{"seconds", 7.0}, {"probability", 0.25}});
  int vanished = 0, delayed = 0;
  for (int64_t round = 0; round < 100; ++round) {
    for (int64_t client = 0; client < 100; ++client) {
      vanished += drops->Arrive(1, round, client).vanishes ? 1 : 0;
      const Arrival arrival = late->Arrive(1, round, client);
      EXPECT_FALSE(arrival.vanishes);
      EXPECT_TRUE(arrival.seconds == 0 || arrival.seconds == 7);
      delayed += arrival.seconds > 0 ? 1 : 0;
    }
  }
  EXPECT_NEAR(vanished, 3000, 5 * std::sqrt(2100));
  EXPECT_NEAR(delayed, 2500, 5 * std::sqrt(1875));
  EXPECT_TRUE(Make("drop_out", {{"probability", 1.0}})->Arrive(1, 0, 0).vanishes);
  EXPECT_FALSE(Make("drop_out", {{"probability", 0.0}})->Arrive(1, 0, 0).vanishes);
}

// --- In a federation ---

v1::Experiment Config(const std::string& adversaries, const std::vector<std::string>& more = {}) {
  std::vector<std::string> overrides = more;
  overrides.push_back(absl::StrCat("simulation.adversaries=", adversaries));
  v1::Experiment config;
  const absl::Status status = LoadConfig(
      "data: {dataset: {name: rings, samples: 400}, clients: 10}\nmodel: {name: mlp, hidden: [4]}\n"
      "federation: {rounds: 4, participation: {name: fixed, clients: 6}}\n",
      "test", ".", overrides, config);
  EXPECT_TRUE(status.ok()) << status;
  return config;
}

// Keeps the records of a run, and ends it after `rounds` of them.
class Recorder final : public RoundListener {
 public:
  explicit Recorder(SimulatedFederation& federation, int64_t rounds = 1'000'000)
      : federation_(federation), rounds_(rounds) {}
  void On(const Event& event) override {
    if (const auto* committed = std::get_if<RoundCommitted>(&event)) {
      records.push_back(committed->record);
      if (committed->record.round + 1 >= rounds_) federation_.RequestStop();
    }
  }
  std::vector<RoundRecord> records;

 private:
  SimulatedFederation& federation_;
  const int64_t rounds_;
};

struct Outcomes {
  std::vector<float> model;
  std::vector<RoundRecord> records;
};

Outcomes RunAll(const v1::Experiment& config, int workers = 2) {
  auto federation = SimulatedFederation::Create(config, workers);
  EXPECT_TRUE(federation.ok()) << federation.status();
  Recorder recorder(**federation);
  auto model = (*federation)->Run(nullptr, "", {&recorder});
  EXPECT_TRUE(model.ok()) << model.status();
  return {model.ok() ? *std::move(model) : std::vector<float>(), recorder.records};
}

std::vector<std::string> Stages(const std::vector<RoundRecord>& records) {
  std::vector<std::string> stages;
  for (const RoundRecord& record : records) {
    for (const ClientFailure& failure : record.failures) stages.push_back(failure.stage);
  }
  return stages;
}

std::set<int64_t> Of(const Adversaries& adversaries, size_t group) {
  const auto& clients = adversaries.groups()[group].clients;
  return {clients.begin(), clients.end()};
}

TEST(Adversaries, TakeDisjointFractionsByTheSeedAlone) {
  const v1::Experiment config = Config("[{name: scale, fraction: 0.2}, {name: noise, fraction: 0.31}]");
  const auto made = Adversaries::Create(config.simulation(), 100, 2, 7);
  ASSERT_TRUE(made.ok()) << made.status();
  const std::set<int64_t> first = Of(*made, 0), second = Of(*made, 1);
  EXPECT_THAT(first, SizeIs(20));
  EXPECT_THAT(second, SizeIs(31));
  for (int64_t client = 0; client < 100; ++client) {
    const Adversaries::Group* group = made->Of(client);
    EXPECT_EQ(first.contains(client), group == &made->groups()[0]);
    EXPECT_EQ(second.contains(client), group == &made->groups()[1]);
  }
  const v1::Experiment other = Config("[{name: sign_flip, fraction: 0.2, factor: 3}]");
  EXPECT_EQ(Of(*Adversaries::Create(other.simulation(), 100, 2, 7), 0), first);
  EXPECT_NE(Of(*Adversaries::Create(other.simulation(), 100, 2, 8), 0), first);
  // At least one, unless the fraction is zero.
  EXPECT_THAT(Of(*Adversaries::Create(other.simulation(), 2, 2, 7), 0), SizeIs(1));
  const v1::Experiment nobody = Config("[{name: sign_flip, fraction: 0}]");
  EXPECT_THAT(Of(*Adversaries::Create(nobody.simulation(), 100, 2, 7), 0), IsEmpty());
  const v1::Experiment many = Config("[{name: scale, fraction: 0.6}, {name: noise, fraction: 0.6}]");
  EXPECT_THAT(Message(Adversaries::Create(many.simulation(), 100, 2, 7).status()),
              HasSubstr("simulation.adversaries[1] (noise): fraction: asks for 60 clients, only 40"));
}

TEST(Adversaries, TheDropOutsOfARoundAreGone) {
  const Outcomes outcomes = RunAll(Config("[{name: drop_out, fraction: 0.3, probability: 1}]"));
  EXPECT_THAT(Stages(outcomes.records), Not(IsEmpty()));
  EXPECT_THAT(Stages(outcomes.records), Each("gone"));
  for (const RoundRecord& record : outcomes.records) {
    EXPECT_EQ(record.accepted + static_cast<int64_t>(record.failures.size()), 6);
    for (const ClientFailure& failure : record.failures) EXPECT_GT(failure.download_bytes, 0);
  }
}

TEST(Adversaries, AQuorumThatDropsOutEndsTheRun) {
  auto federation = SimulatedFederation::Create(
      Config("[{name: drop_out, fraction: 0.7, probability: 1}]", {"federation.quorum=5"}), 1);
  ASSERT_TRUE(federation.ok()) << federation.status();
  const auto model = (*federation)->Run(nullptr, "", {});
  EXPECT_TRUE(absl::IsUnavailable(model.status())) << model.status();
}

TEST(Adversaries, TheLateMissADeadlineButNotAnOpenEnd) {
  const std::string late = "[{name: late, fraction: 0.5, seconds: 30}]";
  EXPECT_THAT(Stages(RunAll(Config(late)).records), IsEmpty());
  EXPECT_THAT(Stages(RunAll(Config(late, {"federation.deadline_seconds=30"})).records), IsEmpty());
  const std::vector<std::string> stages =
      Stages(RunAll(Config(late, {"federation.deadline_seconds=29"})).records);
  EXPECT_THAT(stages, Not(IsEmpty()));
  EXPECT_THAT(stages, Each("deadline"));
}

TEST(Adversaries, OfTooManyTheLateComeLast) {
  // 6 are needed, all 10 are asked, 4 of them are late: exactly those are not needed.
  const v1::Experiment config = Config("[{name: late, fraction: 0.4}]", {"federation.over_select=0.6"});
  auto federation = SimulatedFederation::Create(config, 2);
  ASSERT_TRUE(federation.ok()) << federation.status();
  Recorder recorder(**federation);
  ASSERT_TRUE((*federation)->Run(nullptr, "", {&recorder}).ok());
  const std::set<int64_t> late = Of((*federation)->adversaries(), 0);
  ASSERT_THAT(recorder.records, SizeIs(4));
  for (const RoundRecord& record : recorder.records) {
    ASSERT_EQ(record.cohort.size(), 10U);
    ASSERT_EQ(record.failures.size(), 4U);
    for (const ClientFailure& failure : record.failures) {
      EXPECT_EQ(failure.stage, "enough");
      EXPECT_TRUE(late.contains(failure.client)) << failure.client;
    }
  }
}

TEST(Adversaries, AnUpdateThatIsNoNumberIsRefused) {
  const Outcomes outcomes = RunAll(Config("[{name: scale, fraction: 0.3, factor: 1e300}]"));
  EXPECT_THAT(Stages(outcomes.records), Not(IsEmpty()));
  for (const float value : outcomes.model) EXPECT_TRUE(std::isfinite(value));
}

TEST(Adversaries, ALieIsToldBeforeItIsCompressed) {
  // Signs of scaled updates are their signs: with a compressor that sends only these nothing changes.
  const std::vector<std::string> signs = {"training.compressor={name: sign, scale: none}",
                                          "federation.aggregator=majority_vote",
                                          "federation.server_optimizer={name: sgd, learning_rate: 0.01}"};
  EXPECT_EQ(RunAll(Config("[{name: scale, fraction: 0.3, factor: 64}]", signs)).model,
            RunAll(Config("[]", signs)).model);
  EXPECT_NE(RunAll(Config("[{name: sign_flip, fraction: 0.3}]", signs)).model,
            RunAll(Config("[]", signs)).model);
}

class EveryAdversary : public ::testing::TestWithParam<std::string> {
 protected:
  static std::string List(double fraction) {
    return absl::StrCat("[{name: ", GetParam(), ", fraction: ", fraction, "}]");
  }
};

TEST_P(EveryAdversary, ChecksItsOptions) {
  const PluginInfo* info = Registry<Adversary>::Get().Find(GetParam());
  ASSERT_NE(info, nullptr);
  for (const OptionInfo& option : info->options) {
    for (const OptionValue& value : WrongValues(option)) {
      OptionMap options = {{"fraction", 0.2}};
      options[option.name] = value;
      const auto made = Registry<Adversary>::Get().Create({GetParam(), options}, {.num_classes = 4});
      EXPECT_THAT(Message(made.status()), ::testing::StartsWith(absl::StrCat(option.name, ": ")));
    }
  }
}

TEST_P(EveryAdversary, AFractionOfZeroChangesNothing) {
  EXPECT_EQ(RunAll(Config(List(0))).model, RunAll(Config("[]")).model);
}

TEST_P(EveryAdversary, SameBitsForAnyNumberOfWorkers) {
  const std::vector<std::string> more = {"training.error_feedback=ef14", "training.compressor=top_k",
                                         "federation.over_select=0.5"};
  const Outcomes one = RunAll(Config(List(0.4), more), 1);
  EXPECT_EQ(RunAll(Config(List(0.4), more), 4).model, one.model);
}

// Stopped after a round, with what clients remember on disk, and gone on with by another federation.
TEST_P(EveryAdversary, SameBitsAfterAnInterruption) {
  const v1::Experiment config = Config(List(0.4), {"training.method=scaffold", "training.optimizer=sgd"});
  const std::string folder = absl::StrCat(::testing::TempDir(), "adversaries-", GetParam());
  std::filesystem::remove_all(folder);
  std::filesystem::create_directories(folder);
  for (const bool resumed : {false, true}) {
    auto journal =
        resumed ? Journal::Open(folder, Durability::kProcess) : Journal::Create(folder, Durability::kProcess);
    ASSERT_TRUE(journal.ok()) << journal.status();
    auto federation = SimulatedFederation::Create(config, 2);
    ASSERT_TRUE(federation.ok()) << federation.status();
    Recorder recorder(**federation, resumed ? 1'000'000 : 2);
    const auto model = (*federation)->Run(journal->get(), folder + "/clients", {&recorder});
    ASSERT_TRUE(model.ok()) << model.status();
    EXPECT_THAT(recorder.records, SizeIs(2));
    if (resumed) {
      EXPECT_EQ(*model, RunAll(config).model);
    }
  }
  std::filesystem::remove_all(folder);
}

INSTANTIATE_TEST_SUITE_P(All, EveryAdversary, ::testing::ValuesIn(Registry<Adversary>::Get().Names()));

}  // namespace
}  // namespace muster
