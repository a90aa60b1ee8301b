// Products of long rows that may overlap, on one thread: what convolutions over a whole batch are made of,
// each tap of the kernel being the same memory read from another place (learning/convolution.h). Every sum
// has one fixed order, so the bits do not depend on the processor.
#ifndef MUSTER_LEARNING_LONG_ROWS_H_
#define MUSTER_LEARNING_LONG_ROWS_H_

#include <cstdint>
#include <span>
#include <vector>

namespace muster {

// Rows are worked on in blocks of so many elements: what lies up to the end of the last block is read, and
// written where a row is a result.
inline constexpr int64_t kRowBlock = 16;

// Whether this processor has loops for them that are fast.
bool HasFastLongRows();

// The factors of LongOuter in the order in which it reads them.
class PackedFactors {
 public:
  // factors[i * step_i + group * step_group + tap], for i < count: row j = group * taps + tap of LongOuter.
  void Pack(const float* factors, int64_t count, int64_t step_i, int64_t groups, int64_t step_group,
            int64_t taps);

  int64_t count() const { return count_; }
  int64_t rows() const { return rows_; }
  // [count rounded up to kGroup / kGroup][rows][kGroup], the last group only as wide as it has factors.
  const float* values() const { return values_.data(); }

  static constexpr int64_t kGroup = 8;

 private:
  int64_t count_ = 0, rows_ = 0;
  std::vector<float> values_;
};

// out[i][k] = bias[i] + sum_j factor(j, i) rows[j][k] for k < size, in the order of j. bias may be null: 0.
// rows.size() == factors.rows(), out.size() == factors.count(). No result overlaps a row.
void LongOuter(std::span<const float* const> rows, const PackedFactors& factors, const float* bias,
               int64_t size, std::span<float* const> out);

// out[i][j] = sum_k left[i][k] right[j][k] for k < size, [left.size()][right.size()]. Sums are formed in
// sixteen lanes, element k in lane k mod 16. What lies behind `size` in the last block counts: one of the two
// must be 0 there. `lanes` is memory that calls may share.
void LongDots(std::span<const float* const> left, std::span<const float* const> right, int64_t size,
              std::vector<float>& lanes, float* out);

// The forms for any processor. For tests: the others equal them.
namespace portable {
void LongOuter(std::span<const float* const> rows, const PackedFactors& factors, const float* bias,
               int64_t size, std::span<float* const> out);
void LongDots(std::span<const float* const> left, std::span<const float* const> right, int64_t size,
              float* out);
}  // namespace portable

}  // namespace muster

#endif  // MUSTER_LEARNING_LONG_ROWS_H_
