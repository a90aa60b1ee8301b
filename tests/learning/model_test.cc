// The contract of every model, and FlatModel.
#include "learning/model.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include "core/random.h"
#include "learning/loss.h"
#include "learning/models/forward_random.h"
#include "learning/models/module_model.h"
#include "tests/learning/torchscript_file.h"

namespace muster {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

using Shape = std::vector<int64_t>;

const std::vector<Shape>& AllShapes() {
  static const std::vector<Shape> shapes = {{1, 28, 28}, {3, 32, 32}, {1, 8, 8}, {2, 187}, {14}};
  return shapes;
}

class ModelTest : public ::testing::TestWithParam<std::string> {
 protected:
  static absl::StatusOr<std::unique_ptr<FlatModel>> Make(const Shape& shape, uint64_t seed = 1) {
    OptionMap options;
    if (GetParam() == "torchscript") options["file"] = WriteTorchScriptMlp(shape, 10);
    return MakeModel({GetParam(), options}, {.input_shape = shape, .outputs = 10, .folder = ""}, seed);
  }
  // The shapes of AllShapes() that the model accepts.
  static std::vector<Shape> Accepted() {
    std::vector<Shape> accepted;
    for (const Shape& shape : AllShapes()) {
      if (Make(shape).ok()) accepted.push_back(shape);
    }
    return accepted;
  }
  static at::Tensor Inputs(int64_t batch, Shape shape) {
    shape.insert(shape.begin(), batch);
    Random random({.seed = 5});
    at::Tensor x = at::empty(shape, at::kFloat);
    for (int64_t i = 0; i < x.numel(); ++i) x.data_ptr<float>()[i] = static_cast<float>(random.Uniform());
    return x;
  }
};

TEST_P(ModelTest, AcceptsSomeShapeAndSaysWhyNotTheOthers) {
  EXPECT_FALSE(Accepted().empty());
  for (const Shape& shape : AllShapes()) {
    const auto model = Make(shape);
    if (model.ok()) continue;
    EXPECT_EQ(model.status().code(), absl::StatusCode::kInvalidArgument) << model.status();
    EXPECT_THAT(Message(model.status()), HasSubstr(ShapeText(shape)));
    EXPECT_THAT(Message(model.status()), ::testing::Not(HasSubstr("\n")));
  }
}

TEST_P(ModelTest, GivesOneRowOfOutputsPerSample) {
  for (const Shape& shape : Accepted()) {
    const auto model = *Make(shape);
    for (const int64_t batch : {1, 3}) {
      EXPECT_EQ(model->model().Forward(Inputs(batch, shape)).sizes().vec(), (Shape{batch, 10}))
          << ShapeText(shape);
    }
  }
}

TEST_P(ModelTest, TheSeedDecidesTheWeights) {
  const Shape shape = Accepted().front();
  const auto a = *Make(shape, 1), b = *Make(shape, 1), c = *Make(shape, 2);
  EXPECT_TRUE(std::equal(a->values().begin(), a->values().end(), b->values().begin()));
  EXPECT_EQ(a->layout().fingerprint, c->layout().fingerprint);
  if (GetParam() == "softmax" || GetParam() == "torchscript") return;  // from zero; from the file
  EXPECT_FALSE(std::equal(a->values().begin(), a->values().end(), c->values().begin()));
}

TEST_P(ModelTest, StepsLowerTheLoss) {
  for (const Shape& shape : Accepted()) {
    torch::manual_seed(1);  // dropout's
    const auto model = *Make(shape);
    const at::Tensor x = Inputs(4, shape);
    const at::Tensor y = at::tensor({0, 3, 7, 9}, at::kLong);
    const auto loss = [&](bool training) {
      model->model().SetTraining(training);
      return MeanLoss(LossKind::kCrossEntropy, model->model().Forward(x), y);
    };
    const auto before = loss(false).item<double>();
    torch::optim::SGD sgd(model->parameters(), torch::optim::SGDOptions(0.001));
    for (int step = 0; step < 4; ++step) {
      sgd.zero_grad();
      loss(true).backward();
      sgd.step();
    }
    EXPECT_LT(loss(false).item<double>(), before) << ShapeText(shape);
  }
}

TEST_P(ModelTest, EveryParameterGetsAGradient) {
  const Shape shape = Accepted().front();
  const auto model = *Make(shape);
  model->model().Forward(Inputs(2, shape)).square().sum().backward();
  size_t i = 0;
  for (const at::Tensor& parameter : model->parameters()) {
    EXPECT_TRUE(parameter.grad().defined()) << model->layout().entries[i].name;
    ++i;
  }
}

TEST_P(ModelTest, ValuesAreTheModel) {
  const Shape shape = Accepted().front();
  const auto a = *Make(shape, 1), b = *Make(shape, 2);
  Random random({.seed = 9});
  for (float& value : a->values()) value = static_cast<float>(0.1 * random.Normal());
  std::copy(a->values().begin(), a->values().end(), b->values().begin());
  a->model().SetTraining(false);
  b->model().SetTraining(false);
  const at::Tensor x = Inputs(2, shape);
  EXPECT_TRUE(at::equal(a->model().Forward(x), b->model().Forward(x)));
  const at::Tensor before = a->model().Forward(x).detach().clone();
  for (float& value : a->values()) value *= 2;
  EXPECT_FALSE(at::equal(a->model().Forward(x), before));
}

INSTANTIATE_TEST_SUITE_P(All, ModelTest, ::testing::ValuesIn(Registry<Model>::Get().Names()));

int64_t ParameterCount(const std::string& name, const Shape& shape, int64_t outputs) {
  const auto model = MakeModel({name, {}}, {.input_shape = shape, .outputs = outputs, .folder = ""}, 1);
  EXPECT_TRUE(model.ok()) << model.status();
  return model.ok() ? (*model)->layout().size : 0;
}

TEST(ModelSizeTest, AsPublished) {
  EXPECT_EQ(ParameterCount("softmax", {1, 28, 28}, 10), 7850);
  EXPECT_EQ(ParameterCount("mlp", {1, 28, 28}, 10), 159010);
  EXPECT_EQ(ParameterCount("lenet", {1, 28, 28}, 10), 61706);
  EXPECT_EQ(ParameterCount("lenet", {1, 8, 8}, 10), 61706);  // padded
  EXPECT_EQ(ParameterCount("cnn", {1, 28, 28}, 10), 1663370);
  EXPECT_EQ(ParameterCount("resnet18", {3, 32, 32}, 10), 11173962);
  EXPECT_EQ(ParameterCount("simple_cnn", {3, 32, 32}, 10), 1626442);
}

TEST(ModelErrorTest, SaysWhatIsWrong) {
  const Model::Context image{.input_shape = {1, 28, 28}, .outputs = 10, .folder = ""};
  const Model::Context table{.input_shape = {123}, .outputs = 2, .folder = ""};
  const auto error = [](const PluginConfig& config, const Model::Context& context) {
    return Message(MakeModel(config, context, 1).status());
  };
  EXPECT_EQ(error({"cnn", {}}, table),
            "model: cnn needs images {channels, height, width}, the data are {123}");
  EXPECT_THAT(error({"tabular_mlp", {}}, image), HasSubstr("table {columns}"));
  EXPECT_THAT(error({"ecg_cnn", {}}, image), HasSubstr("signals {channels, length}"));
  EXPECT_THAT(error({"vit", {{"patch", int64_t{5}}}}, image), HasSubstr("does not divide"));
  EXPECT_THAT(error({"vit", {{"heads", int64_t{3}}}}, image), HasSubstr("does not divide"));
  EXPECT_THAT(error({"resnet18", {{"groups", int64_t{3}}}}, image), HasSubstr("power of two"));
  EXPECT_THAT(
      error({"ecg_cnn", {{"kernel", int64_t{4}}}}, {.input_shape = {1, 100}, .outputs = 2, .folder = ""}),
      HasSubstr("odd"));
  EXPECT_THAT(error({"mlq", {}}, image), HasSubstr("mlp"));
}

// A model with all kinds of tensors.
class Mixed : public ModuleModel {
 public:
  Mixed() {
    weight = register_parameter("weight", at::ones({2, 3}));
    mean = register_buffer("mean", at::zeros({3}));
    register_buffer("count", at::zeros({}, at::kLong));
  }
  at::Tensor Forward(const at::Tensor& x) override { return at::matmul(x - mean, weight.t()); }
  at::Tensor weight, mean;
};

TEST(FlatModelTest, LaysOutParametersThenFloatingBuffers) {
  const auto flat = *FlatModel::Create(std::make_unique<Mixed>());
  ASSERT_EQ(flat->layout().entries.size(), 2U);
  EXPECT_EQ(flat->layout().entries[0].name, "weight");
  EXPECT_THAT(flat->layout().entries[0].shape, ElementsAre(2, 3));
  EXPECT_TRUE(flat->layout().entries[0].trainable);
  EXPECT_EQ(flat->layout().entries[1].name, "mean");
  EXPECT_EQ(flat->layout().entries[1].offset, 6);
  EXPECT_FALSE(flat->layout().entries[1].trainable);
  EXPECT_EQ(flat->layout().size, 9);
  EXPECT_EQ(flat->parameters().size(), 1U);
  EXPECT_TRUE(flat->parameters()[0].requires_grad());
}

TEST(FlatModelTest, ParametersAndBuffersAreViews) {
  const auto flat = *FlatModel::Create(std::make_unique<Mixed>());
  EXPECT_THAT(flat->values().subspan(0, 7), ElementsAre(1, 1, 1, 1, 1, 1, 0));
  flat->values()[0] = 5;
  flat->values()[6] = 1;  // mean of the first column
  const at::Tensor y = flat->model().Forward(at::tensor({3.0F, 1.0F, 1.0F}).view({1, 3}));
  EXPECT_EQ(y[0][0].item<float>(), 5 * 2 + 1 + 1);
  EXPECT_EQ(y[0][1].item<float>(), 2 + 1 + 1);
  static_cast<Mixed&>(flat->model()).mean.fill_(7);
  EXPECT_EQ(flat->values()[8], 7);
}

class Doubles : public ModuleModel {
 public:
  Doubles() { register_parameter("weight", at::ones({2}, at::kDouble)); }
  at::Tensor Forward(const at::Tensor& x) override { return x; }
};
class Nothing : public ModuleModel {
 public:
  at::Tensor Forward(const at::Tensor& x) override { return x; }
};
class Overlapping : public ModuleModel {
 public:
  Overlapping() {
    const at::Tensor one = at::ones({4});
    register_parameter("a", one);
    register_parameter("b", one.view({2, 2}));
  }
  at::Tensor Forward(const at::Tensor& x) override { return x; }
};

TEST(FlatModelTest, RefusesWhatItCannotFlatten) {
  EXPECT_THAT(Message(FlatModel::Create(std::make_unique<Doubles>()).status()), HasSubstr("'weight'"));
  EXPECT_THAT(Message(FlatModel::Create(std::make_unique<Nothing>()).status()), HasSubstr("no parameters"));
  EXPECT_THAT(Message(FlatModel::Create(std::make_unique<Overlapping>()).status()),
              HasSubstr("share memory"));
}

TEST(DropoutTest, DropsItsShareByTheThreadsGenerator) {
  Dropout dropout(0.25);
  const at::Tensor x = at::ones({10000});
  SeedForwardRandom({.seed = 3});
  const at::Tensor a = dropout.Forward(x);
  const at::Tensor b = dropout.Forward(x);
  SeedForwardRandom({.seed = 3});
  EXPECT_TRUE(at::equal(dropout.Forward(x), a));
  EXPECT_FALSE(at::equal(a, b));
  EXPECT_NEAR((a == 0).sum().item<double>(), 2500, 200);
  EXPECT_NEAR(a.mean().item<double>(), 1, 0.05);
  dropout.eval();
  EXPECT_TRUE(at::equal(dropout.Forward(x), x));
}

}  // namespace
}  // namespace muster
