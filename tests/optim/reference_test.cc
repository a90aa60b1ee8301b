// Every local optimiser against its rule written once more, by hand, in double precision.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "core/state.h"
#include "optim/local_optimizer.h"
#include "tests/optim/optimizers.h"
#include "tests/optim/random_task.h"

namespace muster {
namespace {

using ::testing::HasSubstr;
using Vector = std::vector<double>;
// One step of a method on x at step t of the task.
using Rule = std::function<void(const RandomTask& task, int64_t t, Vector& x)>;

constexpr int64_t kSteps = 50;
const Vector kZero(RandomTask::kElements, 0.0);

double Sign(double x) { return x > 0 ? 1 : x < 0 ? -1 : 0; }
double Norm1(const Vector& a, const Vector& b) {
  double sum = 0;
  for (size_t i = 0; i < a.size(); ++i) sum += std::abs(a[i] - b[i]);
  return sum;
}
double NormInf(const Vector& a, const Vector& b) {
  double most = 0;
  for (size_t i = 0; i < a.size(); ++i) most = std::max(most, std::abs(a[i] - b[i]));
  return most;
}
// The parameters' places in x: {7, 5}, {33}, {}, {1}.
const std::vector<std::pair<size_t, size_t>> kParts = {{0, 35}, {35, 68}, {68, 69}, {69, 70}};

struct Case {
  std::string name;
  OptionMap options;
  std::function<Rule()> rule;  // with fresh state
};
void PrintTo(const Case& test_case, std::ostream* out) {
  *out << test_case.name;
  for (const auto& [name, value] : test_case.options) *out << ' ' << name << '=' << ToString(value);
}

// --- The rules ---

Rule SgdRule(double rate, double momentum, bool nesterov, double decay) {
  return [=, m = kZero](const RandomTask& task, int64_t t, Vector& x) mutable {
    const Vector g = task.Gradient(t, x);
    for (size_t i = 0; i < x.size(); ++i) {
      const double d = g[i] + decay * x[i];
      m[i] = momentum * m[i] + d;
      x[i] -= rate * (momentum == 0 ? d : nesterov ? d + momentum * m[i] : m[i]);
    }
  };
}

Rule AdamRule(double rate, double penalty, double shrink, bool amsgrad) {
  return [=, m = kZero, v = kZero, most = kZero](const RandomTask& task, int64_t t, Vector& x) mutable {
    const Vector g = task.Gradient(t, x);
    for (size_t i = 0; i < x.size(); ++i) {
      const double d = g[i] + penalty * x[i];
      m[i] = 0.9 * m[i] + 0.1 * d;
      v[i] = 0.999 * v[i] + 0.001 * d * d;
      most[i] = amsgrad ? std::max(most[i], v[i]) : v[i];
      const double first = m[i] / (1 - std::pow(0.9, t + 1));
      const double second = most[i] / (1 - std::pow(0.999, t + 1));
      x[i] = (1 - rate * shrink) * x[i] - rate * first / (std::sqrt(second) + 1e-8);
    }
  };
}

Rule SignRule(double rate, double momentum, bool nesterov, double decay) {
  return [=, b = kZero](const RandomTask& task, int64_t t, Vector& x) mutable {
    const Vector g = task.Gradient(t, x);
    for (size_t i = 0; i < x.size(); ++i) {
      b[i] = momentum * b[i] + g[i];
      x[i] = (1 - rate * decay) * x[i] - rate * Sign(momentum == 0 ? g[i]
                                                     : nesterov    ? g[i] + momentum * b[i]
                                                                   : b[i]);
    }
  };
}

struct AliasCase {
  bool estimate = false;
  double distance = 1;
  double f_low = 0;
  double smoothness = 0;
  double probe = 0.01;  // long enough to be exact in float32
  int64_t gap = 1;
  bool same_batch = false;
  double clamp = 0;
  int64_t warmup = 0;
  double decay = 0;
  double momentum = 0;
};
Rule AliasRule(AliasCase c) {
  return [=, eta = 0.0, d = 0.0, fallen = 0.0, gamma = 0.0, x_a = kZero, g_a = kZero, b = kZero](
             const RandomTask& task, int64_t t, Vector& x) mutable {
    const Vector g = task.Gradient(t, x);
    if (t < c.warmup) {
      gamma = 1e-3 * static_cast<double>(t + 1) / static_cast<double>(c.warmup);
    } else if ((t - c.warmup) % c.gap == 0) {
      if (t == c.warmup) {
        d = c.estimate ? c.distance : task.Loss(t, x) - c.f_low;
        eta = c.smoothness;
        if (eta == 0) {
          Vector probe = x;
          for (size_t i = 0; i < x.size(); ++i) probe[i] -= c.probe * Sign(g[i]);
          eta = Norm1(task.Gradient(t, probe), g) / c.probe;
        }
      } else {
        eta += Norm1(g, c.same_batch ? task.Gradient(t, x_a) : g_a) / NormInf(x, x_a);
        for (size_t i = 0; i < x.size(); ++i) fallen += g[i] * (x_a[i] - x[i]);
        if (c.estimate) d = std::max(d, fallen);
      }
      x_a = x;
      g_a = g;
      gamma = std::sqrt(d / eta);
    }
    const double step = c.clamp > 0 ? std::min(gamma, c.clamp) : gamma;
    for (size_t i = 0; i < x.size(); ++i) {
      b[i] = c.momentum * b[i] + g[i];
      x[i] = (1 - step * c.decay) * x[i] - step * Sign(b[i]);
    }
  };
}

// eta in the units of the plain form: size x non-zero signs x ||dg||_inf / ||dx||_1.
Rule MemoryEfficientAliasRule() {
  return
      [eta = 0.0, d = 0.0, gamma = 0.0, last = kZero](const RandomTask& task, int64_t t, Vector& x) mutable {
        const Vector g = task.Gradient(t, x);
        if (t == 0) {
          d = task.Loss(t, x);
          Vector probe = x;
          for (size_t i = 0; i < x.size(); ++i) probe[i] -= 0.01 * Sign(g[i]);
          eta = Norm1(task.Gradient(t, probe), g) / 0.01;
        } else {
          double least = HUGE_VAL, largest = 0, bound = 0;
          for (const double value : last) {
            least = std::min(least, std::abs(value));
            largest = std::max(largest, std::abs(value));
          }
          for (size_t i = 0; i < g.size(); ++i) {
            const double s = Sign(last[i]);
            bound = std::max({bound, std::abs(g[i] - s * least), std::abs(g[i] - s * largest)});
          }
          eta += static_cast<double>(g.size()) * bound / gamma;
        }
        gamma = std::sqrt(d / eta);
        for (size_t i = 0; i < x.size(); ++i) x[i] -= gamma * Sign(g[i]);
        last = g;
      };
}

Rule AliasAdamRule(bool vision, double start) {
  return [=, d = Vector(kParts.size(), start), r = Vector(kParts.size(), vision ? 0.0 : start), m = kZero,
          v = kZero, last = kZero](const RandomTask& task, int64_t t, Vector& x) mutable {
    const Vector g = task.Gradient(t, x);
    const double decay = 0.1, rate = 0.01;
    for (size_t k = 0; k < kParts.size(); ++k) {
      const auto [begin, end] = kParts[k];
      double q = 0;
      for (size_t i = begin; i < end; ++i)
        q += vision ? g[i] * Sign(last[i]) : std::abs(g[i]) * std::abs(last[i]);
      if (t > 0) {
        r[k] = std::sqrt(0.999) * r[k] + (1 - std::sqrt(0.999)) * d[k] * q;
        d[k] = std::max(d[k], r[k]);
      }
      for (size_t i = begin; i < end; ++i) {
        m[i] = 0.9 * m[i] + 0.1 * d[k] * g[i];
        v[i] = 0.999 * v[i] + 0.001 * d[k] * d[k] * g[i] * g[i];
        if (vision) {
          x[i] = (1 - rate * decay) * x[i] - rate * d[k] * m[i] / (std::sqrt(v[i]) + 1e-8);
        } else {
          x[i] -=
              rate * Sign(m[i]) * std::sqrt(d[k] * d[k] / (1 + (v[i] - m[i] * m[i]) / (m[i] * m[i] + 1e-8)));
          x[i] *= 1 - rate * decay;
        }
      }
    }
    last = g;
  };
}

// By global norm, per tensor ("layer") or element ("coordinate").
Rule ClipRule(const std::string& norm, double level, double rate, double momentum) {
  return [=, m = kZero](const RandomTask& task, int64_t t, Vector& x) mutable {
    Vector g = task.Gradient(t, x);
    const auto clip = [&](size_t begin, size_t end) {
      double squares = 0;
      for (size_t i = begin; i < end; ++i) squares += g[i] * g[i];
      for (size_t i = begin; i < end; ++i) g[i] *= std::min(1.0, level / std::sqrt(squares));
    };
    if (norm == "global") clip(0, g.size());
    if (norm == "layer") {
      for (const auto& [begin, end] : kParts) clip(begin, end);
    }
    for (size_t i = 0; i < x.size(); ++i) {
      if (norm == "coordinate") g[i] = std::clamp(g[i], -level, level);
      m[i] = momentum * m[i] + g[i];
      x[i] -= rate * m[i];
    }
  };
}

Rule QuantileClipRule(double rate) {
  return [=, norms = Vector()](const RandomTask& task, int64_t t, Vector& x) mutable {
    const Vector g = task.Gradient(t, x);
    double squares = 0;
    for (const double value : g) squares += value * value;
    norms.push_back(std::sqrt(squares));
    Vector recent(norms.end() - std::min<int64_t>(10, static_cast<int64_t>(norms.size())), norms.end());
    std::sort(recent.begin(), recent.end());
    const auto rank = static_cast<size_t>(std::ceil(0.5 * static_cast<double>(recent.size()))) - 1;
    const double level = recent[rank] * std::pow(1 + static_cast<double>(t) / 10, 1 / 1.5 - 0.5);
    for (size_t i = 0; i < x.size(); ++i) x[i] -= rate * g[i] * std::min(1.0, level / norms.back());
  };
}

const Vector kInverseSizes = {1.0 / 30 / (1.0 / 30 + 1.0 / 50 + 1.0 / 20),
                              1.0 / 50 / (1.0 / 30 + 1.0 / 50 + 1.0 / 20),
                              1.0 / 20 / (1.0 / 30 + 1.0 / 50 + 1.0 / 20)};

Rule AlsoRule(bool optimistic, const Vector& prior, double pi_rate) {
  const double rate = 0.01, decay = 0.001, alpha = 0.5, tau = 0.1, eps = 1e-6;
  return [=, m = kZero, v = kZero, s = 0, pi = prior, last_g = kZero, last_p = Vector()](
             const RandomTask& task, int64_t t, Vector& x) mutable {
    const auto adam = [&](const Vector& g, double scale, const Vector& from) {
      ++s;
      Vector to = from;
      for (size_t i = 0; i < from.size(); ++i) {
        const double d = scale * g[i] + decay * from[i];
        m[i] = 0.9 * m[i] + 0.1 * d;
        v[i] = 0.999 * v[i] + 0.001 * d * d;
        to[i] -= rate * std::sqrt(1 - std::pow(0.999, s)) / (1 - std::pow(0.9, s)) * m[i] /
                 (std::sqrt(v[i]) + eps);
      }
      return to;
    };
    const auto mirror = [&](const Vector& p) {
      Vector z(pi.size());
      double sum = 0;
      for (size_t g = 0; g < z.size(); ++g) {
        z[g] = std::exp((std::log(pi[g] + eps) + pi_rate * tau * std::log(prior[g]) - pi_rate * p[g]) /
                        (1 + pi_rate * tau));
        sum += z[g];
      }
      for (double& value : z) value /= sum;
      return z;
    };
    const Vector x_0 = x;
    Vector half = pi;
    if (optimistic && t > 0) {
      x = adam(last_g, alpha, x_0);
      half = mirror(last_p);
    }
    const double scale = static_cast<double>(prior.size()) / RandomTask::kBatch;
    Vector weights;
    for (const int64_t group : task.groups[t]) weights.push_back(scale * half[group]);
    const Vector losses = task.SampleLosses(t, x);
    last_g = task.Gradient(t, x, weights);
    x = adam(last_g, 1, x_0);
    last_p = Vector(prior.size(), 0.0);
    for (size_t j = 0; j < losses.size(); ++j) last_p[task.groups[t][j]] -= scale * losses[j];
    pi = mirror(last_p);
  };
}

Rule StaticWeightsRule(const Vector& prior, double rate) {
  return [=](const RandomTask& task, int64_t t, Vector& x) {
    Vector weights;
    for (const int64_t group : task.groups[t]) weights.push_back(3 * prior[group] / RandomTask::kBatch);
    const Vector g = task.Gradient(t, x, weights);
    for (size_t i = 0; i < x.size(); ++i) x[i] -= rate * g[i];
  };
}

Rule GroupDroRule(double rate, double group_rate) {
  return [=, q = Vector(3, 1.0 / 3)](const RandomTask& task, int64_t t, Vector& x) mutable {
    Vector sums(3), counts(3), weights;
    const Vector losses = task.SampleLosses(t, x);
    for (size_t j = 0; j < losses.size(); ++j) {
      sums[task.groups[t][j]] += losses[j];
      ++counts[task.groups[t][j]];
    }
    double total = 0;
    for (size_t g = 0; g < 3; ++g) {
      if (counts[g] > 0) q[g] *= std::exp(group_rate * sums[g] / counts[g]);
      total += q[g];
    }
    for (double& value : q) value /= total;
    for (const int64_t group : task.groups[t]) weights.push_back(q[group] / counts[group]);
    const Vector g = task.Gradient(t, x, weights);
    for (size_t i = 0; i < x.size(); ++i) x[i] -= rate * g[i];
  };
}

std::vector<Case> Cases() {
  const OptionValue probe = 0.01;
  return {
      {"sgd", {{"learning_rate", 0.05}}, [] { return SgdRule(0.05, 0, false, 0); }},
      {"sgd",
       {{"learning_rate", 0.05}, {"momentum", 0.9}, {"weight_decay", 0.01}},
       [] { return SgdRule(0.05, 0.9, false, 0.01); }},
      {"sgd",
       {{"learning_rate", 0.05}, {"momentum", 0.9}, {"nesterov", true}},
       [] { return SgdRule(0.05, 0.9, true, 0); }},
      {"adam", {{"learning_rate", 0.01}}, [] { return AdamRule(0.01, 0, 0, false); }},
      {"adam",
       {{"learning_rate", 0.01}, {"weight_decay", 0.01}, {"amsgrad", true}},
       [] { return AdamRule(0.01, 0.01, 0, true); }},
      {"adamw",
       {{"learning_rate", 0.01}, {"weight_decay", 0.1}},
       [] { return AdamRule(0.01, 0, 0.1, false); }},
      {"rmsprop",
       {{"learning_rate", 0.01}},
       [] {
         return Rule([s = kZero](const RandomTask& task, int64_t t, Vector& x) mutable {
           const Vector g = task.Gradient(t, x);
           for (size_t i = 0; i < x.size(); ++i) {
             s[i] = 0.99 * s[i] + 0.01 * g[i] * g[i];
             x[i] -= 0.01 * g[i] / (std::sqrt(s[i]) + 1e-8);
           }
         });
       }},
      {"rmsprop",
       {{"learning_rate", 0.01}, {"momentum", 0.5}, {"weight_decay", 0.1}},
       [] {
         return Rule([s = kZero, b = kZero](const RandomTask& task, int64_t t, Vector& x) mutable {
           const Vector g = task.Gradient(t, x);
           for (size_t i = 0; i < x.size(); ++i) {
             const double d = g[i] + 0.1 * x[i];
             s[i] = 0.99 * s[i] + 0.01 * d * d;
             b[i] = 0.5 * b[i] + d / (std::sqrt(s[i]) + 1e-8);
             x[i] -= 0.01 * b[i];
           }
         });
       }},
      {"adagrad",
       {{"learning_rate", 0.05}, {"decay", 0.1}, {"initial_sum", 0.5}, {"weight_decay", 0.1}},
       [] {
         return Rule([s = Vector(kZero.size(), 0.5)](const RandomTask& task, int64_t t, Vector& x) mutable {
           const Vector g = task.Gradient(t, x);
           for (size_t i = 0; i < x.size(); ++i) {
             const double d = g[i] + 0.1 * x[i];
             s[i] += d * d;
             x[i] -= 0.05 / (1 + 0.1 * static_cast<double>(t)) * d / (std::sqrt(s[i]) + 1e-10);
           }
         });
       }},
      {"sign_sgd",
       {{"learning_rate", 0.01}, {"weight_decay", 0.1}},
       [] { return SignRule(0.01, 0, false, 0.1); }},
      {"sign_sgd",
       {{"learning_rate", 0.01}, {"momentum", 0.9}},
       [] { return SignRule(0.01, 0.9, false, 0); }},
      {"sign_sgd",
       {{"learning_rate", 0.01}, {"momentum", 0.9}, {"nesterov", true}},
       [] { return SignRule(0.01, 0.9, true, 0); }},
      {"alias", {{"gap", int64_t{1}}, {"probe", probe}}, [] { return AliasRule({}); }},
      {"alias",
       {{"gap", int64_t{10}}, {"probe", probe}, {"f_low", 1.0}, {"weight_decay", 0.1}, {"clamp", 0.02}},
       [] { return AliasRule({.f_low = 1, .gap = 10, .clamp = 0.02, .decay = 0.1}); }},
      {"alias",
       {{"gap", int64_t{1}}, {"distance", std::string("estimate")}, {"initial_smoothness", 20.0}},
       [] { return AliasRule({.estimate = true, .smoothness = 20}); }},
      {"alias",
       {{"gap", int64_t{5}},
        {"same_batch", true},
        {"probe", probe},
        {"warmup", int64_t{3}},
        {"warmup_learning_rate", 1e-3},
        {"momentum", 0.9}},
       [] { return AliasRule({.gap = 5, .same_batch = true, .warmup = 3, .momentum = 0.9}); }},
      {"alias",
       {{"gap", int64_t{1}}, {"memory_efficient", true}, {"probe", probe}},
       MemoryEfficientAliasRule},
      {"alias_vote", {{"learning_rate", 0.5}}, [] { return SignRule(0.5, 0, false, 0); }},
      {"alias_adam",
       {{"learning_rate", 0.01}, {"weight_decay", 0.1}},
       [] { return AliasAdamRule(false, 1); }},
      {"alias_adam",
       {{"learning_rate", 0.01},
        {"weight_decay", 0.1},
        {"form", std::string("vision")},
        {"initial_distance", 0.1}},
       [] { return AliasAdamRule(true, 0.1); }},
      {"clip_sgd", {{"learning_rate", 0.1}, {"level", 0.5}}, [] { return ClipRule("global", 0.5, 0.1, 0); }},
      {"clip_sgd",
       {{"learning_rate", 0.1}, {"level", 0.3}, {"norm", std::string("layer")}, {"momentum", 0.5}},
       [] { return ClipRule("layer", 0.3, 0.1, 0.5); }},
      {"clip_sgd",
       {{"learning_rate", 0.1}, {"level", 0.1}, {"norm", std::string("coordinate")}},
       [] { return ClipRule("coordinate", 0.1, 0.1, 0); }},
      {"clip_sgd",
       {{"learning_rate", 0.1},
        {"rule", std::string("quantile")},
        {"quantile", 0.5},
        {"window", int64_t{10}}},
       [] { return QuantileClipRule(0.1); }},
      {"also",
       {{"learning_rate", 0.01},
        {"alpha", 0.5},
        {"pi_learning_rate", 0.05},
        {"pi_decay", 0.1},
        {"epsilon", 1e-6}},
       [] { return AlsoRule(true, kInverseSizes, 0.05); }},
      {"also",
       {{"learning_rate", 0.01},
        {"mode", std::string("descent_ascent")},
        {"prior", std::string("uniform")},
        {"pi_learning_rate", 0.05},
        {"pi_decay", 0.1},
        {"epsilon", 1e-6}},
       [] { return AlsoRule(false, Vector(3, 1.0 / 3), 0.05); }},
      {"static_weights", {{"learning_rate", 0.05}}, [] { return StaticWeightsRule(kInverseSizes, 0.05); }},
      {"static_weights",
       {{"learning_rate", 0.05}, {"prior", std::string("given")}, {"weights", Vector{1, 2, 5}}},
       [] {
         return StaticWeightsRule({0.125, 0.25, 0.625}, 0.05);
       }},
      {"group_dro",
       {{"learning_rate", 0.05}, {"prior", std::string("uniform")}, {"group_learning_rate", 0.1}},
       [] { return GroupDroRule(0.05, 0.1); }},
  };
}

class ReferenceTest : public ::testing::TestWithParam<Case> {
 protected:
  struct Run {
    explicit Run(const RandomTask& task, const Case& test_case, bool by_tensors = false)
        : oracle(task, parameters) {
      auto made = Registry<LocalOptimizer>::Get().Create(
          {test_case.name, test_case.options},
          {.parameters = parameters, .names = {"a", "b", "c", "d"}, .by_tensors = by_tensors});
      EXPECT_TRUE(made.ok()) << made.status();
      optimizer = *std::move(made);
    }
    void Steps(int64_t from, int64_t to) {
      for (oracle.step = from; oracle.step < to; ++oracle.step) {
        const auto report = optimizer->Step(oracle);
        ASSERT_TRUE(report.ok()) << report.status();
      }
    }
    std::vector<at::Tensor> parameters = DrawParameters();
    RandomTaskOracle oracle;
    std::unique_ptr<LocalOptimizer> optimizer;
  };
  static const RandomTask& Task() {
    static const RandomTask* const task = new RandomTask(kSteps);
    return *task;
  }
};

TEST_P(ReferenceTest, FollowsTheRuleOver50Steps) {
  Run run(Task(), GetParam());
  const std::vector<float> start = Flat(run.parameters);
  Vector x(start.begin(), start.end());
  const Rule rule = GetParam().rule();
  for (int64_t t = 0; t < kSteps; ++t) rule(Task(), t, x);
  run.Steps(0, kSteps);
  const std::vector<float> actual = Flat(run.parameters);
  double moved = 0;
  for (size_t i = 0; i < x.size(); ++i) {
    EXPECT_NEAR(actual[i], x[i], 5e-5) << "element " << i;
    moved = std::max(moved, std::abs(x[i] - static_cast<double>(start[i])));
  }
  EXPECT_GT(moved, 1e-2);
}

TEST_P(ReferenceTest, FollowsTheRuleByTensorsToo) {
  if (!Run(Task(), GetParam()).optimizer->AnyDevice()) GTEST_SKIP() << "steps on the CPU only";
  Run run(Task(), GetParam(), /*by_tensors=*/true);
  const std::vector<float> start = Flat(run.parameters);
  Vector x(start.begin(), start.end());
  const Rule rule = GetParam().rule();
  for (int64_t t = 0; t < kSteps; ++t) rule(Task(), t, x);
  run.Steps(0, 17);
  // Its state is that of the loops, and goes on in them and back.
  State state;
  run.optimizer->Save(state);
  Run loops(Task(), GetParam());
  ASSERT_TRUE(loops.optimizer->Load(state).ok());
  State again;
  loops.optimizer->Save(again);
  EXPECT_EQ(state, again);
  run.optimizer->Reset();
  ASSERT_TRUE(run.optimizer->Load(again).ok());
  run.Steps(17, kSteps);
  const std::vector<float> actual = Flat(run.parameters);
  for (size_t i = 0; i < x.size(); ++i) EXPECT_NEAR(actual[i], x[i], 5e-5) << "element " << i;
}

TEST_P(ReferenceTest, LeavesAParameterWithoutGradientAloneByTensorsToo) {
  if (!Run(Task(), GetParam()).optimizer->AnyDevice()) GTEST_SKIP() << "steps on the CPU only";
  Run run(Task(), GetParam(), /*by_tensors=*/true), loops(Task(), GetParam());
  for (Run* each : {&run, &loops}) {
    each->oracle.undefined = 1;
    each->Steps(0, 12);
    each->oracle.undefined = -1;
    each->Steps(12, 30);
  }
  const std::vector<float> actual = Flat(run.parameters), expected = Flat(loops.parameters);
  for (size_t i = 0; i < actual.size(); ++i) EXPECT_NEAR(actual[i], expected[i], 5e-5) << "element " << i;
}

TEST_P(ReferenceTest, GoesOnFromASavedStateWithTheSameBits) {
  Run straight(Task(), GetParam());
  straight.Steps(0, 40);
  Run first(Task(), GetParam());
  first.Steps(0, 17);
  State state;
  first.optimizer->Save(state);
  Run second(Task(), GetParam());
  {
    const at::NoGradGuard no_grad;
    for (size_t k = 0; k < 4; ++k) second.parameters[k].copy_(first.parameters[k]);
  }
  ASSERT_TRUE(second.optimizer->Load(state).ok());
  second.Steps(17, 40);
  EXPECT_EQ(Flat(second.parameters), Flat(straight.parameters));
  State end, straight_end;
  second.optimizer->Save(end);
  straight.optimizer->Save(straight_end);
  EXPECT_EQ(end, straight_end);
}

TEST_P(ReferenceTest, ZeroGradientsMoveNothingButByDecay) {
  Case without_decay = GetParam();
  if (without_decay.options.contains("weight_decay")) without_decay.options["weight_decay"] = 0.0;
  if (without_decay.name == "also") without_decay.options["weight_decay"] = 0.0;
  Run run(Task(), without_decay);
  const std::vector<float> start = Flat(run.parameters);
  run.oracle.zero = true;
  run.Steps(0, 12);
  EXPECT_EQ(Flat(run.parameters), start);
}

TEST_P(ReferenceTest, RefusesANaNGradientByTheParametersName) {
  Run run(Task(), GetParam());
  run.Steps(0, 10);
  run.oracle.spoilt = 1;
  const absl::Status status = run.optimizer->Step(run.oracle).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(Message(status), HasSubstr("parameter 1 (b)"));
}

TEST_P(ReferenceTest, LeavesAParameterWithoutGradientAlone) {
  Run run(Task(), GetParam());
  const std::vector<float> start = Flat({run.parameters[1]});
  run.oracle.undefined = 1;
  run.Steps(0, 12);
  EXPECT_EQ(Flat({run.parameters[1]}), start);
  run.oracle.undefined = -1;
  run.Steps(12, 30);
  EXPECT_NE(Flat({run.parameters[1]}), start);
}

TEST_P(ReferenceTest, RefusesAForeignState) {
  Run run(Task(), GetParam());
  run.Steps(0, 5);
  State foreign;
  foreign.vectors["of_another"] = {1, 2, 3};
  foreign.vectors["inner/of_another"] = {1, 2, 3};
  EXPECT_EQ(run.optimizer->Load(foreign).code(), absl::StatusCode::kInvalidArgument);
}

INSTANTIATE_TEST_SUITE_P(All, ReferenceTest, ::testing::ValuesIn(Cases()));

TEST(ReferencesTest, AreThereForEveryOptimizerThatLearns) {
  std::set<std::string> have;
  for (const Case& test_case : Cases()) have.insert(test_case.name);
  for (const std::string& name : OptimizersThatLearn()) EXPECT_TRUE(have.contains(name)) << name;
}

}  // namespace
}  // namespace muster
