#include "server/rounds/round_engine.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "core/hash.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/server/fakes.h"

namespace muster {
namespace {

using test::Federation;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

std::string WithoutSeconds(RoundRecord record) {
  record.seconds.clear();
  return ToJson(record);
}

TEST(RoundEngine, EventsComeInOrder) {
  Federation federation;
  federation.options.rounds = 2;
  federation.options.pinned_cohorts = {{30, 10}, {20}};
  ASSERT_TRUE(federation.Run().ok());
  EXPECT_THAT(federation.recorder.log,
              ElementsAre("run from 0", "round 0", "accepted 10", "accepted 30", "committed 0", "round 1",
                          "accepted 20", "committed 1", "finished: rounds"));
  EXPECT_EQ(federation.recorder.run_started.clients, 6);
  EXPECT_EQ(federation.recorder.run_started.parameters, 8);
  EXPECT_EQ(federation.engine->phase(), Phase::kFinished);
  EXPECT_EQ(federation.engine->rounds_committed(), 2);
}

TEST(RoundEngine, AppliesTheWeightedMeanThroughTheServerOptimizer) {
  Federation federation;
  federation.options.rounds = 2;
  federation.options.pinned_cohorts = {{10, 30}, {20}};
  federation.pool.script = [&](const Task& task, ClientId client) -> Outcome {
    const float value = task.round == 0 ? static_cast<float>(client) : -8.0F;
    return federation.pool.WithDelta(client, std::vector<float>(8, value));
  };
  const auto model = federation.Run();
  ASSERT_TRUE(model.ok()) << model.status();
  // Round 0: delta (1 * 10 + 3 * 30) / 4 = 25, v = 25. Round 1: v = 12.5 - 8 = 4.5. 1 + 25 + 4.5.
  EXPECT_EQ(*model, std::vector<float>(8, 30.5F));
  EXPECT_EQ(federation.recorder.model, *model);
  EXPECT_DOUBLE_EQ(federation.recorder.records[0].update_norm, 25 * std::sqrt(8.0));
  // Mean of the losses 1/10 and 1/30 with weights 1 and 3.
  EXPECT_DOUBLE_EQ(*federation.recorder.records[0].train_loss, (1 * (1.0 / 10) + 3 * (1.0 / 30)) / 4);
}

TEST(RoundEngine, ListenersHearWhatBecameOfEveryAnswer) {
  Federation federation;
  federation.options.rounds = 1;
  federation.options.pinned_cohorts = {{20, 10, 30}};
  federation.pool.script = [&](const Task&, ClientId client) -> Outcome {
    if (client == 10)
      return ClientFailure{
          .client = 10, .stage = "train", .code = "INTERNAL", .message = "no memory", .download_bytes = 7};
    Update update = federation.pool.WithDelta(client, std::vector<float>(8, 3.0F));
    if (client == 20) update.payload.bytes.resize(40);
    return update;
  };
  ASSERT_TRUE(federation.Run().ok());
  EXPECT_THAT(federation.recorder.cohort, ElementsAre(10, 20, 30));
  const std::vector<ClientFinished>& answers = federation.recorder.answers;
  ASSERT_EQ(answers.size(), 3);
  EXPECT_EQ(answers[0].failure.message, "no memory");
  EXPECT_EQ(answers[0].download_bytes, 7);
  EXPECT_EQ(answers[0].codec, "");
  EXPECT_EQ(answers[1].failure.stage, "verify");
  EXPECT_EQ(answers[1].upload_bytes, 40);
  EXPECT_EQ(answers[1].update_norm, 0);
  EXPECT_TRUE(answers[2].accepted);
  EXPECT_EQ(answers[2].codec, "identity");
  EXPECT_EQ(answers[2].num_samples, 3);
  EXPECT_EQ(answers[2].upload_bytes, 24 + 8 * 4);
  EXPECT_DOUBLE_EQ(answers[2].update_norm, 3 * std::sqrt(8.0));
}

TEST(RoundEngine, PolicyMayAskForUniformWeights) {
  Federation federation;
  federation.options.rounds = 1;
  federation.options.pinned_cohorts = {{10, 30}};
  federation.policy.uniform_weights = true;
  federation.pool.script = [&](const Task&, ClientId client) -> Outcome {
    return federation.pool.WithDelta(client, std::vector<float>(8, static_cast<float>(client)));
  };
  EXPECT_EQ(*federation.Run(), std::vector<float>(8, 21.0F));
}

TEST(RoundEngine, OrderOfAnswersChangesNothing) {
  Federation straight, shuffled;
  straight.policy.clients = shuffled.policy.clients = 6;
  straight.policy.keep_updates = shuffled.policy.keep_updates = true;
  shuffled.pool.order = [](int64_t round, std::vector<ClientId>& clients) {
    Random random({.round = static_cast<uint64_t>(round)});
    random.Shuffle(std::span(clients));
  };
  const auto a = straight.Run(), b = shuffled.Run();
  ASSERT_TRUE(a.ok() && b.ok());
  EXPECT_EQ(ModelSha256(*a), ModelSha256(*b));
  ASSERT_EQ(straight.recorder.records.size(), shuffled.recorder.records.size());
  for (size_t i = 0; i < straight.recorder.records.size(); ++i) {
    EXPECT_EQ(WithoutSeconds(straight.recorder.records[i]), WithoutSeconds(shuffled.recorder.records[i]));
  }
}

TEST(RoundEngine, BadClientsAreRecordedAndTheRoundGoesOn) {
  Federation federation;
  federation.options.rounds = 1;
  federation.options.pinned_cohorts = {{10, 20, 30, 40, 50, 60}};
  Layout other;
  other.Add("weight", {8}, true);
  federation.pool.script = [&](const Task&, ClientId client) -> Outcome {
    Update update = federation.pool.WithDelta(client, std::vector<float>(8, 2.0F));
    if (client == 10) update.payload.bytes = "garbage";
    if (client == 20) update.payload = test::Encode(std::vector<float>(8, 1.0F), other);
    if (client == 30) update = federation.pool.WithDelta(client, std::vector<float>(8, std::nanf("")));
    if (client == 40) update.num_samples = 5;  // declared: 4
    if (client == 50) return ClientFailure{client, "train", "INTERNAL", "out of memory", 64};
    if (client == 60) update.metrics.train_loss = 0.5;
    return update;
  };
  federation.pool.order = [](int64_t, std::vector<ClientId>& clients) {
    std::reverse(clients.begin(), clients.end());
  };
  const auto model = federation.Run();
  ASSERT_TRUE(model.ok()) << model.status();
  EXPECT_EQ(*model, std::vector<float>(8, 3.0F));  // client 60 alone

  const RoundRecord& record = federation.recorder.records[0];
  EXPECT_EQ(record.accepted, 1);
  EXPECT_EQ(record.train_loss, 0.5);
  ASSERT_EQ(record.failures.size(), 5U);
  for (size_t i = 0; i < 5; ++i) {
    EXPECT_EQ(record.failures[i].client, 10 * static_cast<ClientId>(i + 1));
    EXPECT_EQ(record.failures[i].stage, i == 4 ? "train" : "verify");
    EXPECT_EQ(record.failures[i].code, i == 4 ? "INTERNAL" : "INVALID_ARGUMENT");
    EXPECT_FALSE(record.failures[i].message.empty());
  }
  EXPECT_THAT(federation.recorder.log,
              ElementsAre("run from 0", "round 0", "accepted 60", "failed 50", "failed 40", "failed 30",
                          "failed 20", "failed 10", "committed 0", "finished: rounds"));
  // Refused updates were received, and count; the failed client only downloaded.
  EXPECT_EQ(record.upload_bytes, 4 * (24 + 32) + 7);
  EXPECT_EQ(record.download_bytes, 5 * 100 + 64);
  EXPECT_EQ(record.totals.uploads, 5);
  EXPECT_EQ(record.totals.client_trainings, 6);
  EXPECT_EQ(record.totals.samples_trained, 6);
}

TEST(RoundEngine, TotalsAddUpOverRounds) {
  Federation federation;
  ASSERT_TRUE(federation.Run().ok());
  Totals sum;
  for (const RoundRecord& record : federation.recorder.records) {
    EXPECT_EQ(record.upload_bytes, record.accepted * (24 + 32));
    sum.client_trainings += static_cast<int64_t>(record.cohort.size());
    sum.uploads += record.accepted;
    sum.upload_bytes += record.upload_bytes;
    sum.download_bytes += record.download_bytes;
    for (const ClientId client : record.cohort) sum.samples_trained += client / 10;
    EXPECT_EQ(record.totals.client_trainings, sum.client_trainings);
    EXPECT_EQ(record.totals.uploads, sum.uploads);
    EXPECT_EQ(record.totals.upload_bytes, sum.upload_bytes);
    EXPECT_EQ(record.totals.download_bytes, sum.download_bytes);
    EXPECT_EQ(record.totals.samples_trained, sum.samples_trained);
  }
  EXPECT_EQ(federation.engine->totals().upload_bytes, sum.upload_bytes);
}

TEST(RoundEngine, AllClientsFailingEndsTheRunWithNothingCommitted) {
  test::TemporaryFolder folder;
  Federation federation;
  federation.journal = *Journal::Create(folder.path(), Durability::kProcess);
  federation.options.pinned_cohorts.assign(5, {20, 30});
  federation.pool.script = [&](const Task& task, ClientId client) -> Outcome {
    if (task.round < 2) return federation.pool.Honest(task, client);
    return ClientFailure{client, "train", "INTERNAL", absl::StrCat("no luck with ", client), 0};
  };
  federation.pool.order = [](int64_t, std::vector<ClientId>& clients) {
    std::reverse(clients.begin(), clients.end());
  };
  const auto model = federation.Run();
  EXPECT_EQ(model.status().code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(
      Message(model.status()),
      "round 2: none of the 2 clients returned a usable update; first: client 20: train: no luck with 20");
  EXPECT_EQ(federation.engine->rounds_committed(), 2);
  EXPECT_EQ(federation.recorder.records.size(), 2U);
  EXPECT_EQ(federation.journal->Records()->size(), 2U);
  EXPECT_EQ(*federation.journal->Get("finished"), std::nullopt);
}

TEST(RoundEngine, PoolThatBreaksItsContractIsAnError) {
  for (const bool twice : {true, false}) {
    Federation federation;
    federation.options.pinned_cohorts.assign(5, {20, 30});
    federation.pool.order = [twice](int64_t, std::vector<ClientId>& clients) {
      clients.resize(1);
      if (twice) clients.push_back(clients[0]);
    };
    const auto model = federation.Run();
    EXPECT_EQ(model.status().code(), absl::StatusCode::kInternal) << model.status();
    EXPECT_THAT(Message(model.status()), HasSubstr("round 0: client pool: "));
  }
  Federation federation;
  federation.pool.result = absl::CancelledError("shutting down");
  EXPECT_EQ(federation.Run().status().code(), absl::StatusCode::kCancelled);
}

TEST(RoundEngine, StopsAtAccuracy) {
  Federation federation;
  federation.options.stop_accuracy = 0.8;
  federation.evaluator.accuracy_of = [](int64_t test) { return 0.3 * static_cast<double>(test); };
  ASSERT_TRUE(federation.Run().ok());
  EXPECT_EQ(federation.recorder.records.size(), 3U);
  EXPECT_EQ(federation.recorder.log.back(), "finished: accuracy");
}

TEST(RoundEngine, StopsAtLossOnlyAfterAnEvaluation) {
  Federation federation;
  federation.options.rounds = 8;
  federation.options.evaluate_every = 3;
  federation.options.stop_loss = 1e9;
  ASSERT_TRUE(federation.Run().ok());
  EXPECT_EQ(federation.recorder.records.size(), 3U);
  EXPECT_EQ(federation.recorder.log.back(), "finished: loss");
}

TEST(RoundEngine, StopsAtUploadBytesAndEvaluatesThatRound) {
  Federation federation;
  federation.policy.clients = 2;
  federation.options.evaluate_every = 100;
  federation.options.stop_upload_bytes = 3 * 56 + 1;  // reached by the 4th upload
  ASSERT_TRUE(federation.Run().ok());
  ASSERT_EQ(federation.recorder.records.size(), 2U);
  EXPECT_FALSE(federation.recorder.records[0].test.has_value());
  EXPECT_TRUE(federation.recorder.records[1].test.has_value());
  EXPECT_EQ(federation.recorder.log.back(), "finished: upload_bytes");
}

TEST(RoundEngine, EvaluatesAtItsCadenceAndAfterTheLastRound) {
  Federation federation;
  federation.options.rounds = 7;
  federation.options.evaluate_every = 3;
  federation.options.evaluate_clients_every = 2;
  ASSERT_TRUE(federation.Run().ok());
  std::vector<int64_t> tested, clients_tested;
  for (const RoundRecord& record : federation.recorder.records) {
    if (record.test) tested.push_back(record.round);
    if (!record.clients.empty()) clients_tested.push_back(record.round);
  }
  EXPECT_THAT(tested, ElementsAre(2, 5, 6));
  EXPECT_THAT(clients_tested, ElementsAre(1, 3, 5));
}

TEST(RoundEngine, StopRequestLetsTheRoundInFlightFinish) {
  Federation federation;
  federation.recorder.on_event = [&](const std::string& event) {
    if (event == "round 1") federation.engine->RequestStop();
    if (event == "round 1") federation.engine->RequestStop();  // a second signal is no other matter
  };
  ASSERT_TRUE(federation.Run().ok());
  EXPECT_EQ(federation.recorder.records.size(), 2U);
  EXPECT_EQ(federation.recorder.records[1].accepted,
            static_cast<int64_t>(federation.recorder.records[1].cohort.size()));
  EXPECT_EQ(federation.recorder.log.back(), "finished: stopped");
}

TEST(RoundEngine, StopBeforeTheFirstRoundReturnsTheInitialModel) {
  Federation federation;
  federation.recorder.on_event = [&](const std::string& event) {
    if (event == "run from 0") federation.engine->RequestStop();
  };
  EXPECT_EQ(*federation.Run(), federation.InitialModel());
  EXPECT_THAT(federation.recorder.log, ElementsAre("run from 0", "finished: stopped"));
}

TEST(RoundEngine, PinnedCohortsMustBePossible) {
  const auto error_of = [](std::vector<std::vector<ClientId>> pins) {
    Federation federation;
    federation.options.rounds = 2;
    federation.options.pinned_cohorts = std::move(pins);
    const absl::Status status = federation.Run().status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << status;
    return Message(status);
  };
  EXPECT_THAT(error_of({{10}}), HasSubstr("1 rounds are given, the run has 2"));
  EXPECT_THAT(error_of({{10}, {20, 25}}), HasSubstr("round 1: the pinned cohort names client 25"));
  EXPECT_THAT(error_of({{70}, {20}}), HasSubstr("round 0: the pinned cohort names client 70"));
  EXPECT_THAT(error_of({{20, 10, 20}, {20}}), HasSubstr("names client 20 twice"));
  EXPECT_THAT(error_of({{}, {20}}), HasSubstr("is empty"));
}

TEST(RoundEngine, CohortIsClampedToWhoIsAvailable) {
  Federation federation;
  federation.options.rounds = 1;
  federation.policy.clients = 1000;
  ASSERT_TRUE(federation.Run().ok());
  EXPECT_THAT(federation.recorder.records[0].cohort, ElementsAre(10, 20, 30, 40, 50, 60));
}

TEST(RoundEngine, NobodyAvailableIsUnavailable) {
  Federation federation;
  test::ScriptedPool nobody(federation.layout, 0);
  RoundEngine engine(federation.options, {.layout = &federation.layout,
                                          .pool = &nobody,
                                          .evaluator = &federation.evaluator,
                                          .policy = &federation.policy,
                                          .selector = &federation.selector,
                                          .server_optimizer = &federation.optimizer,
                                          .schedule = &federation.schedule,
                                          .listeners = {}});
  const auto model = engine.Run(federation.InitialModel());
  EXPECT_EQ(model.status(), absl::UnavailableError("round 0: no client is available"));
}

TEST(RoundEngine, TaskSaysWhatPolicyAndScheduleSay) {
  Federation federation;
  federation.options.rounds = 2;
  federation.options.epochs = 4;
  federation.options.steps = 9;
  ASSERT_TRUE(federation.Run().ok());
  EXPECT_EQ(federation.pool.tasks[1].epochs, 4);
  EXPECT_EQ(federation.pool.tasks[1].steps, 9);
  EXPECT_EQ(federation.pool.tasks[1].learning_rate_factor, 0.5);
  EXPECT_EQ(federation.recorder.records[1].learning_rate_factor, 0.5);

  Federation warm;
  warm.options.rounds = 1;
  warm.options.steps = 9;
  warm.policy.epochs = 3;
  ASSERT_TRUE(warm.Run().ok());
  EXPECT_EQ(warm.pool.tasks[0].epochs, 3);
  EXPECT_EQ(warm.pool.tasks[0].steps, 0);
}

TEST(RoundEngine, TrustLossIsMeasuredOnlyWhenAsked) {
  Federation lazy;
  ASSERT_TRUE(lazy.Run().ok());
  EXPECT_EQ(lazy.evaluator.trust_losses, 0);
  EXPECT_EQ(lazy.recorder.records[0].trust_loss, std::nullopt);

  Federation asking;
  asking.policy.ask_trust_loss = true;
  ASSERT_TRUE(asking.Run().ok());
  EXPECT_EQ(asking.evaluator.trust_losses, 5);
  EXPECT_EQ(asking.recorder.records[0].trust_loss, 1.0);  // of the model the round started from: all ones
}

TEST(RoundEngine, CandidatesAreWhatTheRoundWouldHaveGivenAndLeaveNoTrace) {
  const auto script = [](Federation& federation) {
    federation.options.rounds = 2;
    federation.options.pinned_cohorts = {{60}, {10, 20, 30, 40}};
    federation.pool.script = [&federation](const Task& task, ClientId client) -> Outcome {
      if (client == 20) return ClientFailure{client, "train", "INTERNAL", "no", 0};
      const float value = task.round == 0 ? 8.0F : static_cast<float>(client);
      return federation.pool.WithDelta(client, std::vector<float>(8, value));
    };
    federation.pool.order = [](int64_t, std::vector<ClientId>& clients) {
      std::reverse(clients.begin(), clients.end());
    };
  };
  Federation plain, keeping;
  script(plain);
  script(keeping);
  keeping.policy.keep_updates = true;
  keeping.policy.observe = [](const AfterRound& round) -> absl::StatusOr<std::optional<SearchRecord>> {
    EXPECT_NE(round.kept, nullptr);
    if (round.round == 0) return std::nullopt;
    EXPECT_EQ(round.accepted, 3);
    EXPECT_EQ(round.cohort.size(), 4U);
    const KeptUpdates& kept = *round.kept;
    std::vector<ClientId> ids;
    for (const ClientInfo& client : kept.clients) ids.push_back(client.id);
    EXPECT_THAT(ids, ElementsAre(10, 30, 40));
    // The round starts at 1 + 8 = 9 with velocity 8; a candidate is at 9 + 4 + weighted mean.
    const size_t one[] = {1}, two[] = {2, 0};
    EXPECT_EQ(*kept.candidate(one), std::vector<float>(8, 43.0F));
    EXPECT_EQ(*kept.candidate(two), std::vector<float>(8, 13.0F + (1 * 10 + 4 * 40) / 5.0F));
    EXPECT_EQ(*kept.candidate(one), std::vector<float>(8, 43.0F));
    const size_t outside[] = {3}, twice[] = {1, 1};
    EXPECT_FALSE(kept.candidate(outside).ok());
    EXPECT_FALSE(kept.candidate(twice).ok());
    EXPECT_FALSE(kept.candidate({}).ok());
    const std::vector<float> twos(8, 2.0F);
    EXPECT_EQ(*round.trust_loss(twos), 4.0);
    return SearchRecord{
        .reference_loss = 1.5, .candidates = {{2, 0.5}}, .found = 2, .chosen = 3, .previous = 4};
  };
  const auto a = plain.Run(), b = keeping.Run();
  ASSERT_TRUE(a.ok()) << a.status();
  ASSERT_TRUE(b.ok()) << b.status();
  EXPECT_EQ(*a, *b);
  ASSERT_TRUE(keeping.recorder.records[1].search.has_value());
  EXPECT_EQ(keeping.recorder.records[1].search->chosen, 3);
  EXPECT_FALSE(keeping.recorder.records[0].search.has_value());
}

// Interrupted after any number of rounds and gone on by new objects, a run ends with the same bits and
// records.
TEST(RoundEngine, ResumedRunHasTheSameBitsAndRecords) {
  Federation whole;
  whole.options.evaluate_every = 2;
  const auto expected = whole.Run();
  ASSERT_TRUE(expected.ok()) << expected.status();
  for (int rounds = 0; rounds <= 5; ++rounds) {
    SCOPED_TRACE(rounds);
    test::TemporaryFolder folder;
    {
      Federation first;
      first.options.evaluate_every = 2;
      first.journal = *Journal::Create(folder.path(), Durability::kProcess);
      // An answer that never comes: as if the process had died in the middle of the round.
      first.pool.script = [&](const Task& task, ClientId client) -> Outcome {
        if (task.round == rounds) return ClientFailure{client, "train", "ABORTED", "killed", 0};
        return first.pool.Honest(task, client);
      };
      EXPECT_EQ(first.Run().ok(), rounds == 5);
    }
    Federation second;
    second.options.evaluate_every = 2;
    second.journal = *Journal::Open(folder.path(), Durability::kProcess);
    const auto model = second.Run();
    ASSERT_TRUE(model.ok()) << model.status();
    EXPECT_EQ(ModelSha256(*model), ModelSha256(*expected));
    EXPECT_EQ(second.recorder.run_started.first_round, rounds);
    EXPECT_EQ(second.engine->totals().download_bytes, whole.engine->totals().download_bytes);
    const auto records = second.journal->Records();
    ASSERT_TRUE(records.ok());
    ASSERT_EQ(records->size(), 5U);
    for (size_t i = 0; i < 5; ++i) {
      const auto record = RoundRecordFromJson((*records)[i]);
      ASSERT_TRUE(record.ok()) << record.status();
      EXPECT_EQ(WithoutSeconds(*record), WithoutSeconds(whole.recorder.records[i]));
    }
  }
}

TEST(RoundEngine, FinishedRunGivesItsModelAtOnce) {
  test::TemporaryFolder folder;
  std::vector<float> model;
  {
    Federation federation;
    federation.options.stop_loss = 1e9;
    federation.journal = *Journal::Create(folder.path(), Durability::kProcess);
    model = *federation.Run();
    EXPECT_EQ(*federation.journal->Get("finished"), "loss");
  }
  Federation again;  // without the stop rule: what counts is what the journal says
  again.journal = *Journal::Open(folder.path(), Durability::kProcess);
  EXPECT_EQ(*again.Run(), model);
  EXPECT_THAT(again.recorder.log, ElementsAre("run from 1", "finished: loss"));
}

TEST(RoundEngine, StopRuleHoldsAlsoIfTheRunDiedBeforeItSaidSo) {
  test::TemporaryFolder folder;
  std::vector<float> model;
  {
    Federation federation;
    federation.options.stop_loss = 1e9;
    federation.journal = *Journal::Create(folder.path(), Durability::kProcess);
    model = *federation.Run();
    ASSERT_TRUE(federation.journal->Put("finished", "stopped").ok());  // as good as never said
  }
  Federation again;
  again.options.stop_loss = 1e9;
  again.journal = *Journal::Open(folder.path(), Durability::kProcess);
  EXPECT_EQ(*again.Run(), model);
  EXPECT_THAT(again.recorder.log, ElementsAre("run from 1", "finished: loss"));
  EXPECT_EQ(*again.journal->Get("finished"), "loss");
}

TEST(RoundEngine, StoppedRunGoesOn) {
  Federation whole;
  const auto expected = whole.Run();
  test::TemporaryFolder folder;
  {
    Federation first;
    first.journal = *Journal::Create(folder.path(), Durability::kProcess);
    first.recorder.on_event = [&](const std::string& event) {
      if (event == "round 2") first.engine->RequestStop();
    };
    ASSERT_TRUE(first.Run().ok());
    EXPECT_EQ(*first.journal->Get("finished"), "stopped");
  }
  Federation second;
  second.journal = *Journal::Open(folder.path(), Durability::kProcess);
  EXPECT_EQ(*second.Run(), *expected);
  EXPECT_EQ(second.recorder.log.front(), "run from 3");
  EXPECT_EQ(*second.journal->Get("finished"), "rounds");
}

TEST(RoundEngine, RecordHasTheTimeOfEveryPhase) {
  Federation federation;
  ASSERT_TRUE(federation.Run().ok());
  std::vector<std::string> phases;
  for (const auto& [phase, seconds] : federation.recorder.records[0].seconds) {
    phases.push_back(phase);
    EXPECT_GE(seconds, 0);
  }
  EXPECT_THAT(phases, ElementsAre("apply", "commit", "evaluate", "select", "total", "train"));
}

}  // namespace
}  // namespace muster
