#include "core/config.h"

#include <gmock/gmock.h>
#include <google/protobuf/util/message_differencer.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cmath>
#include <filesystem>
#include <fstream>
#include <limits>

namespace muster {
namespace {

using google::protobuf::util::MessageDifferencer;
using ::testing::HasSubstr;

// Stand-ins for the real plug-ins, which are in rooms that core knows nothing of.
struct FakeModel {
  using Interface = FakeModel;
  static constexpr char kKind[] = "model";
  static constexpr char kList[] = "models";
  struct Context {};
};
struct FakeModelOptions {
  int64_t hidden = 200;
  std::string file;
  std::vector<std::string> parts;
};
struct FakeFileOptions {
  std::string path;
};
MUSTER_REGISTER(FakeModel, Plugin<FakeModelOptions>("mlp", "A model")
                               .Option("hidden", &FakeModelOptions::hidden, "units", Between(1, 4096))
                               .Option("file", &FakeModelOptions::file, "weights", FilePath())
                               .Option("parts", &FakeModelOptions::parts, "more weights", FilePath())
                               .Make<FakeModel>());
MUSTER_REGISTER(FakeModel, Plugin("linear", "Another model").Make<FakeModel>());
MUSTER_REGISTER(FakeModel, Plugin<FakeFileOptions>("saved", "From a file")
                               .Required("path", &FakeFileOptions::path, "where it is", FilePath())
                               .Make<FakeModel>());

struct FakeOptimizer {
  using Interface = FakeOptimizer;
  static constexpr char kKind[] = "optimizer";
  static constexpr char kList[] = "optimizers";
  struct Context {};
};
struct FakeOptimizerOptions {
  double learning_rate = 0.1;
  bool nesterov = false;
  std::string norm = "l2";
  std::vector<double> betas = {0.9, 0.999};
  std::vector<int64_t> milestones;
  double clip = std::numeric_limits<double>::infinity();
};
Plugin<FakeOptimizerOptions> OptimizerPlugin(const char* name) {
  return Plugin<FakeOptimizerOptions>(name, "An optimiser")
      .Option("learning_rate", &FakeOptimizerOptions::learning_rate, "step size", Above(0))
      .Option("nesterov", &FakeOptimizerOptions::nesterov, "look ahead")
      .Option("norm", &FakeOptimizerOptions::norm, "which norm", OneOf({"l1", "l2"}))
      .Option("betas", &FakeOptimizerOptions::betas, "two averages", Within(0, 1))
      .Option("milestones", &FakeOptimizerOptions::milestones, "rounds", AtLeast(1))
      .Option("clip", &FakeOptimizerOptions::clip, "largest norm", Above(0));
}
MUSTER_REGISTER(FakeOptimizer, OptimizerPlugin("sgd").Make<FakeOptimizer>());
MUSTER_REGISTER(FakeOptimizer, OptimizerPlugin("adam").Make<FakeOptimizer>());

absl::Status Load(const std::string& yaml, v1::Experiment& config,
                  const std::vector<std::string>& overrides = {}, const std::string& folder = "/nowhere") {
  return LoadConfig(yaml, "exp.yaml", folder, overrides, config);
}

v1::Experiment MustLoad(const std::string& yaml, const std::vector<std::string>& overrides = {}) {
  v1::Experiment config;
  const absl::Status status = Load(yaml, config, overrides);
  EXPECT_TRUE(status.ok()) << status;
  return config;
}

double Number(const v1::Plugin& plugin, const std::string& option) {
  return plugin.options().at(option).number();
}

TEST(Config, FillsEveryDefault) {
  const v1::Experiment config = MustLoad("model: linear\n");
  EXPECT_TRUE(config.has_name());
  EXPECT_EQ(config.name(), "federation");
  EXPECT_TRUE(config.has_seed());
  EXPECT_EQ(config.data().clients(), 100);
  EXPECT_TRUE(config.data().has_clients());
  EXPECT_TRUE(config.data().trust().has_source());
  EXPECT_EQ(config.data().partition().name(), "iid");  // no partitions in this program: taken as it is
  EXPECT_EQ(config.training().optimizer().name(), "sgd");
  EXPECT_EQ(Number(config.training().optimizer(), "learning_rate"), 0.1);
  EXPECT_EQ(config.training().optimizer().options().at("betas").list().values_size(), 2);
  EXPECT_TRUE(config.has_record());
  EXPECT_TRUE(config.pin().has_cohorts());
}

TEST(Config, ReadsEveryKindOfValue) {
  const v1::Experiment config = MustLoad(R"(
name: "a: \"quoted\" # name"
seed: 9007199254740993   # more than a double holds
data:
  standardize: true
  validation_fraction: 1e-1
  partition: {name: dirichlet, alpha: 0.3, list: [1, 2.5], words: [a, "2"], flag: false, empty: []}
model: {name: mlp, hidden: 64}
training:
  optimizer:
    learning_rate: 1     # an integer where a number is needed
    milestones: [10, 20]
    clip: .inf
federation:              # nothing below it
stop: {accuracy: 1, loss: 1e3}
)");
  EXPECT_EQ(config.name(), "a: \"quoted\" # name");
  EXPECT_EQ(config.seed(), 9007199254740993u);
  EXPECT_TRUE(config.data().standardize());
  EXPECT_EQ(config.data().validation_fraction(), 0.1);
  const auto& partition = config.data().partition().options();
  EXPECT_EQ(partition.at("alpha").number(), 0.3);
  EXPECT_EQ(partition.at("list").list().values(0).number(), 1.0);
  EXPECT_EQ(partition.at("words").list().values(1).text(), "2");
  EXPECT_FALSE(partition.at("flag").boolean());
  EXPECT_TRUE(partition.at("empty").has_list());
  EXPECT_EQ(config.model().options().at("hidden").integer(), 64);
  EXPECT_EQ(config.training().optimizer().name(), "sgd");  // options without a name: the default plug-in's
  EXPECT_EQ(Number(config.training().optimizer(), "learning_rate"), 1.0);
  EXPECT_TRUE(std::isinf(Number(config.training().optimizer(), "clip")));
  EXPECT_EQ(config.federation().rounds(), 100);
  EXPECT_EQ(config.stop().loss(), 1000.0);
}

TEST(Config, AnchorsAreExpanded) {
  const v1::Experiment config =
      MustLoad("model: &m {name: mlp, hidden: 3}\ntraining: {epochs: &n 7, steps: *n}\n");
  EXPECT_EQ(config.training().steps(), 7);
}

TEST(Config, ListsOfPluginsAreReadCheckedAndWritten) {
  const v1::Experiment config =
      MustLoad("model: linear\nsimulation: {adversaries: [liar, {name: shirker, fraction: 0.5}]}\n");
  ASSERT_EQ(config.simulation().adversaries_size(), 2);
  EXPECT_EQ(ToPluginConfig(config.simulation().adversaries(0)).name, "liar");
  EXPECT_EQ(ToPluginConfig(config.simulation().adversaries(1)).options.at("fraction"), OptionValue(0.5));
  EXPECT_TRUE(MessageDifferencer::Equals(MustLoad(ConfigToYaml(config)), config)) << ConfigToYaml(config);
  EXPECT_EQ(MustLoad("model: linear\n", {"simulation.adversaries=[]"}).simulation().adversaries_size(), 0);
}

TEST(Config, OverridesOfAnotherFileNameItsLines) {
  const absl::StatusOr<YamlValue> tree = ParseYaml("one:\n  training.epochs: 0\n", "grid.yaml", true);
  ASSERT_TRUE(tree.ok());
  const YamlValue& value = tree->children[0].children[0];
  v1::Experiment config;
  const absl::Status status =
      LoadConfigWith("model: linear\n", "base.yaml", ".", {{value.key, value}}, config);
  EXPECT_THAT(Message(status), ::testing::StartsWith("grid.yaml:2: training.epochs: 0 is out of range"));
}

TEST(Config, ToPluginConfigKeepsTypes) {
  const PluginConfig plugin = ToPluginConfig(MustLoad("model: linear\ndata: {partition: {name: x, a: 1, b: "
                                                      "1.0, c: \"1\", d: true, e: [1.0, 2.0], f: [u]}}\n")
                                                 .data()
                                                 .partition());
  EXPECT_EQ(plugin.name, "x");
  EXPECT_EQ(plugin.options.at("a"), OptionValue(int64_t{1}));
  EXPECT_EQ(plugin.options.at("b"), OptionValue(1.0));
  EXPECT_EQ(plugin.options.at("c"), OptionValue(std::string("1")));
  EXPECT_EQ(plugin.options.at("d"), OptionValue(true));
  EXPECT_EQ(plugin.options.at("e"), OptionValue(std::vector<double>{1, 2}));
  EXPECT_EQ(plugin.options.at("f"), OptionValue(std::vector<std::string>{"u"}));
}

TEST(Config, OverridesSetReplaceAndCreate) {
  const std::string yaml = "model: mlp\ntraining: {optimizer: {name: sgd, nesterov: true, clip: 2}}\n";
  v1::Experiment config = MustLoad(yaml, {"training.optimizer=adam"});
  EXPECT_EQ(config.training().optimizer().name(), "adam");
  EXPECT_FALSE(config.training().optimizer().options().at("nesterov").boolean());  // the old options are gone

  config = MustLoad(yaml, {"training.optimizer.learning_rate=0.25", "data.trust.samples=7"});
  EXPECT_EQ(Number(config.training().optimizer(), "learning_rate"), 0.25);
  EXPECT_TRUE(config.training().optimizer().options().at("nesterov").boolean());
  EXPECT_EQ(config.data().trust().samples(), 7);

  config = MustLoad(
      yaml, {"model.hidden=5", "name=\"\"", "name=a=b", "federation.rounds=1", "federation.rounds=2"});
  EXPECT_EQ(config.model().name(), "mlp");  // a plain name grew into a map
  EXPECT_EQ(config.model().options().at("hidden").integer(), 5);
  EXPECT_EQ(config.name(), "a=b");
  EXPECT_EQ(config.federation().rounds(), 2);

  config =
      MustLoad(yaml, {"training={epochs: 3, optimizer: {name: adam, betas: [0, 0.5]}}", "training.steps=4"});
  EXPECT_EQ(config.training().epochs(), 3);
  EXPECT_EQ(config.training().steps(), 4);
}

TEST(Config, AnOverrideMayGiveWhatTheFileLacks) {
  EXPECT_EQ(MustLoad("name: x\n", {"model=linear"}).model().name(), "linear");
}

TEST(Config, YamlRoundTrip) {
  const v1::Experiment config = MustLoad(R"(
name: "line\nbreak \"and\" \\ tab\t: #"
seed: 18
data: {partition: {name: dirichlet, alpha: 0.1, words: ["", "true", "3", " x ", "-a", "ü"], none: []}}
model: {name: mlp, parts: [a, /b]}
training: {optimizer: {name: adam, learning_rate: 0.30000000000000004, clip: 1e22, milestones: [1, 2]}}
stop: {loss: 1.0e-5}
)");
  const std::string yaml = ConfigToYaml(config);
  v1::Experiment back;
  ASSERT_TRUE(LoadConfig(yaml, "config.yaml", "/elsewhere", {}, back).ok()) << yaml;
  EXPECT_TRUE(MessageDifferencer::Equals(config, back)) << yaml << config.DebugString() << back.DebugString();
  EXPECT_EQ(ConfigToYaml(back), yaml);
}

TEST(Config, YamlIsInSchemaOrderAndComplete) {
  const std::string yaml = ConfigToYaml(MustLoad("stop: {accuracy: 0.5}\nmodel: linear\nseed: 3\n"));
  EXPECT_THAT(
      yaml, ::testing::StartsWith("name: federation\nseed: 3\ndata:\n  dataset:\n    name: fashion_mnist\n"));
  EXPECT_THAT(yaml, HasSubstr("model:\n  name: linear\n"));
  EXPECT_THAT(yaml, HasSubstr("    betas: [0.9, 0.999]\n    clip: .inf\n    learning_rate: 0.1\n"));
  EXPECT_THAT(yaml, HasSubstr("stop:\n  accuracy: 0.5\n  loss: 0.0\n  upload_bytes: 0\n"));
  EXPECT_THAT(yaml, HasSubstr("pin:\n  partition: \"\"\n"));
}

TEST(Config, PathsBecomeAbsolute) {
  const std::filesystem::path folder =
      std::filesystem::path(::testing::TempDir()) / ("muster_config_" + std::to_string(::getpid()));
  std::filesystem::create_directories(folder / "sub");
  std::ofstream(folder / "pins.json") << "{}";
  v1::Experiment config;
  const std::string yaml =
      "model: {name: mlp, file: ../w.pt, parts: [a, /b/../c]}\npin: {partition: sub/../pins.json}\n";
  const absl::Status status = Load(yaml, config, {}, folder.string());
  ASSERT_TRUE(status.ok()) << status;
  EXPECT_EQ(config.pin().partition(), (folder / "pins.json").lexically_normal().string());
  const PluginConfig model = ToPluginConfig(config.model());
  EXPECT_EQ(model.options.at("file"),
            OptionValue((folder.parent_path() / "w.pt").lexically_normal().string()));
  EXPECT_EQ(std::get<std::vector<std::string>>(model.options.at("parts"))[1], "/c");

  EXPECT_EQ(Message(Load("model: linear\npin:\n  cohorts: no.json\n", config, {}, folder.string())),
            "exp.yaml:3: pin.cohorts: no such file: " + (folder / "no.json").lexically_normal().string());
  EXPECT_EQ(Message(Load("model: linear\npin:\n  cohorts: sub\n", config, {}, folder.string())),
            "exp.yaml:3: pin.cohorts: " + (folder / "sub").lexically_normal().string() +
                " is a folder, a file is needed");
  // What the command line says is seen from where it was typed.
  ASSERT_TRUE(Load("model: mlp\n", config, {"model.file=w.pt"}, folder.string()).ok());
  EXPECT_EQ(ToPluginConfig(config.model()).options.at("file"),
            OptionValue((std::filesystem::current_path() / "w.pt").string()));
  std::filesystem::remove_all(folder);
}

struct Wrong {
  const char* yaml;
  const char* message;
  std::vector<std::string> overrides = {};
};

class WrongConfig : public ::testing::TestWithParam<Wrong> {};

TEST_P(WrongConfig, IsRefusedInOneLine) {
  v1::Experiment config;
  const absl::Status status = Load(GetParam().yaml, config, GetParam().overrides);
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(Message(status), GetParam().message);
  EXPECT_EQ(Message(status).find('\n'), std::string::npos);
}

const Wrong kWrongFiles[] = {
    // Names.
    {"name: x\nmodel: mlp\ndata:\n  clinets: 3\n",
     "exp.yaml:4: data.clinets: unknown key, did you mean 'clients'?"},
    {"modle: mlp\n", "exp.yaml:1: modle: unknown key, did you mean 'model'?"},
    {"model: mlp\nzzzzzzzz: 1\n",
     "exp.yaml:2: zzzzzzzz: unknown key; known: name, seed, data, model, training, federation, evaluation, "
     "stop, pin, "
     "record, service, simulation"},
    {"model: mlp\ntraining:\n  optimizer:\n    name: sdg\n",
     "exp.yaml:4: training.optimizer.name: unknown 'sdg', did you mean 'sgd'?"},
    {"model: mlp\ntraining:\n  optimizer: sdg\n",
     "exp.yaml:3: training.optimizer.name: unknown 'sdg', did you mean 'sgd'?"},
    {"model: mlp\ntraining:\n  optimizer:\n    name: sgd\n    learning_rat: 1\n",
     "exp.yaml:5: training.optimizer.learning_rat: unknown option, did you mean 'learning_rate'?"},
    {"model: {name: linear, bias: true}\n", "exp.yaml:1: model.bias: unknown option; it takes none"},
    {"model: mlp\ndata:\n  clients: 3\n  clients: 4\n",
     "exp.yaml:4: data.clients: is given twice; remove one"},
    {"model: mlp\n? [a, b]\n: 1\n", "exp.yaml:2: a key must be a name"},
    // Types.
    {"model: mlp\ndata: {clients: many}\n",
     "exp.yaml:2: data.clients: must be an integer, not text \"many\""},
    {"model: mlp\ndata: {clients: \"20\"}\n",
     "exp.yaml:2: data.clients: must be an integer, not text \"20\""},
    {"model: mlp\ndata: {clients: 1e3}\n",
     "exp.yaml:2: data.clients: must be an integer, not the number 1000.0"},
    {"model: mlp\ndata: {clients: 2.5}\n",
     "exp.yaml:2: data.clients: must be an integer, not the number 2.5"},
    {"model: mlp\ndata: {clients: true}\n", "exp.yaml:2: data.clients: must be an integer, not true"},
    {"model: mlp\ndata: {standardize: yes}\n",
     "exp.yaml:2: data.standardize: must be true or false, not text \"yes\""},
    {"model: mlp\ndata: {standardize: 1}\n",
     "exp.yaml:2: data.standardize: must be true or false, not the integer 1"},
    {"model: mlp\nname: 20\n", "exp.yaml:2: name: must be text, not the integer 20; put it in quotes"},
    {"model: mlp\nstop: {loss: low}\n", "exp.yaml:2: stop.loss: must be a number, not text \"low\""},
    {"model: mlp\ndata: {clients: [1, 2]}\n",
     "exp.yaml:2: data.clients: must be an integer, not the list [1, 2]"},
    {"model: mlp\ndata: {clients: {a: 1}}\n",
     "exp.yaml:2: data.clients: must be a single value or a list, not a map"},
    {"model: mlp\ndata:\n  - clients\n", "exp.yaml:2: data: must be a map of settings, not a list"},
    {"model: mlp\ndata: 3\n", "exp.yaml:2: data: must be a map of settings, not the integer 3"},
    {"- model\n", "exp.yaml: must be a map of settings, not a list"},
    {"model\n", "exp.yaml: must be a map of settings, not text \"model\""},
    {"model: 3\n", "exp.yaml:1: model: must be a name, or a map of 'name' and options, not the integer 3"},
    {"model: [mlp]\n", "exp.yaml:1: model: must be a name, or a map of 'name' and options, not a list"},
    {"model:\n  name: 3\n", "exp.yaml:2: model.name: must be text, not the integer 3"},
    {"model: mlp\ndata:\n  clients:\n", "exp.yaml:3: data.clients: has no value; give one or remove it"},
    {"model: mlp\ntraining: {optimizer: {betas: [0.5, x]}}\n",
     "exp.yaml:2: training.optimizer.betas: must be a list of numbers or a list of texts, all alike"},
    {"model: mlp\ntraining: {optimizer: {betas: [[0.5], [1]]}}\n",
     "exp.yaml:2: training.optimizer.betas: must be a list of numbers or a list of texts, all alike"},
    {"model: mlp\ntraining: {optimizer: {betas: 0.5}}\n",
     "exp.yaml:2: training.optimizer.betas: must be a list of numbers, not the number 0.5"},
    {"model: mlp\ntraining: {optimizer: {learning_rate: {a: 1}}}\n",
     "exp.yaml:2: training.optimizer.learning_rate: must be a single value or a list, not a map"},
    // Ranges.
    {"model: mlp\ndata: {clients: 0}\n",
     "exp.yaml:2: data.clients: 0 is out of range, must be from 1 to 100000000"},
    {"model: mlp\nfederation: {rounds: -5}\n",
     "exp.yaml:2: federation.rounds: -5 is out of range, must be at least 1"},
    {"model: mlp\nseed: -1\n", "exp.yaml:2: seed: -1 is out of range, must be at least 0"},
    {"model: mlp\nseed: 99999999999999999999\n", "exp.yaml:2: seed: 1e+20 does not fit a 64-bit integer"},
    {"model: mlp\ndata: {validation_fraction: 0.95}\n",
     "exp.yaml:2: data.validation_fraction: 0.95 is out of range, must be from 0 to 0.9"},
    {"model: mlp\nstop: {loss: .nan}\n", "exp.yaml:2: stop.loss: .nan is not a finite number"},
    {"model: mlp\nstop: {loss: .inf}\n", "exp.yaml:2: stop.loss: .inf is not a finite number"},
    {"model: mlp\nstop: {loss: 1e999}\n", "exp.yaml:2: stop.loss: .inf is not a finite number"},
    {"model: mlp\ntraining:\n  loss: cross-entropy\n",
     "exp.yaml:3: training.loss: unknown 'cross-entropy', did you mean 'cross_entropy'?"},
    {"model: mlp\ntraining:\n  optimizer:\n    learning_rate: 0\n",
     "exp.yaml:4: training.optimizer.learning_rate: 0 is out of range, must be above 0"},
    {"model: mlp\ntraining: {optimizer: {betas: [0.5, 1]}}\n",
     "exp.yaml:2: training.optimizer.betas: 1 is out of range, must be at least 0 and below 1"},
    // What is missing.
    {"name: x\n", "exp.yaml: model: is missing; it must be given, one of: linear, mlp, saved"},
    {"name: x\nmodel: {hidden: 3}\n",
     "exp.yaml:2: model.name: is missing; it must be given, one of: linear, mlp, saved"},
    {"name: x\nmodel:\n", "exp.yaml:2: model: must be a name, or a map of 'name' and options, not nothing"},
    {"name: x\nmodel: saved\n", "exp.yaml:2: model.path: is missing; it must be given (text: where it is)"},
    // Broken YAML.
    {"", "exp.yaml: is empty; it must hold a map of settings"},
    {"# nothing but a comment\n", "exp.yaml: is empty; it must hold a map of settings"},
    {"model: mlp\ndata:\n\tclients: 3\n", "exp.yaml:3: indented with a tab; YAML needs spaces"},
    {"model: mlp\ndata: {clients: 3\n", "exp.yaml:2: not valid YAML: end of map flow not found"},
    {"model: mlp\n name: x\n", "exp.yaml:2: not valid YAML: illegal map value"},
    {"model: mlp\nname: *nobody\n", "exp.yaml:2: not valid YAML: the referenced anchor is not defined"},
    {"model: mlp\n---\nmodel: linear\n", "exp.yaml: holds 2 YAML documents, must be one; remove '---'"},
    {"model: mlp\n]\n", "exp.yaml:2: not valid YAML: illegal flow end"},
    {"model: mlp\nname: \"x\n", "exp.yaml:2: not valid YAML: illegal EOF in scalar"},
};
INSTANTIATE_TEST_SUITE_P(Files, WrongConfig, ::testing::ValuesIn(kWrongFiles));

const Wrong kWrongOverrides[] = {
    {"model: mlp\n",
     "--set data.clients=many: data.clients: must be an integer, not text \"many\"",
     {"data.clients=many"}},
    {"model: mlp\n",
     "--set data.clinets=3: data.clinets: unknown key, did you mean 'clients'?",
     {"data.clinets=3"}},
    {"model: mlp\n",
     "--set training.optimizer=sdg: training.optimizer.name: unknown 'sdg', did you mean 'sgd'?",
     {"training.optimizer=sdg"}},
    {"model: mlp\ntraining: {optimizer: adam}\n",
     "--set training.optimizer.learning_rate=-1: training.optimizer.learning_rate: -1 is out of range, must "
     "be above 0",
     {"training.optimizer.learning_rate=-1"}},
    {"model: mlp\n", "--set training.epochs: has no '='; write --set PATH=VALUE", {"training.epochs"}},
    {"model: mlp\n", "--set =3: '' has an empty name in it; write a.b", {"=3"}},
    {"model: mlp\n",
     "--set data..clients=3: 'data..clients' has an empty name in it; write a.b",
     {"data..clients=3"}},
    {"model: mlp\n",
     "--set data.clients=: data.clients: has no value; give one or remove it",
     {"data.clients="}},
    {"model: mlp\n",
     "--set data.clients.a=3: data.clients: must be a single value or a list, not a map",
     {"data.clients.a=3"}},
    {"model: mlp\ndata: {clients: 3}\n",
     "--set data.clients.a=3: data.clients: is the integer 3, not a map; nothing can be set in it",
     {"data.clients.a=3"}},
    {"model: mlp\ntraining: {optimizer: {betas: [0, 0]}}\n",
     "--set training.optimizer.betas.0=3: training.optimizer.betas: is a list; set it as a whole, e.g. --set "
     "training.optimizer.betas=[1, 2]",
     {"training.optimizer.betas.0=3"}},
    {"model: mlp\n", "--set name={: not valid YAML: end of map flow not found", {"name={"}},
    {"model: mlp\n", "--set name=a b: 3: not valid YAML: illegal map value", {"name=a\nb: 3"}},
};
INSTANTIATE_TEST_SUITE_P(Overrides, WrongConfig, ::testing::ValuesIn(kWrongOverrides));

TEST(Config, RefusesTreesThatAliasesMakeHuge) {
  std::string yaml = "model: mlp\na0: &a0 [x, x, x, x, x, x, x, x, x]\n";
  for (int i = 1; i < 10; ++i) {
    const std::string below = "*a" + std::to_string(i - 1);
    yaml += "a" + std::to_string(i) + ": &a" + std::to_string(i) + " [" + below;
    for (int j = 0; j < 8; ++j) yaml += ", " + below;
    yaml += "]\n";
  }
  v1::Experiment config;
  EXPECT_THAT(Message(Load(yaml, config)), HasSubstr("too large for a configuration"));
  EXPECT_THAT(Message(Load("model: &m {name: *m}\n", config)), HasSubstr("exp.yaml:1"));
  EXPECT_FALSE(Load("model: " + std::string(100000, '['), config).ok());
}

}  // namespace
}  // namespace muster
