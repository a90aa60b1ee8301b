#include "learning/plan.h"

#include <ATen/ATen.h>
#include <gmock/gmock.h>

#include <cmath>
#include <numeric>

#include "absl/strings/str_cat.h"
#include "core/random.h"
#include "learning/dense.h"

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

struct Case {
  std::string name;
  PluginConfig model;
  LossKind loss;
};

class PlanTest : public testing::TestWithParam<Case> {
 protected:
  static Dataset Data() {
    Dataset data;
    data.sample_shape = {1, 5, 5};
    data.inputs = Normal(40 * 25, 5);
    data.values = Normal(40, 6);
    data.num_classes = GetParam().loss == LossKind::kBinary ? 2 : 4;
    for (int64_t i = 0; i < 40; ++i) data.labels.push_back(i * i % data.num_classes);
    return data;
  }
  static std::unique_ptr<FlatModel> MakeRandomModel() {
    const int64_t outputs = GetParam().loss == LossKind::kCrossEntropy ? 4 : 1;
    auto model = MakeModel(GetParam().model, {{1, 5, 5}, outputs, ""}, 3);
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
    const double loss = plan->Gradient(data, batch);
    std::vector<at::Tensor> gradients;
    for (const at::Tensor& parameter : model->parameters()) gradients.push_back(parameter.grad().clone());

    at::Tensor inputs = at::empty({static_cast<int64_t>(size), 1, 5, 5}, at::kFloat);
    std::vector<float> values;
    std::vector<int64_t> labels;
    for (size_t i = 0; i < size; ++i) {
      std::copy_n(&data.inputs[batch[i] * 25], 25, inputs.data_ptr<float>() + i * 25);
      labels.push_back(data.labels[batch[i]]);
      values.push_back(GetParam().loss == LossKind::kMse ? data.values[batch[i]]
                                                         : static_cast<float>(labels.back()));
    }
    const at::Tensor targets = GetParam().loss == LossKind::kCrossEntropy
                                   ? at::tensor(at::ArrayRef<int64_t>(labels))
                                   : at::tensor(at::ArrayRef<float>(values));
    for (const at::Tensor& parameter : model->parameters()) parameter.mutable_grad().reset();
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
  const double relabelled = plan->Gradient(data, std::vector<uint32_t>{3, 5, 8}, relabel);
  for (int64_t& label : data.labels) label = relabel[static_cast<size_t>(label)];
  EXPECT_EQ(relabelled, plan->Gradient(data, std::vector<uint32_t>{3, 5, 8}));
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
                         LossKind::kBinary}),
    [](const auto& info) { return info.param.name; });

TEST(NoPlanTest, OtherModelsHaveNone) {
  auto gelu = MakeModel({"mlp", {{"activation", std::string("gelu")}}}, {{1, 5, 5}, 4, ""}, 1);
  auto lenet = MakeModel({"lenet", {}}, {{1, 28, 28}, 4, ""}, 1);
  ASSERT_TRUE(gelu.ok() && lenet.ok()) << gelu.status() << lenet.status();
  Dataset data;
  data.sample_shape = {1, 5, 5};
  data.num_classes = 4;
  EXPECT_EQ(FeedForwardPlan::Make(**gelu, LossKind::kCrossEntropy, data), nullptr);
  auto softmax = MakeModel({"softmax", {}}, {{1, 5, 5}, 4, ""}, 1);
  EXPECT_NE(FeedForwardPlan::Make(**softmax, LossKind::kCrossEntropy, data) != nullptr, !HasFastDense());
  data.num_classes = 3;
  EXPECT_EQ(FeedForwardPlan::Make(**softmax, LossKind::kCrossEntropy, data), nullptr) << "of other classes";
  data.sample_shape = {1, 28, 28};
  EXPECT_EQ(FeedForwardPlan::Make(**lenet, LossKind::kCrossEntropy, data), nullptr);
}

}  // namespace
}  // namespace muster
