#include "methods/pull.h"

#include <cmath>

#include "core/kernel.h"

namespace muster {
namespace {

MUSTER_KERNEL void Add(float factor, const float* __restrict y, const float* __restrict x,
                       float* __restrict g, int64_t size) {
  for (int64_t i = 0; i < size; ++i) g[i] = std::fma(factor, y[i] - x[i], g[i]);
}

}  // namespace

void AddPull(float factor, std::span<const float> values, std::span<const float> start,
             std::span<float> gradient) {
  Add(factor, values.data(), start.data(), gradient.data(), static_cast<int64_t>(gradient.size()));
}

}  // namespace muster
