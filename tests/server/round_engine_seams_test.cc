// What crosses the engine's seams beside updates: extra vectors, numbers, vectors from the server, a planned
// cohort, live changes.
#include <cmath>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "server/rounds/answers.h"
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
  std::vector<std::string> Statistics() const override { return {"local_loss"}; }
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

// A pool that brings the sums of all but the first update of a round, and those in one go.
TEST(RoundEngineSeams, UpdatesThatThePoolFoldsItselfGiveTheSameBits) {
  Federation whole, folded;
  for (Federation* federation : {&whole, &folded}) {
    federation->options.rounds = 3;
    federation->policy.clients = 3;
  }
  std::unique_ptr<Aggregator> partial;
  size_t answers = 0;
  folded.pool.script = [&](const Task& task, ClientId client) -> Outcome {
    EXPECT_NE(task.folding, nullptr);
    Update update = folded.pool.Honest(task, client);
    if (task.folding == nullptr || answers++ % 3 == 0) return update;
    if (partial == nullptr) {
      auto made = Registry<Aggregator>::Get().Create(task.folding->aggregator,
                                                     {.layout = &folded.layout,
                                                      .cohort = task.folding->cohort,
                                                      .uniform_weights = task.folding->uniform_weights,
                                                      .weights = task.folding->weights});
      EXPECT_TRUE(made.ok());
      partial = *std::move(made);
    }
    EXPECT_TRUE(partial->Add(update).ok());
    update.folded = {update.payload.size(), UpdateNorm(update.payload, folded.layout), /*seconds=*/1};
    update.payload.bytes.resize(kPayloadHeaderBytes);
    if (answers % 3 == 0) {
      EXPECT_EQ(static_cast<int64_t>(partial->Sum()->words().size()), task.folding->sums);
      EXPECT_FALSE(task.folding->add(partial->Sum()->words().subspan(1)).ok());
      EXPECT_TRUE(task.folding->add(partial->Sum()->words()).ok());
      partial.reset();
    }
    return update;
  };
  const auto expected = whole.Run(), model = folded.Run();
  ASSERT_TRUE(expected.ok() && model.ok()) << model.status();
  EXPECT_EQ(*model, *expected);
  for (size_t round = 0; round < 3; ++round) {
    EXPECT_EQ(folded.recorder.records[round].upload_bytes, whole.recorder.records[round].upload_bytes);
    EXPECT_EQ(folded.recorder.records[round].accepted, 3);
  }
  ASSERT_EQ(folded.recorder.answers.size(), 9U);
  for (size_t i = 0; i < 9; ++i) {
    EXPECT_EQ(folded.recorder.answers[i].update_norm, whole.recorder.answers[i].update_norm);
    EXPECT_EQ(folded.recorder.answers[i].codec, whole.recorder.answers[i].codec);
  }
  EXPECT_GE(folded.recorder.answers[1].fold_seconds, 1);
}

TEST(RoundEngineSeams, NoPoolFoldsWhatIsNeededWhole) {
  const auto offered = [](Federation& federation, ServerOptimizer* optimizer = nullptr) {
    federation.options.rounds = 1;
    federation.policy.clients = 3;
    bool folding = false;
    federation.pool.script = [&](const Task& task, ClientId client) -> Outcome {
      folding = folding || task.folding != nullptr;
      return federation.pool.Honest(task, client);
    };
    const auto run = optimizer == nullptr ? federation.Run() : RunWith(federation, *optimizer);
    EXPECT_TRUE(run.ok() || optimizer != nullptr) << run.status();
    return folding;
  };
  Federation mean, kept, median, extras;
  EXPECT_TRUE(offered(mean));
  kept.policy.keep_updates = true;
  EXPECT_FALSE(offered(kept));
  median.options.aggregator.name = "median";
  EXPECT_FALSE(offered(median));
  Method asks_for_extras;
  EXPECT_FALSE(offered(extras, &asks_for_extras));
}

TEST(RoundEngineSeams, AMethodOfServerAndClientsGetsAllItNeeds) {
  Federation federation;
  federation.options.rounds = 1;
  federation.options.clients = 6;
  federation.policy.clients = 3;
  std::vector<ClientId> asked;
  federation.pool.script = [&](const Task& task, ClientId client) -> Outcome {
    EXPECT_THAT(*task.vectors.at("control"), ElementsAre(1, 2));
    EXPECT_THAT(task.statistics, ElementsAre("local_loss"));
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

// Asks everything there is to ask, and keeps what it was told.
class CuriousSelector final : public Selector {
 public:
  SelectorNeeds Needs() const override {
    return {.statistics = {"local_loss"}, .labels = true, .deviations = true};
  }
  absl::StatusOr<std::vector<ClientId>> Select(int64_t count, std::span<const ClientInfo> candidates,
                                               Random& /*random*/) const override {
    std::vector<ClientId> ids;
    for (const ClientInfo& client : candidates.first(static_cast<size_t>(count))) ids.push_back(client.id);
    return ids;
  }
  void Observe(const SelectorRound& round) override {
    asked.push_back(round.cohort.size());
    reports.assign(round.reports.begin(), round.reports.end());
  }
  std::vector<size_t> asked;
  std::vector<ClientReport> reports;  // of the last round
};

TEST(RoundEngineSeams, ASelectorIsToldWhatItAskedFor) {
  Federation federation;
  CuriousSelector selector;
  federation.policy.clients = 3;
  federation.options.rounds = 1;
  std::vector<std::string> statistics;
  federation.pool.script = [&](const Task& task, ClientId client) -> Outcome {
    statistics = task.statistics;
    if (client == 30)
      return ClientFailure{
          .client = client, .stage = "train", .code = "INTERNAL", .message = "", .download_bytes = 0};
    // Weighed by 1 and 2 samples, the mean is 3 everywhere.
    Update update = federation.pool.WithDelta(client, std::vector<float>(8, client == 10 ? 1.0F : 4.0F));
    update.numbers = {{"local_loss", {0.25}}};
    return update;
  };
  federation.engine =
      std::make_unique<RoundEngine>(federation.options, EngineParts{.layout = &federation.layout,
                                                                    .pool = &federation.pool,
                                                                    .evaluator = &federation.evaluator,
                                                                    .has_trust_set = true,
                                                                    .policy = &federation.policy,
                                                                    .selector = &selector,
                                                                    .server_optimizer = &federation.optimizer,
                                                                    .schedule = &federation.schedule,
                                                                    .listeners = {&federation.recorder}});
  ASSERT_TRUE(federation.engine->Run(federation.InitialModel()).ok());
  EXPECT_THAT(statistics, ElementsAre("local_loss"));
  EXPECT_THAT(selector.asked, ElementsAre(3));
  ASSERT_EQ(selector.reports.size(), 2U);
  EXPECT_THAT(selector.reports[0].numbers.at("local_loss"), ElementsAre(0.25));
  EXPECT_NEAR(selector.reports[0].deviation.value(), std::sqrt(8.0) * 2, 1e-6);  // |1 - 3|
  EXPECT_NEAR(selector.reports[1].deviation.value(), std::sqrt(8.0) * 1, 1e-6);  // |4 - 3|
  // A number that is told is 8 bytes of the upload.
  EXPECT_EQ(federation.recorder.records[0].upload_bytes, 2 * (24 + 8 * 4 + 8));
}

// Candidates of old updates: of those asked before, and of one never asked.
TEST(RoundEngineSeams, RememberedUpdatesMakeCandidatesAndSurviveResume) {
  const TemporaryFolder folder;
  std::vector<std::vector<float>> candidates;
  const auto run = [&](Federation& federation, int64_t rounds) {
    federation.options.rounds = rounds;
    federation.policy.clients = 2;
    federation.policy.remember_updates = federation.policy.keep_updates = true;
    federation.policy.uniform_weights = true;
    federation.policy.observe = [&](const AfterRound& round) -> absl::StatusOr<std::optional<SearchRecord>> {
      EXPECT_EQ(round.kept->clients.size(), 6U);
      for (const std::vector<size_t>& subset : {std::vector<size_t>{0}, {1}, {2}, {3}, {4}, {5}, {0, 3}}) {
        MUSTER_ASSIGN_OR_RETURN(candidates.emplace_back(), round.kept->candidate(subset));
      }
      return std::nullopt;
    };
    return federation.Run();
  };
  Federation whole;
  whole.journal = *Journal::Create(folder.path() + "/whole", Durability::kProcess);
  const auto model = run(whole, 3);
  ASSERT_TRUE(model.ok()) << model.status();
  const std::vector<std::vector<float>> expected(candidates.end() - 7, candidates.end());
  candidates.clear();
  {
    Federation first;
    first.journal = *Journal::Create(folder.path() + "/cut", Durability::kProcess);
    first.recorder.on_event = [&](const std::string& event) {
      if (event == "committed 1") first.engine->RequestStop();
    };
    ASSERT_TRUE(run(first, 3).ok());
  }
  candidates.clear();
  Federation second;
  second.journal = *Journal::Open(folder.path() + "/cut", Durability::kProcess);
  const auto resumed = run(second, 3);
  ASSERT_TRUE(resumed.ok()) << resumed.status();
  EXPECT_EQ(*resumed, *model);
  EXPECT_EQ(candidates, expected);
  EXPECT_NE(expected[0], expected[5]);
}

}  // namespace
}  // namespace muster
