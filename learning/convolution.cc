#include "learning/convolution.h"

#include <algorithm>
#include <cstddef>

#include "core/kernel.h"

namespace muster {
namespace {

// The first element of a row is at the beginning of a cache line.
constexpr int64_t kAlignment = 16;

int64_t RoundUp(int64_t value, int64_t to) { return (value + to - 1) / to * to; }

// Larger of the two; a NaN that is in `b` stays.
inline float Larger(float a, float b) { return b <= a ? a : b; }
inline float Relu(float value) { return value <= 0 ? 0 : value; }

MUSTER_KERNEL void ReluLine(const float* __restrict from, int64_t size, float* __restrict to) {
  for (int64_t x = 0; x < size; ++x) to[x] = Relu(from[x]);
}
MUSTER_KERNEL void PoolLine(const float* __restrict upper, const float* __restrict lower, int64_t size,
                            float* __restrict to) {
  for (int64_t x = 0; x < size; ++x) {
    to[x] = Relu(Larger(Larger(upper[2 * x], upper[2 * x + 1]), Larger(lower[2 * x], lower[2 * x + 1])));
  }
}
MUSTER_KERNEL void UnreluLine(const float* __restrict out, const float* __restrict by, int64_t size,
                              float* __restrict to) {
  for (int64_t x = 0; x < size; ++x) to[x] = out[x] > 0 ? by[x] : 0;
}
// To the first of the largest, as LibTorch's.
MUSTER_KERNEL void UnpoolLine(const float* __restrict upper, const float* __restrict lower,
                              const float* __restrict by, int64_t size, float* __restrict to_upper,
                              float* __restrict to_lower) {
  for (int64_t x = 0; x < size; ++x) {
    const float a = upper[2 * x], b = upper[2 * x + 1], c = lower[2 * x], d = lower[2 * x + 1];
    const float ab = Larger(a, b), cd = Larger(c, d);
    const float value = Larger(ab, cd) > 0 ? by[x] : 0;
    const float above = cd <= ab ? value : 0, below = cd <= ab ? 0 : value;
    to_upper[2 * x] = b <= a ? above : 0;
    to_upper[2 * x + 1] = b <= a ? 0 : above;
    to_lower[2 * x] = d <= c ? below : 0;
    to_lower[2 * x + 1] = d <= c ? 0 : below;
  }
}

// In sixteen lanes, as LongDots. What lies behind `size` in the last block counts.
MUSTER_KERNEL float LongSum(const float* row, int64_t size) {
  float lanes[kRowBlock] = {};
  for (int64_t k = 0; k < size; k += kRowBlock) {
    for (int64_t i = 0; i < kRowBlock; ++i) lanes[i] += row[k + i];
  }
  float sum = 0;
  for (const float lane : lanes) sum += lane;
  return sum;
}

}  // namespace

Convolution::Convolution(const ImageShape& input, int64_t channels, int64_t kernel, int64_t padding,
                         bool pool)
    : input_(input),
      full_{channels, input.height + 2 * padding - kernel + 1, input.width + 2 * padding - kernel + 1},
      kernel_(kernel),
      padding_(padding),
      pool_(pool),
      line_(input.width + padding),
      image_((input.height + padding) * line_) {}

ImageShape Convolution::output_shape() const {
  return pool_ ? ImageShape{full_.channels, full_.height / 2, full_.width / 2} : full_;
}

void Convolution::Make(Rows& rows, int64_t channels, int64_t lead, int64_t tail) const {
  lead = RoundUp(lead, kAlignment);
  rows.step = lead + RoundUp(capacity_ * image_ + tail + kRowBlock, kAlignment);
  rows.memory.assign(static_cast<size_t>(channels * rows.step + kAlignment), 0);
  const auto place = reinterpret_cast<uintptr_t>(rows.memory.data()) / sizeof(float);
  rows.first = rows.memory.data() + lead + (kAlignment - place % kAlignment) % kAlignment;
}

void Convolution::SetBatch(int64_t size) {
  if (size == batch_) return;
  batch_ = size;
  // How far taps reach to either side of an output's place; of an input's it is the other way round.
  const int64_t before = padding_ * (line_ + 1), behind = (kernel_ - 1 - padding_) * (line_ + 1);
  if (size > capacity_) {
    capacity_ = size;
    Make(in_, input_.channels, before, behind);
    Make(out_, full_.channels, 0, 0);
    Make(by_out_, full_.channels, behind, before);
    Make(by_in_, input_.channels, 0, 0);
  }
  // Images of a larger batch, as far as taps reach: not even their NaNs may come in.
  for (int64_t c = 0; c < input_.channels; ++c)
    std::fill_n(in_.row(c) + batch_ * image_, behind + kRowBlock, 0.0F);
  for (int64_t c = 0; c < full_.channels; ++c) std::fill_n(by_out_.row(c) + batch_ * image_, kRowBlock, 0.0F);
}

Images Convolution::Inside(const Rows& rows) const { return {rows.first, image_, rows.step, line_}; }

Images Convolution::input() { return Inside(in_); }

void Convolution::Forward(const float* weight, const float* bias) {
  const int64_t area = kernel_ * kernel_;
  factors_.Pack(weight, full_.channels, input_.channels * area, 1, 0, input_.channels * area);
  taps_.clear();
  for (int64_t c = 0; c < input_.channels; ++c) {
    for (int64_t y = 0; y < kernel_; ++y) {
      for (int64_t x = 0; x < kernel_; ++x)
        taps_.push_back(in_.row(c) + (y - padding_) * line_ + x - padding_);
    }
  }
  results_.clear();
  for (int64_t c = 0; c < full_.channels; ++c) results_.push_back(out_.row(c));
  LongOuter(taps_, factors_, bias, batch_ * image_, results_);
}

void Convolution::Activate(const Images& to) const {
  const Images from = Inside(out_);
  const ImageShape shape = output_shape();
  for (int64_t c = 0; c < shape.channels; ++c) {
    for (int64_t b = 0; b < batch_; ++b) {
      for (int64_t y = 0; y < shape.height; ++y) {
        if (pool_) {
          PoolLine(from.line(b, c, 2 * y), from.line(b, c, 2 * y + 1), shape.width, to.line(b, c, y));
        } else {
          ReluLine(from.line(b, c, y), shape.width, to.line(b, c, y));
        }
      }
    }
  }
}

void Convolution::Deactivate(const Images& by_output) {
  const Images out = Inside(out_), to = Inside(by_out_);
  const ImageShape shape = output_shape();
  for (int64_t c = 0; c < shape.channels; ++c) {
    for (int64_t b = 0; b < batch_; ++b) {
      for (int64_t y = 0; y < shape.height; ++y) {
        if (pool_) {
          UnpoolLine(out.line(b, c, 2 * y), out.line(b, c, 2 * y + 1), by_output.line(b, c, y), shape.width,
                     to.line(b, c, 2 * y), to.line(b, c, 2 * y + 1));
        } else {
          UnreluLine(out.line(b, c, y), by_output.line(b, c, y), shape.width, to.line(b, c, y));
        }
      }
    }
  }
}

void Convolution::Backward(const Images& by_output, float* by_weight, float* by_bias) {
  Deactivate(by_output);
  rows_.clear();
  for (int64_t c = 0; c < full_.channels; ++c) rows_.push_back(by_out_.row(c));
  const int64_t size = batch_ * image_;
  LongDots(rows_, taps_, size, lanes_, by_weight);
  for (int64_t c = 0; c < full_.channels; ++c) by_bias[c] = LongSum(by_out_.row(c), size);
}

Images Convolution::BackwardInput(const float* weight) {
  const int64_t area = kernel_ * kernel_;
  factors_.Pack(weight, input_.channels, area, full_.channels, input_.channels * area, area);
  rows_.clear();
  for (int64_t c = 0; c < full_.channels; ++c) {
    for (int64_t y = 0; y < kernel_; ++y) {
      for (int64_t x = 0; x < kernel_; ++x)
        rows_.push_back(by_out_.row(c) - (y - padding_) * line_ - (x - padding_));
    }
  }
  results_.clear();
  for (int64_t c = 0; c < input_.channels; ++c) results_.push_back(by_in_.row(c));
  LongOuter(rows_, factors_, nullptr, batch_ * image_, results_);
  return Inside(by_in_);
}

}  // namespace muster
