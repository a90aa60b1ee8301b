#include "optim/norms.h"

#include <algorithm>
#include <bit>
#include <cmath>

#include "optim/kernel.h"

namespace muster::optim {
namespace {

// Independent partial sums: they let the loop be vectorised without changing what it computes.
constexpr int64_t kLanes = 16;

template <typename T, typename Combine>
[[gnu::always_inline]] inline T Collapse(const T* lanes, Combine combine) {
  T result = lanes[0];
  for (int64_t k = 1; k < kLanes; ++k) result = combine(result, lanes[k]);
  return result;
}

template <typename T, typename Term, typename Combine>
[[gnu::always_inline]] inline T Reduce(int64_t size, Term term, Combine combine) {
  T lanes[kLanes] = {};
  int64_t i = 0;
  for (; i + kLanes <= size; i += kLanes) {
    for (int64_t k = 0; k < kLanes; ++k) lanes[k] = combine(lanes[k], term(i + k));
  }
  for (; i < size; ++i) lanes[i % kLanes] = combine(lanes[i % kLanes], term(i));
  return Collapse(lanes, combine);
}

constexpr auto kAdd = [](double a, double b) __attribute__((always_inline)) { return a + b; };
constexpr auto kMax = [](float a, float b) __attribute__((always_inline)) { return a > b ? a : b; };

}  // namespace

MUSTER_KERNEL bool AllFinite(const float* x, int64_t size) {
  uint32_t bad = 0;
  for (int64_t i = 0; i < size; ++i) bad |= static_cast<uint32_t>(IsNotFinite(x[i]));
  return bad == 0;
}

MUSTER_KERNEL double SumOfSquares(const float* x, int64_t size) {
  // The product of two floats is exact in double, so a fused and a plain multiply-add agree.
  return Reduce<double>(
      size,
      [=](int64_t i)
          __attribute__((always_inline)) { return static_cast<double>(x[i]) * static_cast<double>(x[i]); },
      kAdd);
}

MUSTER_KERNEL double L1Norm(const float* x, int64_t size) {
  return Reduce<double>(
      size, [=](int64_t i) __attribute__((always_inline)) { return static_cast<double>(std::fabs(x[i])); },
      kAdd);
}

MUSTER_KERNEL double LInfNorm(const float* x, int64_t size) {
  return Reduce<float>(
      size, [=](int64_t i) __attribute__((always_inline)) { return std::fabs(x[i]); }, kMax);
}

MUSTER_KERNEL double L1Distance(const float* a, const float* b, int64_t size) {
  return Reduce<double>(
      size,
      [=](int64_t i) __attribute__((always_inline)) { return static_cast<double>(std::fabs(a[i] - b[i])); },
      kAdd);
}

MUSTER_KERNEL double LInfDistance(const float* a, const float* b, int64_t size) {
  return Reduce<float>(
      size, [=](int64_t i) __attribute__((always_inline)) { return std::fabs(a[i] - b[i]); }, kMax);
}

MUSTER_KERNEL double SignDot(const float* a, const float* b, int64_t size) {
  return Reduce<double>(
      size, [=](int64_t i) __attribute__((always_inline)) { return static_cast<double>(a[i] * Sign(b[i])); },
      kAdd);
}

MUSTER_KERNEL double AbsoluteDot(const float* a, const float* b, int64_t size) {
  return Reduce<double>(
      size,
      [=](int64_t i) __attribute__((always_inline)) {
        return static_cast<double>(std::fabs(a[i])) * static_cast<double>(std::fabs(b[i]));
      },
      kAdd);
}

MUSTER_KERNEL double DotDifference(const float* a, const float* b, const float* c, int64_t size) {
  return Reduce<double>(
      size,
      [=](int64_t i) __attribute__((always_inline)) {
        return static_cast<double>(a[i]) * static_cast<double>(b[i] - c[i]);
      },
      kAdd);
}

}  // namespace muster::optim
