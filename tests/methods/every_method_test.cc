// What holds for every registered method.
#include <algorithm>

#include "gmock/gmock.h"
#include "tests/methods/quadratics.h"
#include "tests/server/plugin_options.h"

namespace muster {
namespace {

using test::Quadratic;
using test::QuadraticFederation;
using ::testing::HasSubstr;

const std::vector<Quadratic> kClients = {{.curvature = 1, .centre = 0, .steps = 5, .samples = 3},
                                         {.curvature = 4, .centre = 10, .steps = 7, .samples = 1},
                                         {.curvature = 2, .centre = -5, .steps = 3, .samples = 7},
                                         {.curvature = 3, .centre = 2, .steps = 4, .samples = 5}};

Layout WithBuffer() {
  Layout layout;
  layout.Add("weight", {2, 3}, true);
  layout.Add("running_mean", {2}, false);
  return layout;
}

// Two of four clients a round, weighed by samples.
struct TwoOfFour : QuadraticFederation {
  explicit TwoOfFour(const std::string& method)
      : QuadraticFederation({method, {}}, kClients, {"sgd", {}}, WithBuffer()) {
    options.aggregator = {.name = "fedavg", .options = {}};
    policy.clients = 2;
    pool->buffer_change = 0.25F;
  }
};

class EveryMethod : public testing::TestWithParam<std::string> {};

TEST_P(EveryMethod, StoppedAndResumedEndsWithTheSameBits) {
  TwoOfFour whole(GetParam());
  const std::vector<float> expected = whole.Run(9);
  ASSERT_TRUE(whole.status.ok()) << whole.status;

  const test::TemporaryFolder folder;
  TwoOfFour first(GetParam());
  first.journal = *Journal::Create(folder.path(), Durability::kProcess);
  first.Run(4);
  TwoOfFour second(GetParam());
  second.pool->memories = first.pool->memories;
  first.journal.reset();
  second.journal = *Journal::Open(folder.path(), Durability::kProcess);
  ASSERT_TRUE(second.journal->Put("finished", "stopped").ok());
  EXPECT_EQ(second.Run(9), expected);
}

TEST_P(EveryMethod, TheOrderOfArrivalDoesNotChangeABit) {
  TwoOfFour ascending(GetParam()), descending(GetParam());
  descending.pool->order = [](std::vector<ClientId>& clients) {
    std::reverse(clients.begin(), clients.end());
  };
  EXPECT_EQ(descending.Run(6), ascending.Run(6));
}

TEST_P(EveryMethod, ALostUpdateLeavesNoTrace) {
  TwoOfFour federation(GetParam());
  federation.pool->lost = [](int64_t, ClientId client) { return client == 2; };
  EXPECT_FALSE(federation.Run(6).empty()) << federation.status;
  EXPECT_EQ(federation.pool->memories[2], State());
}

TEST_P(EveryMethod, TryingCandidatesOutChangesNothing) {
  TwoOfFour plain(GetParam()), trying(GetParam());
  trying.policy.keep_updates = true;
  int64_t tried = 0;
  trying.policy.observe = [&](const AfterRound& round) -> absl::StatusOr<std::optional<SearchRecord>> {
    for (size_t k = 0; k < round.kept->clients.size(); ++k) {
      const size_t one[] = {k};
      MUSTER_RETURN_IF_ERROR(round.kept->candidate(one).status());
      ++tried;
    }
    return std::nullopt;
  };
  EXPECT_EQ(trying.Run(6), plain.Run(6));
  EXPECT_EQ(tried, 12);
}

// The candidate of all who answered is the round itself; its weights are those that ISP asks for.
TEST_P(EveryMethod, TheCandidateOfAllIsTheRound) {
  TwoOfFour federation(GetParam());
  federation.policy.keep_updates = true;
  federation.policy.uniform_weights = true;
  std::vector<std::vector<float>> candidates;
  federation.policy.observe = [&](const AfterRound& round) -> absl::StatusOr<std::optional<SearchRecord>> {
    const size_t all[] = {0, 1};
    MUSTER_ASSIGN_OR_RETURN(candidates.emplace_back(), round.kept->candidate(all));
    return std::nullopt;
  };
  const std::vector<float> model = federation.Run(5);
  ASSERT_EQ(candidates.size(), 5U);
  EXPECT_EQ(candidates.back(), model);
}

TEST_P(EveryMethod, BuffersAreAveragedAsTheyAre) {
  TwoOfFour federation(GetParam());
  const std::vector<float> model = federation.Run(3);
  ASSERT_EQ(model.size(), 8U);
  EXPECT_EQ(model[6], 0.75F);
  EXPECT_EQ(model[7], 0.75F);
}

TEST_P(EveryMethod, AModelOfNothingIsNoTrouble) {
  const Layout nothing;
  const auto method = test::MakeMethod({GetParam(), {}}, nothing);
  std::map<std::string, std::shared_ptr<const std::vector<float>>> vectors;
  State server, client;
  for (auto& [name, values] : method->Broadcast(server)) {
    EXPECT_TRUE(values.empty());
    vectors[name] = std::make_shared<const std::vector<float>>(values);
  }
  auto local = method->Start({.model = {}, .vectors = vectors, .learning_rate_factor = 1}, client);
  ASSERT_TRUE(local.ok()) << local.status();
  std::vector<float> delta;
  std::map<std::string, std::vector<float>> extras;
  std::map<std::string, std::vector<double>> numbers, report;
  if (*local != nullptr) {
    LocalMethod::Work work{1, 1, delta, extras, numbers};
    EXPECT_TRUE((*local)->Finish(work, client).ok());
  }
  std::map<std::string, double> scalars;
  for (const auto& [name, values] : numbers) scalars[name] = values.front();
  Method::Round round{delta, extras, scalars, 1, report};
  EXPECT_TRUE(method->Combine(round, server).ok());
}

TEST_P(EveryMethod, AnUpdateWithoutWhatTheMethodNeedsIsRefusedByName) {
  TwoOfFour federation(GetParam());
  std::vector<std::string> names = federation.method->Extras();
  for (const std::string& name : federation.method->Scalars()) names.push_back(name);
  for (const std::string& name : names) {
    SCOPED_TRACE(name);
    TwoOfFour lacking(GetParam());
    lacking.pool->change = [&](Update& update) {
      if (update.client != 1) return;
      update.extras.erase(name);
      update.numbers.erase(name);
    };
    lacking.policy.clients = 4;
    lacking.Run(1);
    ASSERT_TRUE(lacking.status.ok()) << lacking.status;
    ASSERT_EQ(lacking.recorder.records.at(0).failures.size(), 1U);
    EXPECT_THAT(lacking.recorder.records[0].failures[0].message,
                HasSubstr(absl::StrCat("'", name, "' is missing")));
    EXPECT_EQ(lacking.pool->memories[1], State());
  }
}

TEST_P(EveryMethod, AnUpdateWithWhatTheMethodDoesNotKnowIsRefusedByName) {
  TwoOfFour federation(GetParam());
  federation.policy.clients = 4;
  federation.pool->change = [](Update& update) {
    if (update.client == 0) update.extras["method/other"] = test::EncodeExtra("method/other", {1, 2});
    if (update.client == 1) update.numbers["method/another"] = {1};
  };
  federation.Run(1);
  const RoundRecord& record = federation.recorder.records.at(0);
  ASSERT_EQ(record.failures.size(), 2U);
  EXPECT_THAT(record.failures[0].message, HasSubstr("'method/other' was not asked for"));
  EXPECT_THAT(record.failures[1].message, HasSubstr("'method/another' was not asked for"));
}

TEST_P(EveryMethod, AnExtraVectorOfAnotherModelIsRefusedByName) {
  for (const std::string& name : TwoOfFour(GetParam()).method->Extras()) {
    TwoOfFour federation(GetParam());
    federation.policy.clients = 4;
    federation.pool->change = [&](Update& update) {
      if (update.client == 0) update.extras[name] = test::EncodeExtra(name, std::vector<float>(7));
    };
    federation.Run(1);
    EXPECT_THAT(federation.recorder.records.at(0).failures.at(0).message,
                HasSubstr(absl::StrCat("'", name, "'")));
  }
}

TEST_P(EveryMethod, ANumberOutOfItsRangeIsRefusedByName) {
  for (const std::string& name : TwoOfFour(GetParam()).method->Scalars()) {
    for (const std::vector<double>& values : {std::vector<double>{}, {0.0}, {-1.0}, {1e30}, {1.0, 2.0}}) {
      TwoOfFour federation(GetParam());
      federation.policy.clients = 4;
      federation.pool->change = [&](Update& update) {
        if (update.client == 3) update.numbers[name] = values;
      };
      federation.Run(1);
      const RoundRecord& record = federation.recorder.records.at(0);
      ASSERT_EQ(record.failures.size(), 1U);
      EXPECT_THAT(record.failures[0].message, HasSubstr(absl::StrCat("'", name, "'")));
    }
  }
}

TEST_P(EveryMethod, AClientRefusesVectorsThatAreMissingOrOfAnotherModel) {
  const Layout layout = WithBuffer();
  const auto method = test::MakeMethod({GetParam(), {}}, layout);
  const std::vector<float> start(8);
  for (const auto& [name, values] : method->Broadcast(State())) {
    EXPECT_EQ(values.size(), 8U);
    std::map<std::string, std::shared_ptr<const std::vector<float>>> vectors;
    const Method::Job job{.model = start, .vectors = vectors, .learning_rate_factor = 1};
    EXPECT_THAT(Message(method->Start(job, State()).status()), HasSubstr(absl::StrCat("'", name, "'")));
    vectors[name] = std::make_shared<const std::vector<float>>(7);
    EXPECT_THAT(Message(method->Start(job, State()).status()), HasSubstr(absl::StrCat("'", name, "'")));
  }
}

TEST_P(EveryMethod, AMemoryOfAnotherModelIsRefused) {
  TwoOfFour federation(GetParam());
  federation.policy.clients = 4;
  federation.Run(1);
  const State memory = federation.pool->memories[0];
  for (const auto& [name, values] : memory.vectors) {
    State other = memory;
    other.vectors[name].pop_back();
    const std::vector<float> start(8);
    std::map<std::string, std::shared_ptr<const std::vector<float>>> vectors;
    for (const auto& [sent, content] : federation.method->Broadcast(State())) {
      vectors[sent] = std::make_shared<const std::vector<float>>(content);
    }
    const auto local =
        federation.method->Start({.model = start, .vectors = vectors, .learning_rate_factor = 1}, other);
    EXPECT_THAT(Message(local.status()), HasSubstr(name));
  }
}

TEST_P(EveryMethod, ChecksItsOptions) {
  const Layout layout = WithBuffer();
  ExpectOptionsAreChecked<Method>(GetParam(), {.layout = &layout});
}

INSTANTIATE_TEST_SUITE_P(All, EveryMethod, testing::ValuesIn(Registry<Method>::Get().Names()),
                         [](const auto& info) { return info.param; });

// What they are without their parameter.
class WithoutItsParameter : public testing::TestWithParam<PluginConfig> {};

TEST_P(WithoutItsParameter, IsFedAvgBitForBit) {
  QuadraticFederation averaged({"none", {}}, kClients, {"sgd", {}}, WithBuffer());
  QuadraticFederation federation(GetParam(), kClients, {"sgd", {}}, WithBuffer());
  EXPECT_EQ(federation.Run(8), averaged.Run(8));
}

INSTANTIATE_TEST_SUITE_P(Methods, WithoutItsParameter,
                         testing::Values(PluginConfig{"fedprox", {{"mu", 0.0}}},
                                         PluginConfig{"scaffold", {{"correction", 0.0}}},
                                         PluginConfig{"feddyn", {{"alpha", 0.0}}}),
                         [](const auto& info) { return info.param.name; });

}  // namespace
}  // namespace muster
