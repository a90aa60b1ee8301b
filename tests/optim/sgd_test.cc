#include "optim/sgd.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <sstream>
#include <vector>

#include "core/random.h"

namespace muster::optim {
namespace {

at::Tensor Draw(std::vector<int64_t> shape, uint64_t seed) {
  Random random({.seed = seed});
  at::Tensor tensor = at::empty(shape, at::kFloat);
  for (int64_t i = 0; i < tensor.numel(); ++i)
    tensor.data_ptr<float>()[i] = static_cast<float>(random.Normal());
  return tensor;
}

std::vector<at::Tensor> Parameters() {
  return {Draw({7, 5}, 1).requires_grad_(), Draw({33}, 2).requires_grad_(), Draw({}, 3).requires_grad_()};
}

void SetGradients(const std::vector<at::Tensor>& parameters, uint64_t step) {
  for (size_t i = 0; i < parameters.size(); ++i) {
    parameters[i].mutable_grad() = Draw(parameters[i].sizes().vec(), 100 + 10 * step + i);
  }
}

void RunSteps(torch::optim::Optimizer& optimizer, const std::vector<at::Tensor>& parameters, uint64_t from,
              uint64_t to) {
  for (uint64_t step = from; step < to; ++step) {
    SetGradients(parameters, step);
    optimizer.step();
  }
}

std::vector<float> Values(const std::vector<at::Tensor>& tensors) {
  std::vector<float> values;
  for (const at::Tensor& tensor : tensors) {
    const float* const data = tensor.data_ptr<float>();
    values.insert(values.end(), data, data + tensor.numel());
  }
  return values;
}

// The rule in double precision, one element at a time (Sutskever et al. 2013 in LibTorch's formulation).
std::vector<double> Reference(const SgdOptions& options, uint64_t steps) {
  std::vector<at::Tensor> parameters = Parameters();
  const std::vector<float> start = Values(parameters);
  std::vector<double> p(start.begin(), start.end());
  std::vector<double> m(p.size(), 0.0);
  for (uint64_t step = 0; step < steps; ++step) {
    SetGradients(parameters, step);
    std::vector<at::Tensor> gradients;
    for (const at::Tensor& parameter : parameters) gradients.push_back(parameter.grad());
    const std::vector<float> g = Values(gradients);
    for (size_t i = 0; i < p.size(); ++i) {
      double d = g[i] + options.weight_decay() * p[i];
      if (options.momentum() > 0) {
        m[i] = step == 0 ? d : options.momentum() * m[i] + (1 - options.dampening()) * d;
        d = options.nesterov() ? d + options.momentum() * m[i] : m[i];
      }
      p[i] -= options.lr() * d;
    }
  }
  return p;
}

class SgdRuleTest : public ::testing::TestWithParam<SgdOptions> {};

TEST_P(SgdRuleTest, FollowsTheRuleOver50Steps) {
  const std::vector<at::Tensor> parameters = Parameters();
  Sgd sgd(parameters, GetParam());
  RunSteps(sgd, parameters, 0, 50);
  const std::vector<double> expected = Reference(GetParam(), 50);
  const std::vector<float> actual = Values(parameters);
  for (size_t i = 0; i < expected.size(); ++i) EXPECT_NEAR(actual[i], expected[i], 2e-5) << "element " << i;
}

TEST_P(SgdRuleTest, AgreesWithLibTorch) {
  const std::vector<at::Tensor> ours = Parameters();
  const std::vector<at::Tensor> theirs = Parameters();
  const SgdOptions& options = GetParam();
  Sgd sgd(ours, options);
  torch::optim::SGD reference(theirs, torch::optim::SGDOptions(options.lr())
                                          .momentum(options.momentum())
                                          .dampening(options.dampening())
                                          .weight_decay(options.weight_decay())
                                          .nesterov(options.nesterov()));
  RunSteps(sgd, ours, 0, 50);
  RunSteps(reference, theirs, 0, 50);
  const std::vector<float> expected = Values(theirs);
  const std::vector<float> actual = Values(ours);
  for (size_t i = 0; i < expected.size(); ++i) EXPECT_NEAR(actual[i], expected[i], 1e-5) << "element " << i;
}

TEST_P(SgdRuleTest, GoesOnFromASavedStateWithTheSameBits) {
  const std::vector<at::Tensor> straight = Parameters();
  Sgd uninterrupted(straight, GetParam());
  RunSteps(uninterrupted, straight, 0, 20);

  const std::vector<at::Tensor> first = Parameters();
  Sgd before(first, GetParam());
  RunSteps(before, first, 0, 7);
  std::stringstream saved;
  {
    torch::serialize::OutputArchive archive;
    before.save(archive);
    archive.save_to(saved);
  }
  std::vector<at::Tensor> second;
  for (const at::Tensor& tensor : first) second.push_back(tensor.detach().clone().requires_grad_());
  Sgd after(second, GetParam());
  torch::serialize::InputArchive archive;
  archive.load_from(saved);
  after.load(archive);
  RunSteps(after, second, 7, 20);
  EXPECT_EQ(Values(second), Values(straight));
}

TEST_P(SgdRuleTest, ResetForgetsTheMomentum) {
  const std::vector<at::Tensor> used = Parameters();
  Sgd sgd(used, GetParam());
  RunSteps(sgd, used, 0, 5);
  sgd.Reset();
  const std::vector<at::Tensor> fresh = Parameters();
  {
    const torch::NoGradGuard no_grad;
    for (size_t i = 0; i < used.size(); ++i) used[i].copy_(fresh[i]);
  }
  Sgd other(fresh, GetParam());
  RunSteps(sgd, used, 5, 9);
  RunSteps(other, fresh, 5, 9);
  EXPECT_EQ(Values(used), Values(fresh));
}

INSTANTIATE_TEST_SUITE_P(Options, SgdRuleTest,
                         ::testing::Values(SgdOptions(0.1), SgdOptions(0.1).weight_decay(0.01),
                                           SgdOptions(0.05).momentum(0.9),
                                           SgdOptions(0.05).momentum(0.9).dampening(0.3),
                                           SgdOptions(0.05).momentum(0.9).nesterov(true).weight_decay(0.01)));

TEST(SgdTest, ZeroGradientsChangeNothing) {
  const std::vector<at::Tensor> parameters = Parameters();
  const std::vector<float> before = Values(parameters);
  Sgd sgd(parameters, SgdOptions(0.1).momentum(0.9));
  for (const at::Tensor& parameter : parameters) parameter.mutable_grad() = at::zeros_like(parameter);
  sgd.step();
  EXPECT_EQ(Values(parameters), before);
}

TEST(SgdTest, SkipsParametersWithoutGradient) {
  const std::vector<at::Tensor> parameters = Parameters();
  const std::vector<float> before = Values({parameters[0], parameters[2]});
  Sgd sgd(parameters, SgdOptions(0.1).momentum(0.9));
  parameters[1].mutable_grad() = at::ones_like(parameters[1]);
  sgd.step();
  sgd.Reset();
  EXPECT_EQ(Values({parameters[0], parameters[2]}), before);
}

TEST(SgdTest, TakesGradientsOfAnyMemoryOrder) {
  const at::Tensor parameter = at::zeros({2, 3}).requires_grad_();
  parameter.mutable_grad() = at::tensor({1.0F, 2.0F, 3.0F, 4.0F, 5.0F, 6.0F}).view({3, 2}).t();
  Sgd({parameter}, SgdOptions(1)).step();
  EXPECT_EQ(Values({parameter}), (std::vector<float>{-1, -3, -5, -2, -4, -6}));
}

TEST(SgdTest, NamesTheParameterWithANonFiniteGradient) {
  for (const float bad : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity(),
                          -std::numeric_limits<float>::infinity()}) {
    for (const double momentum : {0.0, 0.9}) {
      const std::vector<at::Tensor> parameters = Parameters();
      Sgd sgd(parameters, SgdOptions(0.1).momentum(momentum));
      SetGradients(parameters, 0);
      sgd.step();
      parameters[1].grad().data_ptr<float>()[32] = bad;
      try {
        sgd.step();
        ADD_FAILURE() << "took " << bad;
      } catch (const c10::Error& e) {
        EXPECT_THAT(e.what_without_backtrace(), ::testing::HasSubstr("parameter 1"));
      }
    }
  }
}

TEST(SgdTest, RunsItsClosureWithGradientsOn) {
  const at::Tensor parameter = at::ones({3}).requires_grad_();
  Sgd sgd({parameter}, SgdOptions(0.5));
  const at::Tensor loss = sgd.step([&] {
    at::Tensor value = (parameter * parameter).sum();
    value.backward();
    return value;
  });
  EXPECT_EQ(loss.item<float>(), 3);
  EXPECT_EQ(Values({parameter}), (std::vector<float>{0, 0, 0}));
}

TEST(SgdTest, RefusesImpossibleOptions) {
  EXPECT_THROW(Sgd(Parameters(), SgdOptions(-1)), c10::Error);
  EXPECT_THROW(Sgd(Parameters(), SgdOptions(1).nesterov(true)), c10::Error);
}

}  // namespace
}  // namespace muster::optim
