// What crosses the engine's seams beside updates: extra vectors, numbers, vectors from the server, a planned
// cohort, live changes.
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "tests/server/fakes.h"

namespace muster {
namespace {

using test::Federation;
using test::TemporaryFolder;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

Payload EncodeExtra(const std::string& name, const std::vector<float>& values) {
  return test::Encode(values, ExtraLayout(name, static_cast<int64_t>(values.size())));
}

// Sends a vector down, asks for one back, weighs clients itself, and shows what it was given.
class Method final : public ServerOptimizer {
 public:
  absl::Status Step(const Aggregate& aggregate, Parameters model) override {
    for (size_t i = 0; i < model.size(); ++i) model[i] += aggregate.delta[i];
    seen = aggregate;
    return absl::OkStatus();
  }
  std::map<std::string, std::vector<float>> Broadcast() const override { return {{"control", {1, 2}}}; }
  std::vector<std::string> Extras() const override { return {"change"}; }
  std::optional<std::vector<double>> Weights(std::span<const ClientInfo> cohort) const override {
    std::vector<double> weights(cohort.size(), 1.0);
    weights.front() = 3;
    return weights;
  }
  Numbers Report() const override { return {{"seen", {static_cast<double>(seen.reports.size())}}}; }
  State Save() const override { return {}; }
  absl::Status Load(State /*state*/) override { return absl::OkStatus(); }
  std::unique_ptr<ServerOptimizer> Clone() const override { return std::make_unique<Method>(*this); }

  Aggregate seen;
};

// As Federation::Run, with another server optimiser.
absl::StatusOr<std::vector<float>> RunWith(Federation& federation, ServerOptimizer& method) {
  RoundEngine engine(federation.options, EngineParts{.layout = &federation.layout,
                                                     .pool = &federation.pool,
                                                     .evaluator = &federation.evaluator,
                                                     .has_trust_set = true,
                                                     .policy = &federation.policy,
                                                     .selector = &federation.selector,
                                                     .server_optimizer = &method,
                                                     .schedule = &federation.schedule,
                                                     .journal = federation.journal.get(),
                                                     .listeners = {&federation.recorder}});
  return engine.Run(federation.InitialModel());
}

TEST(RoundEngineSeams, AMethodOfServerAndClientsGetsAllItNeeds) {
  Federation federation;
  federation.options.rounds = 1;
  federation.options.clients = 6;
  federation.policy.clients = 3;
  std::vector<ClientId> asked;
  federation.pool.script = [&](const Task& task, ClientId client) -> Outcome {
    EXPECT_THAT(*task.vectors.at("control"), ElementsAre(1, 2));
    asked.push_back(client);
    Update update = federation.pool.Honest(task, client);
    update.extras["change"] = EncodeExtra("change", std::vector<float>(8, static_cast<float>(client)));
    update.numbers["distance"] = {0.5 * static_cast<double>(client)};
    return update;
  };
  Method method;
  ASSERT_TRUE(RunWith(federation, method).ok());
  ASSERT_EQ(asked.size(), 3U);
  const double mean = static_cast<double>(asked[0] + asked[1] + asked[2]) / 3;
  EXPECT_EQ(method.seen.extras.at("change"), std::vector<float>(8, static_cast<float>(mean)));
  EXPECT_DOUBLE_EQ(method.seen.share, 0.5);
  ASSERT_EQ(method.seen.reports.size(), 3U);
  for (const ClientReport& report : method.seen.reports) {
    EXPECT_THAT(report.numbers.at("distance"), ElementsAre(0.5 * static_cast<double>(report.client.id)));
  }
  EXPECT_DOUBLE_EQ(method.seen.total_weight, 5);  // its own weights
  const RoundRecord& record = federation.recorder.records.at(0);
  EXPECT_THAT(record.numbers.at("seen"), ElementsAre(3));
  // Three updates with an extra vector of 8 floats and one number each.
  EXPECT_EQ(record.upload_bytes, 3 * (2 * (24 + 32) + 8));
}

TEST(RoundEngineSeams, UpdatesWithMissingForeignOrBadExtrasAreRefusedByName) {
  struct Case {
    std::function<void(Update&)> spoil;
    const char* message;
  };
  const std::vector<Case> cases = {
      {[](Update& update) { update.extras.clear(); }, "the extra vector 'change' is missing"},
      {[](Update& update) { update.extras["alien"] = EncodeExtra("alien", {1}); },
       "'alien' was not asked for"},
      {[](Update& update) {
         update.extras["change"] = EncodeExtra("change", {1, 2});
       },
       "extra vector 'change'"},
      {[](Update& update) { update.extras["change"] = EncodeExtra("change", std::vector<float>(8, NAN)); },
       "extra vector 'change'"},
      {[](Update& update) { update.extras["change"] = EncodeExtra("change", std::vector<float>(8, 3e6F)); },
       "beyond 2^20"},
      {[](Update& update) {
         update.numbers["x"] = {1, INFINITY};
       },
       "the number 'x' is inf"},
      {[](Update& update) { update.numbers["x"].resize(100000); }, "too many numbers"},
  };
  for (const Case& spoiled : cases) {
    Federation federation;
    federation.options.rounds = 1;
    federation.policy.clients = 3;
    std::optional<ClientId> bad;
    federation.pool.script = [&](const Task& task, ClientId client) -> Outcome {
      Update update = federation.pool.Honest(task, client);
      update.extras["change"] = EncodeExtra("change", std::vector<float>(8, 1));
      if (!bad) {
        bad = client;
        spoiled.spoil(update);
      }
      return update;
    };
    Method method;
    ASSERT_TRUE(RunWith(federation, method).ok()) << spoiled.message;
    const RoundRecord& record = federation.recorder.records.at(0);
    ASSERT_EQ(record.failures.size(), 1U) << spoiled.message;
    EXPECT_EQ(record.failures[0].client, *bad);
    EXPECT_EQ(record.failures[0].stage, "verify");
    EXPECT_THAT(record.failures[0].message, HasSubstr(spoiled.message));
    EXPECT_EQ(method.seen.extras.at("change"), std::vector<float>(8, 1));
  }
}

TEST(RoundEngineSeams, OptimizerStateIsAveragedAndComesBack) {
  Federation federation;
  federation.options.rounds = 2;
  federation.options.average_state = true;
  federation.policy.clients = 2;
  std::vector<float> received;
  federation.pool.script = [&](const Task& task, ClientId client) -> Outcome {
    if (const auto found = task.vectors.find("optimizer/momentum"); found != task.vectors.end()) {
      received = *found->second;
    }
    Update update = federation.pool.Honest(task, client);
    update.extras["optimizer/momentum"] =
        EncodeExtra("optimizer/momentum", {client == 10 || client == 30 ? 1.0F : 3.0F, 5});
    return update;
  };
  ASSERT_TRUE(federation.Run().ok());
  EXPECT_EQ(federation.recorder.records.size(), 2U);
  ASSERT_EQ(received.size(), 2U);
  EXPECT_EQ(received[1], 5);
}

TEST(RoundEngineSeams, ARoundCutOffIsDoneAgainWithTheSameClients) {
  const TemporaryFolder folder;
  std::vector<ClientId> first;
  {
    Federation federation;
    federation.journal = *Journal::Create(folder.path(), Durability::kProcess);
    federation.pool.script = [&](const Task& task, ClientId client) -> Outcome {
      if (task.round < 2) return federation.pool.Honest(task, client);
      first.push_back(client);
      return ClientFailure{client, "train", "INTERNAL", "power cut", 0};
    };
    EXPECT_FALSE(federation.Run().ok());
  }
  Federation federation;
  federation.journal = *Journal::Open(folder.path(), Durability::kProcess);
  // Other counts would be asked for now; what was decided holds.
  federation.options.over_select = 1;
  ASSERT_TRUE(federation.Run().ok());
  std::sort(first.begin(), first.end());
  EXPECT_EQ(federation.recorder.records.at(0).round, 2);
  EXPECT_EQ(federation.recorder.records.at(0).cohort, first);
}

TEST(RoundEngineSeams, OverSelectionAsksMoreAndSaysWhatIsEnough) {
  Federation federation;
  federation.options.rounds = 1;
  federation.options.over_select = 0.5;
  federation.policy.clients = 3;
  int64_t enough = 0;
  federation.pool.script = [&](const Task& task, ClientId client) -> Outcome {
    enough = task.enough;
    return federation.pool.Honest(task, client);
  };
  ASSERT_TRUE(federation.Run().ok());
  EXPECT_EQ(federation.recorder.records.at(0).cohort.size(), 5U);  // ceil(3 * 1.5)
  EXPECT_EQ(enough, 3);
}

TEST(RoundEngineSeams, FewerUpdatesThanTheQuorumEndTheRun) {
  Federation federation;
  federation.options.quorum = 2;
  federation.policy.clients = 3;
  int64_t answers = 0;
  federation.pool.script = [&](const Task& task, ClientId client) -> Outcome {
    if (++answers == 1) return federation.pool.Honest(task, client);
    return ClientFailure{client, "gone", "UNAVAILABLE", "vanished", 0};
  };
  const auto model = federation.Run();
  EXPECT_EQ(model.status().code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(Message(model.status()), HasSubstr("only 1 of the 3 clients"));
}

TEST(RoundEngineSeams, LiveChangesHoldFromTheNextRoundAndSurviveResume) {
  const TemporaryFolder folder;
  const auto change = [](Federation& federation, int64_t after, int64_t stop_after) {
    federation.recorder.on_event = [&federation, after, stop_after](const std::string& event) {
      if (event == absl::StrCat("committed ", after)) {
        LiveChange change;
        change.learning_rate_factor = 0.5;
        change.participation = PluginConfig{.name = "fixed", .options = {{"clients", int64_t{1}}}};
        EXPECT_TRUE(federation.engine->RequestChange(change).ok());
      }
      if (event == absl::StrCat("committed ", stop_after)) federation.engine->RequestStop();
    };
  };
  Federation whole;
  change(whole, 1, 1000);
  const auto expected = whole.Run();
  ASSERT_TRUE(expected.ok());
  EXPECT_EQ(whole.recorder.records.at(1).changes, std::vector<std::string>());
  EXPECT_THAT(whole.recorder.records.at(2).changes,
              ElementsAre("training.learning_rate_factor = 0.5",
                          "federation.participation = {name: fixed, clients: 1}"));
  EXPECT_EQ(whole.recorder.records.at(2).cohort.size(), 1U);
  EXPECT_DOUBLE_EQ(whole.recorder.records.at(3).learning_rate_factor, 0.5 / 4);

  {
    Federation stopped;
    stopped.journal = *Journal::Create(folder.path(), Durability::kProcess);
    change(stopped, 1, 3);
    ASSERT_TRUE(stopped.Run().ok());
  }
  Federation resumed;
  resumed.journal = *Journal::Open(folder.path(), Durability::kProcess);
  const auto model = resumed.Run();
  ASSERT_TRUE(model.ok()) << model.status();
  EXPECT_EQ(*model, *expected);
}

TEST(RoundEngineSeams, ChangesThatMakeNoSenseAreRefused) {
  Federation federation;
  ASSERT_TRUE(federation.Run().ok());
  LiveChange change;
  change.participation = PluginConfig{.name = "fixd", .options = {}};
  EXPECT_THAT(Message(federation.engine->RequestChange(change)), HasSubstr("did you mean 'fixed'"));
  change = LiveChange();
  change.learning_rate_factor = 0;
  EXPECT_THAT(Message(federation.engine->RequestChange(change)), HasSubstr("must be above 0"));
}

}  // namespace
}  // namespace muster
