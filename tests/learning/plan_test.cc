#include "learning/plan.h"

#include <ATen/ATen.h>
#include <gmock/gmock.h>

#include <cmath>
#include <numeric>

#include "absl/strings/str_cat.h"
#include "core/random.h"
#include "learning/dense.h"
#include "learning/long_rows.h"
#include "learning/models/forward_random.h"

namespace muster {
namespace {

std::vector<float> Normal(size_t count, uint64_t seed) {
  Random random({.seed = seed});
  std::vector<float> values(count);
  for (float& value : values) value = static_cast<float>(random.Normal());
  return values;
}

std::vector<const float*> Rows(const std::vector<float>& values, size_t rows) {
  std::vector<const float*> result;
  for (size_t i = 0; i < rows; ++i) result.push_back(&values[i * values.size() / rows]);
  return result;
}

struct Sizes {
  size_t batch, inputs, outputs;
};

class DenseTest : public testing::TestWithParam<Sizes> {};

TEST_P(DenseTest, EveryProcessorsFormHasTheSameBits) {
  const auto [batch, inputs, outputs] = GetParam();
  const auto k = static_cast<int64_t>(inputs), n = static_cast<int64_t>(outputs),
             b = static_cast<int64_t>(batch);
  const std::vector<float> x = Normal(batch * inputs, 1), weight = Normal(outputs * inputs, 2),
                           bias = Normal(outputs, 3), by_out = Normal(batch * outputs, 4);
  const std::vector<const float*> samples = Rows(x, batch), weights = Rows(weight, outputs);
  std::vector<float> out(batch * outputs), expected(out.size());
  DenseForward(samples, weight.data(), bias.data(), k, n, out.data());
  portable::DenseForward(samples, weight.data(), bias.data(), k, n, expected.data());
  EXPECT_EQ(out, expected);
  for (size_t i = 0; i < out.size(); ++i) {  // and they are products
    double sum = bias[i % outputs];
    for (size_t j = 0; j < inputs; ++j)
      sum += double{x[i / outputs * inputs + j]} * weight[i % outputs * inputs + j];
    EXPECT_NEAR(out[i], sum, 1e-6 * (10 + static_cast<double>(inputs)));
  }
  std::vector<float> gradient(outputs * inputs), expected_gradient(gradient.size());
  DenseOuter(samples, by_out.data(), n, 1, n, k, gradient.data());
  portable::DenseOuter(samples, by_out.data(), n, 1, n, k, expected_gradient.data());
  EXPECT_EQ(gradient, expected_gradient);
  std::vector<float> by_in(batch * inputs), expected_by_in(by_in.size());
  DenseOuter(weights, by_out.data(), 1, n, b, k, by_in.data());
  portable::DenseOuter(weights, by_out.data(), 1, n, b, k, expected_by_in.data());
  EXPECT_EQ(by_in, expected_by_in);
}

INSTANTIATE_TEST_SUITE_P(Sizes, DenseTest,
                         testing::Values(Sizes{1, 1, 1}, Sizes{1, 7, 3}, Sizes{3, 8, 4}, Sizes{4, 9, 5},
                                         Sizes{5, 40, 6}, Sizes{20, 53, 10}, Sizes{32, 196, 17}),
                         [](const auto& info) {
                           return absl::StrCat(info.param.batch, "x", info.param.inputs, "x",
                                               info.param.outputs);
                         });

struct LongSizes {
  size_t left, right, size;
};

class LongRowsTest : public testing::TestWithParam<LongSizes> {};

TEST_P(LongRowsTest, EveryProcessorsFormHasTheSameBits) {
  const auto [left, right, size] = GetParam();
  const size_t step = (size + kRowBlock - 1) / kRowBlock * kRowBlock;
  const std::vector<float> a = Normal(left * step, 1), bias = Normal(left, 2),
                           factors = Normal(left * right, 3);
  std::vector<float> b = Normal(right * step, 4);
  for (size_t j = 0; j < right; ++j) std::fill(&b[j * step + size], &b[j * step] + step, 0.0F);
  const std::vector<const float*> lefts = Rows(a, left), rights = Rows(b, right);

  std::vector<float> dots(left * right), expected_dots(dots.size()), lanes;
  LongDots(lefts, rights, static_cast<int64_t>(size), lanes, dots.data());
  portable::LongDots(lefts, rights, static_cast<int64_t>(size), expected_dots.data());
  EXPECT_EQ(dots, expected_dots);
  for (size_t i = 0; i < dots.size(); ++i) {  // and they are products
    double sum = 0;
    for (size_t k = 0; k < size; ++k) sum += double{lefts[i / right][k]} * rights[i % right][k];
    EXPECT_NEAR(dots[i], sum, 1e-6 * (10 + static_cast<double>(size)));
  }

  PackedFactors packed;
  packed.Pack(factors.data(), static_cast<int64_t>(left), static_cast<int64_t>(right), 1, 0,
              static_cast<int64_t>(right));
  const auto outer = [&](const float* biases, bool portably) {
    std::vector<float> values(left * step);
    std::vector<float*> out;
    for (size_t i = 0; i < left; ++i) out.push_back(&values[i * step]);
    if (portably) {
      portable::LongOuter(rights, packed, biases, static_cast<int64_t>(size), out);
    } else {
      LongOuter(rights, packed, biases, static_cast<int64_t>(size), out);
    }
    for (size_t i = 0; i < left; ++i) std::fill(out[i] + size, out[i] + step, 0.0F);
    return values;
  };
  EXPECT_EQ(outer(nullptr, false), outer(nullptr, true));
  const std::vector<float> sums = outer(bias.data(), false);
  EXPECT_EQ(sums, outer(bias.data(), true));
  for (size_t i = 0; i < left; ++i) {
    double sum = bias[i];
    for (size_t j = 0; j < right; ++j) sum += double{factors[i * right + j]} * rights[j][size - 1];
    EXPECT_NEAR(sums[i * step + size - 1], sum, 1e-6 * (10 + static_cast<double>(right)));
  }
}

INSTANTIATE_TEST_SUITE_P(Sizes, LongRowsTest,
                         testing::Values(LongSizes{1, 1, 1}, LongSizes{3, 25, 40}, LongSizes{6, 7, 100},
                                         LongSizes{8, 6, 48}, LongSizes{13, 27, 1100},
                                         LongSizes{16, 5, 2080}),
                         [](const auto& info) {
                           return absl::StrCat(info.param.left, "x", info.param.right, "x", info.param.size);
                         });

TEST(PackedFactorsTest, GroupsAreRowsOneAfterAnother) {
  // Results 0 and 1, groups a and b of two taps each; as the transposed kernels of a convolution.
  const std::vector<float> factors = {/*a*/ 1, 2, /*1:*/ 3, 4, /*b*/ 5, 6, /*1:*/ 7, 8};
  PackedFactors packed;
  packed.Pack(factors.data(), 2, 2, 2, 4, 2);
  EXPECT_EQ(packed.rows(), 4);
  EXPECT_THAT(std::vector<float>(packed.values(), packed.values() + 8),
              testing::ElementsAre(1, 3, 2, 4, 5, 7, 6, 8));
}

struct Case {
  std::string name;
  PluginConfig model;
  LossKind loss;
  std::vector<int64_t> shape = {1, 5, 5};
};

class PlanTest : public testing::TestWithParam<Case> {
 protected:
  static Dataset Data() {
    Dataset data;
    data.sample_shape = GetParam().shape;
    data.inputs = Normal(40 * static_cast<size_t>(data.sample_size()), 5);
    data.values = Normal(40, 6);
    data.num_classes = GetParam().loss == LossKind::kBinary ? 2 : 4;
    for (int64_t i = 0; i < 40; ++i) data.labels.push_back(i * i % data.num_classes);
    return data;
  }
  static std::unique_ptr<FlatModel> MakeRandomModel() {
    const int64_t outputs = GetParam().loss == LossKind::kCrossEntropy ? 4 : 1;
    auto model = MakeModel(GetParam().model, {GetParam().shape, outputs, ""}, 3);
    EXPECT_TRUE(model.ok()) << model.status();
    Random random({.seed = 7});
    for (float& value : (*model)->values()) value += static_cast<float>(0.1 * random.Normal());
    return *std::move(model);
  }
};

TEST_P(PlanTest, LossAndGradientAreAutogradsUpToRounding) {
  if (!HasFastDense()) GTEST_SKIP() << "this processor has no fused multiply-add";
  const Dataset data = Data();
  const std::unique_ptr<FlatModel> model = MakeRandomModel();
  const std::unique_ptr<FeedForwardPlan> plan = FeedForwardPlan::Make(*model, GetParam().loss, data);
  ASSERT_NE(plan, nullptr);
  for (const size_t size : {size_t{7}, size_t{40}, size_t{1}, size_t{12}}) {  // buffers grow and shrink
    std::vector<uint32_t> batch(size);
    std::iota(batch.rbegin(), batch.rend(), 0U);
    SeedForwardRandom({.seed = size});
    const double loss = plan->Gradient(data, batch);
    std::vector<at::Tensor> gradients;
    for (const at::Tensor& parameter : model->parameters()) gradients.push_back(parameter.grad().clone());

    const int64_t width = data.sample_size();
    std::vector<int64_t> shape = data.sample_shape;
    shape.insert(shape.begin(), static_cast<int64_t>(size));
    at::Tensor inputs = at::empty(shape, at::kFloat);
    std::vector<float> values;
    std::vector<int64_t> labels;
    for (size_t i = 0; i < size; ++i) {
      std::copy_n(&data.inputs[batch[i] * static_cast<size_t>(width)], width,
                  inputs.data_ptr<float>() + static_cast<int64_t>(i) * width);
      labels.push_back(data.labels[batch[i]]);
      values.push_back(GetParam().loss == LossKind::kMse ? data.values[batch[i]]
                                                         : static_cast<float>(labels.back()));
    }
    const at::Tensor targets = GetParam().loss == LossKind::kCrossEntropy
                                   ? at::tensor(at::ArrayRef<int64_t>(labels))
                                   : at::tensor(at::ArrayRef<float>(values));
    for (const at::Tensor& parameter : model->parameters()) parameter.mutable_grad().reset();
    SeedForwardRandom({.seed = size});
    const at::Tensor expected = MeanLoss(GetParam().loss, model->model().Forward(inputs), targets);
    expected.backward();
    EXPECT_NEAR(loss, expected.item<double>(), 1e-5 * (1 + std::fabs(loss)));
    for (size_t p = 0; p < gradients.size(); ++p) {
      const at::Tensor by_autograd = model->parameters()[p].grad();
      EXPECT_LE((gradients[p] - by_autograd).abs().max().item<double>(),
                1e-5 * (0.1 + by_autograd.abs().max().item<double>()))
          << "parameter " << p << ", batch of " << size;
    }
  }
}

TEST_P(PlanTest, OtherLabelsAreThoseOfOtherData) {
  if (!HasFastDense() || GetParam().loss == LossKind::kMse)
    GTEST_SKIP() << "nothing to compute, or no classes";
  Dataset data = Data();
  const std::unique_ptr<FlatModel> model = MakeRandomModel();
  const std::unique_ptr<FeedForwardPlan> plan = FeedForwardPlan::Make(*model, GetParam().loss, data);
  const std::vector<int64_t> relabel = {1, 0, 3, 2};
  SeedForwardRandom({.seed = 1});
  const double relabelled = plan->Gradient(data, std::vector<uint32_t>{3, 5, 8}, relabel);
  for (int64_t& label : data.labels) label = relabel[static_cast<size_t>(label)];
  SeedForwardRandom({.seed = 1});
  EXPECT_EQ(relabelled, plan->Gradient(data, std::vector<uint32_t>{3, 5, 8}));
}

TEST_P(PlanTest, OutputsAreTheModelsInEvaluation) {
  if (!HasFastDense()) GTEST_SKIP() << "this processor has no fused multiply-add";
  const Dataset data = Data();
  const std::unique_ptr<FlatModel> model = MakeRandomModel();
  const std::unique_ptr<FeedForwardPlan> plan = FeedForwardPlan::Make(*model, GetParam().loss, data);
  std::vector<uint32_t> all(40);
  std::iota(all.begin(), all.end(), 0U);
  const at::Tensor outputs = plan->Outputs(data, all).clone();

  const torch::NoGradGuard no_grad;
  std::vector<int64_t> shape = data.sample_shape;
  shape.insert(shape.begin(), 40);
  at::Tensor inputs = at::empty(shape, at::kFloat);
  std::copy(data.inputs.begin(), data.inputs.end(), inputs.data_ptr<float>());
  model->model().SetTraining(false);
  const at::Tensor expected = model->model().Forward(inputs);
  ASSERT_EQ(outputs.sizes(), expected.sizes());
  EXPECT_LE((outputs - expected).abs().max().item<double>(),
            1e-5 * (0.1 + expected.abs().max().item<double>()));
  EXPECT_TRUE(outputs.slice(0, 5, 12).equal(plan->Outputs(data, std::span(all).subspan(5, 7))));
}

TEST_P(PlanTest, ABatchThatDivergedLeavesNothingBehind) {
  if (!HasFastDense()) GTEST_SKIP() << "this processor has no fused multiply-add";
  Dataset data = Data();
  const std::unique_ptr<FlatModel> model = MakeRandomModel();
  const auto gradient_of = [&](FeedForwardPlan& plan) {
    SeedForwardRandom({.seed = 1});
    plan.Gradient(data, std::vector<uint32_t>{1, 2, 4});
    std::vector<float> values;
    for (const at::Tensor& parameter : model->parameters()) {
      const float* const gradient = parameter.grad().data_ptr<float>();
      values.insert(values.end(), gradient, gradient + parameter.numel());
    }
    return values;
  };
  const std::vector<float> expected = gradient_of(*FeedForwardPlan::Make(*model, GetParam().loss, data));
  const std::unique_ptr<FeedForwardPlan> plan = FeedForwardPlan::Make(*model, GetParam().loss, data);
  const auto width = static_cast<size_t>(data.sample_size());
  std::fill_n(&data.inputs[20 * width], 20 * width, std::nanf(""));
  std::vector<uint32_t> spoilt(20);
  std::iota(spoilt.begin(), spoilt.end(), 20U);
  plan->Gradient(data, spoilt);
  EXPECT_EQ(gradient_of(*plan), expected);
}

INSTANTIATE_TEST_SUITE_P(
    Models, PlanTest,
    testing::Values(Case{"softmax", {"softmax", {}}, LossKind::kCrossEntropy},
                    Case{"regression", {"softmax", {}}, LossKind::kMse},
                    Case{"logistic", {"softmax", {}}, LossKind::kBinary},
                    Case{"mlp", {"mlp", {{"hidden", std::vector<int64_t>{9}}}}, LossKind::kCrossEntropy},
                    Case{"deep_tanh",
                         {"mlp",
                          {{"hidden", std::vector<int64_t>{12, 7}}, {"activation", std::string("tanh")}}},
                         LossKind::kBinary},
                    Case{"lenet", {"lenet", {}}, LossKind::kCrossEntropy, {1, 28, 28}},
                    Case{"wide_lenet", {"lenet", {}}, LossKind::kBinary, {3, 29, 34}},
                    Case{"cnn", {"cnn", {}}, LossKind::kCrossEntropy, {2, 9, 11}},
                    Case{"dropout", {"simple_cnn", {}}, LossKind::kCrossEntropy, {3, 9, 8}}),
    [](const auto& info) { return info.param.name; });

TEST(NoPlanTest, OtherModelsHaveNone) {
  Dataset data;
  data.sample_shape = {1, 28, 28};
  data.num_classes = 4;
  const auto has_plan = [&data](const PluginConfig& model, std::vector<int64_t> shape) {
    auto made = MakeModel(model, {std::move(shape), 4, ""}, 1);
    EXPECT_TRUE(made.ok()) << made.status();
    return made.ok() && FeedForwardPlan::Make(**made, LossKind::kCrossEntropy, data) != nullptr;
  };
  EXPECT_FALSE(has_plan({"mlp", {{"activation", std::string("gelu")}}}, {1, 28, 28}));
  EXPECT_FALSE(has_plan({"resnet18", {}}, {1, 28, 28}));
  EXPECT_EQ(has_plan({"softmax", {}}, {1, 28, 28}), HasFastDense());
  EXPECT_EQ(has_plan({"cnn", {}}, {1, 28, 28}), HasFastDense() && HasFastLongRows());
  EXPECT_FALSE(has_plan({"cnn", {}}, {1, 28, 32})) << "of other data";
  EXPECT_FALSE(has_plan({"cnn", {}}, {3, 28, 28})) << "of other data";
  data.num_classes = 3;
  EXPECT_FALSE(has_plan({"softmax", {}}, {1, 28, 28})) << "of other classes";
  EXPECT_FALSE(has_plan({"cnn", {}}, {1, 28, 28})) << "of other classes";
  data.sample_shape = {1, 20, 20};
  EXPECT_FALSE(has_plan({"lenet", {}}, {1, 20, 20})) << "whose images it pads";
}

}  // namespace
}  // namespace muster
