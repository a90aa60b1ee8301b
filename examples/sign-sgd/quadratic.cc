// ALIAS against every constant step size on a quadratic of 50 dimensions: the LibTorch optimisers of
// Muster::optim alone. f(x) = 1/2 (x - x*)' A (x - x*), eigenvalues 1e-2 .. 10 in a random orthogonal basis,
// x_0 = 0, 2000 steps; the measure is the mean of ||g_t||_1. Prints the table beside the expected one; fails
// if a criterion is not met.
#include <torch/torch.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <memory>
#include <string>
#include <vector>

#include "optim/alias.h"
#include "optim/sign_sgd.h"
#include "optim/sos.h"

using muster::optim::Alias;
using muster::optim::AliasOptions;
using muster::optim::SignRun;
using muster::optim::SignSgd;

namespace {

constexpr int kDimensions = 50;
constexpr int kSteps = 2000;

struct Quadratic {
  explicit Quadratic(double factor = 1) {
    torch::manual_seed(0);
    const torch::Tensor basis =
        std::get<0>(at::linalg_qr(torch::randn({kDimensions, kDimensions}, torch::kDouble)));
    const torch::Tensor eigenvalues = torch::logspace(-2, 1, kDimensions, 10, torch::kDouble);
    matrix = factor * basis.matmul(torch::diag(eigenvalues)).matmul(basis.t());
    solution = torch::randn({kDimensions}, torch::kDouble);
  }
  double Value(const torch::Tensor& x) const {
    const torch::Tensor away = x.to(torch::kDouble) - solution;
    return 0.5 * away.dot(matrix.mv(away)).item<double>();
  }
  // In double, so that rounding does not hide the criteria of exactness.
  torch::Tensor Gradient(const torch::Tensor& x) const { return matrix.mv(x.to(torch::kDouble) - solution); }

  torch::Tensor matrix, solution;
};

struct Run {
  double mean_norm = 0;  // of ||g_t||_1
  SignRun sign;          // for SOS
  bool distance_rises = true;
  double distance = 0;  // d_T
  torch::Tensor path;   // [steps, dimensions]
};

template <typename Method, typename Options>
Run Descend(const Quadratic& f, const Options& options) {
  const torch::Tensor x = torch::zeros({kDimensions}).requires_grad_();
  Method method({x}, options);
  Run run;
  std::vector<torch::Tensor> path;
  torch::Tensor last;
  const double start = f.Value(x.detach());
  double least = start;
  for (int t = 0; t < kSteps; ++t) {
    const torch::Tensor g = f.Gradient(x.detach());
    run.mean_norm += g.abs().sum().item<double>() / kSteps;
    if (last.defined()) run.sign.change += (g - last).abs().sum().item<double>();
    last = g;
    least = std::min(least, f.Value(x.detach()));
    method.step([&] {
      x.mutable_grad() = f.Gradient(x.detach()).to(torch::kFloat);
      return torch::tensor(f.Value(x.detach()), torch::kDouble);
    });
    if constexpr (std::is_same_v<Method, Alias>) {
      run.distance_rises = run.distance_rises && method.distance() >= run.distance;
      run.distance = method.distance();
    }
    path.push_back(x.detach().clone());
  }
  run.sign.decrease = start - least;
  run.path = torch::stack(path);
  return run;
}

AliasOptions OptionOne(double distance) {
  return AliasOptions().gap(1).distance("estimate").initial_distance(distance);
}

int failures = 0;
void Check(bool good, const std::string& what) {
  std::printf("  %s  %s\n", good ? "pass" : "FAIL", what.c_str());
  failures += good ? 0 : 1;
}
std::string Text(double value) {
  char text[32];
  std::snprintf(text, sizeof text, "%.3g", value);
  return text;
}

}  // namespace

int main() {
  const Quadratic f;
  const double whole = f.Value(torch::zeros({kDimensions}));
  std::printf("mean ||g||_1 over %d steps, f(x_0) - f* = %.1f\n\n%-34s %9s %9s\n", kSteps, whole, "", "here",
              "expected");
  double best = HUGE_VAL;
  double best_step = 0;
  for (double exponent = -4.5; exponent <= -0.5; exponent += 0.5) {
    const double step = std::pow(10, exponent);
    const double norm = Descend<SignSgd>(f, muster::optim::SignSgdOptions(step)).mean_norm;
    std::printf("sign_sgd, step %-19.2g %9.2f %9s\n", step, norm, exponent == -2 ? "2.97" : "");
    if (norm < best) {
      best = norm;
      best_step = step;
    }
  }
  const auto sos = muster::optim::BisectStepSize([&](double step) -> absl::StatusOr<SignRun> {
    return Descend<SignSgd>(f, muster::optim::SignSgdOptions(step)).sign;
  });
  if (!sos.ok()) return 1;
  const double sos_norm = Descend<SignSgd>(f, muster::optim::SignSgdOptions(sos->step_size)).mean_norm;
  std::printf("SOS, step %.2g after %d runs %15.2f\n", sos->step_size, sos->runs, sos_norm);

  const Run one = Descend<Alias>(f, OptionOne(1));
  const Run two = Descend<Alias>(f, AliasOptions().gap(1));
  std::printf("%-34s %9.2f %9s\n%-34s %9.2f %9s\n", "alias, distance estimated (I)", one.mean_norm, "1.95",
              "alias, distance by loss (II)", two.mean_norm, "2.16");
  const Run light = Descend<Alias>(f, AliasOptions().gap(1).memory_efficient(true));
  std::printf("%-34s %9.2f\n", "alias, memory-efficient", light.mean_norm);
  double worst_start = 0;
  double best_start = HUGE_VAL;
  for (double start = 1e-6; start < 20; start *= 10) {
    const double norm = Descend<Alias>(f, OptionOne(start)).mean_norm;
    std::printf("alias (I) from d_0 = %-13.0e %9.2f %9s\n", start, norm,
                start < 2e-6 ? "2.08"
                : start > 5  ? "1.60"
                             : "");
    worst_start = std::max(worst_start, norm);
    best_start = std::min(best_start, norm);
  }
  // A factor that is a power of two changes no rounding, so the bits must agree; with 100, float32 rounds
  // otherwise, and the sign of a gradient near 0 may flip in the end.
  const auto differs = [&](double factor, const AliasOptions& options, const AliasOptions& scaled_options) {
    const torch::Tensor a = Descend<Alias>(Quadratic(factor), scaled_options).path;
    const torch::Tensor b = Descend<Alias>(f, options).path;
    return std::pair{((a - b).norm() / b.norm()).item<double>(),
                     ((a[99] - b[99]).norm() / b[99].norm()).item<double>()};
  };
  const auto [one_differs, one_begins] = differs(128, OptionOne(1), OptionOne(128));
  const auto [two_differs, two_begins] = differs(128, AliasOptions().gap(1), AliasOptions().gap(1));
  const auto [hundred, hundred_begins] = differs(100, OptionOne(1).probe(1e-2), OptionOne(100).probe(1e-2));
  std::printf("100 f, distance estimated: iterates differ by %.1e of their norm, the 100th by %.1e\n",
              hundred, hundred_begins);

  std::printf("\n");
  Check(one.mean_norm <= 1.2 * best && two.mean_norm <= 1.2 * best,
        "(a) both are within 1.2 times the best constant step, " + Text(best_step));
  Check(one.distance_rises && one.distance <= whole,
        "(b) d never falls and stays below f(x_0) - f*: " + Text(one.distance) + " <= " + Text(whole));
  Check(one_differs == 0 && two_differs == 0 && one_begins == 0 && two_begins == 0,
        "(c) 128 f has the same iterates, bit by bit");
  Check(worst_start < 1.5 * best_start,
        "(d) d_0 over 7 decades changes the result by a factor of " + Text(worst_start / best_start));
  Check(sos_norm <= 2 * best, "SOS's step is within twice the best constant step's result");
  return failures == 0 ? 0 : 1;
}
