// Loaders on small files whose content is known by heart.
#include <gmock/gmock.h>

#include <bit>

#include "tests/data/data_test_util.h"

namespace muster {
namespace {

using test::BigEndian32;
using test::IdxBytes;
using test::IdxHeader;
using test::Load;
using test::TempFolder;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

OptionMap IdxOptions() {
  return {{"train_inputs", std::string("x")},
          {"train_labels", std::string("y")},
          {"test_inputs", std::string("tx")},
          {"test_labels", std::string("ty")}};
}

void WriteSignals(const TempFolder& folder) {
  folder.Write("x", IdxBytes({2, 3}, {0, 51, 255, 1, 2, 3}));
  folder.Write("y", IdxBytes({2}, {1, 0}));
  folder.WriteGzip("tx", IdxBytes({1, 3}, {255, 0, 0}));
  folder.WriteGzip("ty", IdxBytes({1}, {3}));
}

TEST(Idx, ReadsSignalsPlainAndPacked) {
  const TempFolder folder;
  WriteSignals(folder);
  const auto data = Load("idx", IdxOptions(), folder.path());
  ASSERT_TRUE(data.ok()) << data.status();
  EXPECT_THAT(data->train.sample_shape, ElementsAre(1, 3));
  EXPECT_THAT(data->train.inputs, ElementsAre(0, 0.2f, 1, 1 / 255.f, 2 / 255.f, 3 / 255.f));
  EXPECT_THAT(data->train.labels, ElementsAre(1, 0));
  EXPECT_THAT(data->test.inputs, ElementsAre(1, 0, 0));
  EXPECT_EQ(data->train.num_classes, 4) << "the largest label of both parts + 1";
  EXPECT_EQ(data->test.num_classes, 4);
}

TEST(Idx, ReadsFloatsAndIntsOfBothSigns) {
  const TempFolder folder;
  WriteSignals(folder);
  folder.Write("x", IdxHeader(0x0D, {2, 1, 1, 1}) + BigEndian32(std::bit_cast<uint32_t>(-1.5f)) +
                        BigEndian32(std::bit_cast<uint32_t>(300.f)));
  folder.Write("y", IdxHeader(0x0C, {2}) + BigEndian32(0) + BigEndian32(2));
  folder.Write("tx", IdxHeader(0x0C, {1, 1, 1, 1}) + BigEndian32(static_cast<uint32_t>(-7)));
  const auto data = Load("idx", IdxOptions(), folder.path());
  ASSERT_TRUE(data.ok()) << data.status();
  EXPECT_THAT(data->train.sample_shape, ElementsAre(1, 1, 1));
  EXPECT_THAT(data->train.inputs, ElementsAre(-1.5f, 300.f));
  EXPECT_THAT(data->train.labels, ElementsAre(0, 2));
  EXPECT_THAT(data->test.inputs, ElementsAre(-7.f));
}

TEST(Idx, ShapesImages) {
  const TempFolder folder;
  WriteSignals(folder);
  folder.Write("x", IdxBytes({2, 1, 2}, {1, 2, 3, 4}));
  folder.Write("tx", IdxBytes({1, 1, 2}, {1, 2}));
  EXPECT_THAT(Load("idx", IdxOptions(), folder.path())->train.sample_shape, ElementsAre(1, 1, 2));
  folder.Write("x", IdxBytes({2, 2, 1, 1}, {1, 2, 3, 4}));
  folder.Write("tx", IdxBytes({1, 2, 1, 1}, {1, 2}));
  EXPECT_THAT(Load("idx", IdxOptions(), folder.path())->train.sample_shape, ElementsAre(2, 1, 1));
}

TEST(Idx, ReadsGroups) {
  const TempFolder folder;
  WriteSignals(folder);
  folder.Write("g", IdxBytes({2, 3}, {0, 0, 41, 0, 0, 7}));
  folder.Write("tg", "12\n");
  OptionMap options = IdxOptions();
  options["train_groups"] = std::string("g");
  options["test_groups"] = std::string("tg");
  options["group_name"] = std::string("writer");
  EXPECT_THAT(Message(Load("idx", options, folder.path()).status()),
              HasSubstr("2 x 3; name one of its columns"));
  options["group_column"] = int64_t{2};
  const auto data = Load("idx", options, folder.path());
  ASSERT_TRUE(data.ok()) << data.status();
  EXPECT_THAT(data->train.groups.at("writer"), ElementsAre(41, 7));
  EXPECT_THAT(data->test.groups.at("writer"), ElementsAre(12));
  options["group_column"] = int64_t{3};
  EXPECT_THAT(Message(Load("idx", options, folder.path()).status()), HasSubstr("there is no column 3"));
}

TEST(Mnist, TakesWritersThatBelongToTheLabels) {
  const TempFolder folder;
  folder.Write("train-images-idx3-ubyte", IdxBytes({2, 1, 1}, {0, 255}));
  folder.Write("train-labels-idx1-ubyte", IdxBytes({2}, {4, 9}));
  folder.WriteGzip("t10k-images-idx3-ubyte.gz", IdxBytes({1, 1, 1}, {255}));
  folder.WriteGzip("t10k-labels-idx1-ubyte.gz", IdxBytes({1}, {7}));
  const OptionMap options = {{"path", folder.path()}};
  auto data = Load("mnist", options);
  ASSERT_TRUE(data.ok()) << data.status();
  EXPECT_TRUE(data->train.groups.empty());
  EXPECT_EQ(data->train.class_names.at(9), "9");
  folder.Write("qmnist-test-labels-idx2-int", IdxBytes({2, 3}, {7, 4, 200, 1, 4, 201}));
  data = Load("mnist", options);
  ASSERT_TRUE(data.ok()) << data.status();
  EXPECT_THAT(data->test.groups.at("writer"), ElementsAre(200));
  EXPECT_THAT(data->test.groups.at("series"), ElementsAre(4));
  folder.Write("qmnist-test-labels-idx2-int", IdxBytes({1, 3}, {8, 4, 200}));
  EXPECT_THAT(Message(Load("mnist", options).status()),
              HasSubstr("its classes are not those of the MNIST labels"));
}

TEST(Cifar10, ReadsAllBatchesInOrder) {
  const TempFolder folder;
  const auto record = [](char label, char pixel) { return std::string(1, label) + std::string(3072, pixel); };
  folder.Write("data_batch_2.bin", record(5, '\x33'));
  folder.WriteGzip("data_batch_1.bin.gz", record(3, 0) + record(9, '\xFF'));
  folder.Write("data_batch_1.bin", record(3, 0) + record(9, '\xFF'));  // the same batch, unpacked
  folder.Write("test_batch.bin", record(0, 0));
  const auto data = Load("cifar10", {{"path", folder.path()}});
  ASSERT_TRUE(data.ok()) << data.status();
  EXPECT_THAT(data->train.labels, ElementsAre(3, 9, 5));
  EXPECT_THAT(data->train.sample_shape, ElementsAre(3, 32, 32));
  EXPECT_EQ(data->train.inputs[3072], 1);
  EXPECT_EQ(data->train.inputs.back(), 0.2f);
  EXPECT_EQ(data->train.class_names.at(3), "cat");
}

TEST(Csv, EncodesTextAndFillsGaps) {
  const TempFolder folder;
  folder.Write("a.csv",
               "age,town,code,label\n"
               "10,\"Ulm, old\",1,yes\n"
               "30,Bonn,2,no\r\n"
               ",?,1,no\n");
  folder.Write("b.csv", "age,town,code,label\n?,\"say \"\"Aa\"\"\nb\",3,yes.\n");
  OptionMap options = {{"train", std::string("a.csv")},
                       {"test", std::string("b.csv")},
                       {"target", std::string("label")},
                       {"group", std::string("town")}};
  auto data = Load("csv", options, folder.path());
  ASSERT_TRUE(data.ok()) << data.status();
  // age, then towns ?, Bonn, say "Aa" b, Ulm, then code.
  EXPECT_THAT(data->train.sample_shape, ElementsAre(6));
  EXPECT_THAT(data->train.inputs, ElementsAre(10, 0, 0, 1, 0, 1,  //
                                              30, 0, 1, 0, 0, 2,  //
                                              20, 1, 0, 0, 0, 1));
  EXPECT_THAT(data->test.inputs, ElementsAre(20, 0, 0, 0, 1, 3));
  EXPECT_THAT(data->train.labels, ElementsAre(1, 0, 0));
  EXPECT_THAT(data->test.labels, ElementsAre(1));
  EXPECT_THAT(data->train.class_names, ElementsAre("no", "yes"));
  EXPECT_THAT(data->train.groups.at("town"), ElementsAre(2, 1, 0));
  EXPECT_THAT(data->test.groups.at("town"), ElementsAre(3));

  options["categorical"] = std::vector<std::string>{"auto", "code"};
  options["drop"] = std::vector<std::string>{"town"};
  data = Load("csv", options, folder.path());
  ASSERT_TRUE(data.ok()) << data.status();
  EXPECT_THAT(data->train.inputs, ElementsAre(10, 1, 0, 0, 30, 0, 1, 0, 20, 1, 0, 0));
  EXPECT_THAT(data->test.inputs, ElementsAre(20, 0, 0, 1));
}

TEST(Csv, ReadsNumbersWithoutAHeader) {
  const TempFolder folder;
  folder.WriteGzip("a", "# made by hand\n1\t+2.5\t10\n3\t-4e0\t2\n5\t6\t10");
  const OptionMap options = {
      {"train", std::string("a")}, {"delimiter", std::string("tab")}, {"header", false},
      {"skip_lines", int64_t{1}},  {"target", std::string("2")},      {"group", std::string("0")},
      {"test_fraction", 0.34},     {"split_seed", int64_t{3}}};
  const auto data = Load("csv", options, folder.path());
  ASSERT_TRUE(data.ok()) << data.status();
  EXPECT_EQ(data->train.size(), 2);
  EXPECT_EQ(data->test.size(), 1);
  EXPECT_THAT(data->train.class_names, ElementsAre("2", "10")) << "numbers in the order of numbers";
  float sum = 0;
  for (const Dataset* part : {&data->train, &data->test}) {
    for (const float x : part->inputs) sum += x;
    EXPECT_EQ(part->groups.at("0")[0], part->inputs[0]) << "integers are ids themselves";
  }
  EXPECT_EQ(sum, 1 + 2.5f + 3 - 4 + 5 + 6);
}

TEST(Csv, ReadsRegressionTargets) {
  const TempFolder folder;
  folder.Write("a", "x,y\n1,200\n2,400\n3,600\n4,800\n5,1000\n");
  const auto data = Load("csv",
                         {{"train", std::string("a")},
                          {"target", std::string("y")},
                          {"task", std::string("regression")},
                          {"target_scale", 200.0}},
                         folder.path());
  ASSERT_TRUE(data.ok()) << data.status();
  EXPECT_EQ(data->train.num_classes, 0);
  EXPECT_EQ(data->train.values, data->train.inputs);
  EXPECT_EQ(data->test.size(), 1);
}

TEST(Csv, TheSplitSeedDecidesWhatIsHeldOut) {
  const TempFolder folder;
  std::string text = "x,y\n";
  for (int i = 0; i < 100; ++i) absl::StrAppend(&text, i, ",", i % 2, "\n");
  folder.Write("a", text);
  OptionMap options = {{"train", std::string("a")}, {"target", std::string("y")}};
  const auto once = Load("csv", options, folder.path()), again = Load("csv", options, folder.path());
  options["split_seed"] = int64_t{1};
  const auto other = Load("csv", options, folder.path());
  EXPECT_EQ(once->test.size(), 20);
  EXPECT_EQ(once->test.inputs, again->test.inputs);
  EXPECT_NE(once->test.inputs, other->test.inputs);
}

TEST(Libsvm, MakesDenseRows) {
  const TempFolder folder;
  folder.WriteGzip("a", "+1 1:0.5 3:-2 # comment\n-1 2:1\r\n\n+1\n");
  folder.Write("b", "-1 5:1\n");
  OptionMap options = {{"train", std::string("a")}, {"test", std::string("b")}};
  const auto data = Load("libsvm", options, folder.path());
  ASSERT_TRUE(data.ok()) << data.status();
  EXPECT_THAT(data->train.sample_shape, ElementsAre(5));
  EXPECT_THAT(data->train.inputs, ElementsAre(0.5f, 0, -2, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0));
  EXPECT_THAT(data->train.labels, ElementsAre(1, 0, 1));
  EXPECT_THAT(data->test.labels, ElementsAre(0));
  EXPECT_THAT(data->test.inputs, ElementsAre(0, 0, 0, 0, 1));
  EXPECT_THAT(data->train.class_names, ElementsAre("-1", "1"));
  options["features"] = int64_t{7};
  EXPECT_THAT(Load("libsvm", options, folder.path())->train.sample_shape, ElementsAre(7));
  options["features"] = int64_t{4};
  EXPECT_THAT(Message(Load("libsvm", options, folder.path()).status()),
              HasSubstr("set features to at least 5"));
}

TEST(Libsvm, ReadsRegressionAndHoldsOut) {
  const TempFolder folder;
  folder.Write("a", "0.5 1:1\n1.5 1:2\n2.5 1:3\n3.5 1:4\n4.5 1:5\n");
  OptionMap options = {{"train", std::string("a")}, {"test_fraction", 0.4}};
  EXPECT_THAT(Message(Load("libsvm", options, folder.path()).status()), HasSubstr("set task: regression"));
  options["task"] = std::string("regression");
  const auto data = Load("libsvm", options, folder.path());
  ASSERT_TRUE(data.ok()) << data.status();
  EXPECT_EQ(data->train.size(), 3);
  EXPECT_EQ(data->test.size(), 2);
  for (int64_t i = 0; i < 3; ++i) EXPECT_EQ(data->train.values[i], data->train.inputs[i] - 0.5f);
}

}  // namespace
}  // namespace muster
