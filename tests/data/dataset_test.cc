#include "learning/dataset.h"

#include <gmock/gmock.h>

#include <cmath>
#include <limits>

namespace muster {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

Dataset TwoImages() {
  Dataset data;
  data.sample_shape = {1, 2, 4};
  data.inputs = {0, 1, 2, 3, 4, 5, 6, 7, 8, 8, 8, 8, 0, 0, 4, 4};
  data.labels = {1, 0};
  data.num_classes = 2;
  data.class_names = {"no", "yes"};
  data.groups["writer"] = {7, 9};
  return data;
}

Dataset Column(std::vector<float> inputs, int64_t columns) {
  Dataset data;
  data.sample_shape = {columns};
  data.values.resize(inputs.size() / columns);
  data.inputs = std::move(inputs);
  return data;
}

TEST(Dataset, KnowsItsSizes) {
  EXPECT_EQ(TwoImages().size(), 2);
  EXPECT_EQ(TwoImages().sample_size(), 8);
  EXPECT_EQ(Column({1, 2, 3, 4, 5, 6}, 2).size(), 3);
}

TEST(CheckDataset, AcceptsWhatIsWhole) {
  EXPECT_TRUE(CheckDataset(TwoImages(), "f").ok());
  EXPECT_TRUE(CheckDataset(Column({1, 2}, 2), "f").ok());
}

struct Damage {
  const char* name;
  void (*harm)(Dataset&);
  const char* message;
};
void PrintTo(const Damage& param, std::ostream* out) { *out << param.name; }
class CheckDatasetRefuses : public ::testing::TestWithParam<Damage> {};

TEST_P(CheckDatasetRefuses, WithTheReason) {
  Dataset data = TwoImages();
  GetParam().harm(data);
  const absl::Status status = CheckDataset(data, "file.idx");
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(Message(status), HasSubstr("file.idx: "));
  EXPECT_THAT(Message(status), HasSubstr(GetParam().message));
  EXPECT_THAT(Message(status), ::testing::Not(HasSubstr("\n")));
}

INSTANTIATE_TEST_SUITE_P(
    All, CheckDatasetRefuses,
    ::testing::Values(
        Damage{"empty", [](Dataset& d) { d.labels.clear(); }, "holds no samples"},
        Damage{"too_few_inputs", [](Dataset& d) { d.inputs.pop_back(); },
               "2 samples of 8 elements, but 15 inputs"},
        Damage{"label_too_large", [](Dataset& d) { d.labels[1] = 2; },
               "label 2 of sample 1 is not one of 0 to 1"},
        Damage{"label_negative", [](Dataset& d) { d.labels[0] = -1; }, "label -1 of sample 0"},
        Damage{"nan", [](Dataset& d) { d.inputs[11] = NAN; }, "sample 1 holds nan at element 3"},
        Damage{"infinity", [](Dataset& d) { d.inputs[0] = -INFINITY; }, "sample 0 holds -inf at element 0"},
        Damage{"names", [](Dataset& d) { d.class_names.pop_back(); }, "1 class names for 2 classes"},
        Damage{"groups", [](Dataset& d) { d.groups["writer"].pop_back(); },
               "1 ids of group 'writer' for 2 samples"},
        Damage{"no_shape", [](Dataset& d) { d.sample_shape.clear(); }, "samples have no shape"},
        Damage{"zero_shape", [](Dataset& d) { d.sample_shape[1] = 0; }, "dimension of size 0"},
        Damage{"both_targets",
               [](Dataset& d) {
                 d.values = {1, 2};
               },
               "class labels and regression values"},
        Damage{"nan_target",
               [](Dataset& d) {
                 d.labels.clear();
                 d.num_classes = 0;
                 d.values = {1, NAN};
               },
               "target of sample 1 is nan"}),
    [](const auto& info) { return std::string(info.param.name); });

TEST(TakeSamples, KeepsOrderAndEverythingOfASample) {
  const std::vector<int64_t> indices = {1, 0, 1};
  const Dataset taken = TakeSamples(TwoImages(), indices);
  EXPECT_THAT(taken.labels, ElementsAre(0, 1, 0));
  EXPECT_THAT(taken.groups.at("writer"), ElementsAre(9, 7, 9));
  EXPECT_EQ(taken.inputs[0], 8);
  EXPECT_EQ(taken.inputs[8 + 7], 7);
  EXPECT_EQ(taken.class_names, TwoImages().class_names);
  EXPECT_TRUE(CheckDataset(taken, "f").ok());
}

TEST(PoolImages, AveragesSquares) {
  const absl::StatusOr<Dataset> pooled = PoolImages(TwoImages(), 2);
  ASSERT_TRUE(pooled.ok());
  EXPECT_THAT(pooled->sample_shape, ElementsAre(1, 1, 2));
  EXPECT_THAT(pooled->inputs, ElementsAre(2.5f, 4.5f, 4, 6));
  EXPECT_THAT(pooled->labels, ElementsAre(1, 0));
  EXPECT_THAT(pooled->groups.at("writer"), ElementsAre(7, 9));
}

TEST(PoolImages, ByOneChangesNothing) { EXPECT_EQ(PoolImages(TwoImages(), 1)->inputs, TwoImages().inputs); }

TEST(PoolImages, RefusesOtherData) {
  EXPECT_THAT(Message(PoolImages(Column({1, 2}, 2), 2).status()), HasSubstr("not images"));
  EXPECT_THAT(Message(PoolImages(TwoImages(), 4).status()), HasSubstr("4 does not divide images of 2 x 4"));
  EXPECT_THAT(Message(PoolImages(TwoImages(), 0).status()), HasSubstr("at least 1"));
}

TEST(Standardize, TakesColumnsByThemselvesAndTheTrainingPartsMoments) {
  // Columns 1 3 5 (mean 3, deviation sqrt(8/3)) and a constant one.
  TrainTest data{Column({1, 0.1f, 3, 0.1f, 5, 0.1f}, 2), Column({3, 0.1f, 7, 2.1f}, 2)};
  Standardize(data);
  const float unit = 2 / std::sqrt(8.0f / 3);
  EXPECT_THAT(data.train.inputs,
              ::testing::Pointwise(::testing::FloatEq(), {-unit, 0.f, 0.f, 0.f, unit, 0.f}));
  EXPECT_THAT(data.test.inputs, ::testing::Pointwise(::testing::FloatEq(), {0.f, 0.f, 2 * unit, 2.f}));
}

TEST(Standardize, TakesImagesByChannel) {
  Dataset data;
  data.sample_shape = {2, 1, 2};
  data.inputs = {0, 2, 10, 30, 4, 6, 50, 70};  // channels 0 2 4 6 and 10 30 50 70
  data.labels = {0, 0};
  data.num_classes = 1;
  TrainTest both{data, data};
  Standardize(both);
  const float a = 1 / std::sqrt(5.0f), b = 10 / std::sqrt(500.0f);
  EXPECT_THAT(both.train.inputs, ::testing::Pointwise(::testing::FloatNear(1e-6f),
                                                      {-3 * a, -a, -3 * b, -b, a, 3 * a, b, 3 * b}));
  EXPECT_EQ(both.train.inputs, both.test.inputs);
}

}  // namespace
}  // namespace muster
