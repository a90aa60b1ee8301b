#include "core/options.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>

namespace muster {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

struct Sample {
  int64_t count = 3;
  int small = 4;
  double rate = 0.5;
  float momentum = 0.25f;
  bool nesterov = false;
  std::string norm = "l2";
  std::vector<int64_t> sizes = {1, 2};
  std::vector<double> betas = {0.9, 0.99};
  std::vector<std::string> words;
  double clip = kInfinity;
  std::string must;
};

OptionTable<Sample> Table() {
  OptionTable<Sample> table;
  table.Add("count", &Sample::count, "how many", AtLeast(1), false);
  table.Add("small", &Sample::small, "", {}, false);
  table.Add("rate", &Sample::rate, "", Within(0, 1), false);
  table.Add("momentum", &Sample::momentum, "", {}, false);
  table.Add("nesterov", &Sample::nesterov, "", {}, false);
  table.Add("norm", &Sample::norm, "", OneOf({"l1", "l2", "linf"}), false);
  table.Add("sizes", &Sample::sizes, "", AtLeast(1), false);
  table.Add("betas", &Sample::betas, "", AboveUpTo(0, 1), false);
  table.Add("words", &Sample::words, "", {}, false);
  table.Add("clip", &Sample::clip, "", Above(0), false);
  table.Add("must", &Sample::must, "has no default", {}, true);
  return table;
}

absl::StatusOr<OptionMap> Check(OptionMap given) {
  given.emplace("must", std::string("x"));
  return CheckOptions(Table().infos(), given);
}
std::string Error(OptionMap given) { return Message(Check(std::move(given)).status()); }

TEST(Options, DefaultsComplete) {
  const OptionMap options = *Check({});
  EXPECT_EQ(options.size(), 11u);
  EXPECT_EQ(options.at("small"), OptionValue(int64_t{4}));
  EXPECT_EQ(options.at("momentum"), OptionValue(0.25));
  const Sample sample = Table().Parse(options);
  EXPECT_EQ(sample.count, 3);
  EXPECT_EQ(sample.norm, "l2");
  EXPECT_EQ(sample.betas, (std::vector<double>{0.9, 0.99}));
  EXPECT_EQ(sample.clip, kInfinity);
}

TEST(Options, GivenValuesReachTheStruct) {
  const Sample sample = Table().Parse(*Check({{"count", int64_t{7}},
                                              {"small", int64_t{-2}},
                                              {"rate", int64_t{0}},  // an integer is a number too
                                              {"momentum", 0.5},
                                              {"nesterov", true},
                                              {"norm", std::string("l1")},
                                              {"sizes", std::vector<int64_t>{}},
                                              {"betas", std::vector<int64_t>{1}},
                                              {"words", std::vector<int64_t>{}},
                                              {"clip", 2.0}}));
  EXPECT_EQ(sample.count, 7);
  EXPECT_EQ(sample.small, -2);
  EXPECT_EQ(sample.rate, 0);
  EXPECT_EQ(sample.momentum, 0.5f);
  EXPECT_TRUE(sample.nesterov);
  EXPECT_EQ(sample.norm, "l1");
  EXPECT_TRUE(sample.sizes.empty());
  EXPECT_EQ(sample.betas, std::vector<double>{1});
  EXPECT_TRUE(sample.words.empty());
  EXPECT_EQ(sample.clip, 2);
  EXPECT_EQ(sample.must, "x");
}

TEST(Options, ErrorsNameTheOptionAndTheRemedy) {
  const std::string text = "many";
  EXPECT_EQ(Error({{"count", text}}), "count: must be an integer, not text \"many\"");
  EXPECT_EQ(Error({{"count", 2.5}}), "count: must be an integer, not the number 2.5");
  EXPECT_EQ(Error({{"count", 1e30}}), "count: 1e+30 does not fit a 64-bit integer");
  EXPECT_EQ(Error({{"count", int64_t{0}}}), "count: 0 is out of range, must be at least 1");
  EXPECT_EQ(Error({{"rate", 1.0}}), "rate: 1 is out of range, must be at least 0 and below 1");
  EXPECT_EQ(Error({{"rate", -0.25}}), "rate: -0.25 is out of range, must be at least 0 and below 1");
  EXPECT_EQ(Error({{"rate", std::numeric_limits<double>::quiet_NaN()}}), "rate: .nan is not a finite number");
  EXPECT_EQ(Error({{"momentum", kInfinity}}), "momentum: .inf is not a finite number");
  EXPECT_EQ(Error({{"clip", -kInfinity}}), "clip: -.inf is not a finite number");
  EXPECT_EQ(Error({{"clip", kInfinity}}), "");
  EXPECT_EQ(Error({{"betas", std::vector<double>{0.5, 0}}}),
            "betas: 0 is out of range, must be above 0 and at most 1");
  EXPECT_EQ(Error({{"sizes", std::vector<int64_t>{1, -1}}}), "sizes: -1 is out of range, must be at least 1");
  EXPECT_EQ(Error({{"sizes", int64_t{1}}}), "sizes: must be a list of integers, not the integer 1");
  EXPECT_EQ(Error({{"sizes", std::vector<double>{1.5}}}),
            "sizes: must be a list of integers, not the list [1.5]");
  EXPECT_EQ(Error({{"nesterov", int64_t{1}}}), "nesterov: must be true or false, not the integer 1");
  EXPECT_EQ(Error({{"norm", std::string("l3")}}), "norm: unknown 'l3', did you mean 'l1'?");
  EXPECT_EQ(Error({{"norm", std::string("euclid")}}), "norm: unknown 'euclid'; known: l1, l2, linf");
  EXPECT_EQ(Error({{"norm", true}}), "norm: must be text, not true; put it in quotes");
  EXPECT_EQ(Error({{"cuont", int64_t{3}}}), "cuont: unknown option, did you mean 'count'?");
  EXPECT_EQ(Message(CheckOptions(Table().infos(), {}).status()),
            "must: is missing; it must be given (text: has no default)");
  EXPECT_EQ(Message(CheckOptions({}, {{"x", true}}).status()), "x: unknown option; it takes none");
}

TEST(Options, RangesInWords) {
  const auto range = [](Allowed allowed) { return OptionInfo{"x", "", 0.0, std::move(allowed)}.range(); };
  EXPECT_EQ(range({}), "");
  EXPECT_EQ(range(AtLeast(1)), "at least 1");
  EXPECT_EQ(range(Above(0.5)), "above 0.5");
  EXPECT_EQ(range(Between(1, 1e8)), "from 1 to 100000000");
  EXPECT_EQ(range(Within(0, 1)), "at least 0 and below 1");
  EXPECT_EQ(range(AboveUpTo(0, 1)), "above 0 and at most 1");
  EXPECT_EQ(range({.max = 3}), "at most 3");
  EXPECT_EQ(range({.max = 3, .below_max = true}), "below 3");
  EXPECT_EQ(range(OneOf({"a", "b"})), "one of a, b");
  EXPECT_EQ(range(FilePath()), "");
}

TEST(Options, TypesInWords) {
  std::vector<std::string> types;
  for (const OptionInfo& info : Table().infos()) types.push_back(info.type());
  EXPECT_EQ(types, (std::vector<std::string>{"integer", "integer", "number", "number", "true or false",
                                             "text", "list of integers", "list of numbers", "list of texts",
                                             "number", "text"}));
}

TEST(Options, ToStringIsYaml) {
  EXPECT_EQ(ToString(true), "true");
  EXPECT_EQ(ToString(int64_t{-3}), "-3");
  EXPECT_EQ(ToString(0.1), "0.1");
  EXPECT_EQ(ToString(1.0), "1.0");  // or it would come back as an integer
  EXPECT_EQ(ToString(0.1 + 0.2), "0.30000000000000004");
  EXPECT_EQ(ToString(1e300), "1e+300");
  EXPECT_EQ(ToString(5e-324), "4.94066e-324");  // the shortest that reads back
  EXPECT_EQ(ToString(kInfinity), ".inf");
  EXPECT_EQ(ToString(-kInfinity), "-.inf");
  EXPECT_EQ(ToString(std::string("plain_text-1.x/y")), "plain_text-1.x/y");
  for (const char* text : {"true", "No", "null", "~", "12", "1e3", "-x", ".5", "a b", "a: b", "#c", ""}) {
    EXPECT_EQ(ToString(std::string(text)), "\"" + std::string(text) + "\"");
  }
  EXPECT_EQ(ToString(std::string("a\n\"\\\t")), R"("a\n\"\\\x09")");
  EXPECT_EQ(ToString(std::vector<double>{1, 0.5}), "[1.0, 0.5]");
  EXPECT_EQ(ToString(std::vector<std::string>{"a", "1"}), "[a, \"1\"]");
  EXPECT_EQ(ToString(std::vector<int64_t>{}), "[]");
}

TEST(Options, NearestName) {
  const std::vector<std::string> known = {"sgd", "adam", "adamw", "learning_rate", "momentum"};
  EXPECT_EQ(NearestName("sdg", known), "sgd");  // a transposition
  EXPECT_EQ(NearestName("adma", known), "adam");
  EXPECT_EQ(NearestName("learning_rte", known), "learning_rate");
  EXPECT_EQ(NearestName("learnrate", known), "");  // four edits of nine
  EXPECT_EQ(NearestName("momentun", known), "momentum");
  EXPECT_EQ(NearestName("xyz", known), "");  // as far as its own length
  EXPECT_EQ(NearestName("", known), "");
  EXPECT_EQ(NearestName("sgd", {}), "");
  EXPECT_EQ(Suggestion("sdg", known), ", did you mean 'sgd'?");
  EXPECT_EQ(Suggestion("q", {"alpha", "beta"}), "; known: alpha, beta");
  EXPECT_EQ(Suggestion("q", {}), "");
}

}  // namespace
}  // namespace muster
