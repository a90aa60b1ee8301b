// Products of small dense matrices on one thread, for layers whose batches fit the cache. Every sum has one
// fixed order, so the bits do not depend on the processor. Row-major; rows are given by pointers, so that
// samples need not be gathered.
#ifndef MUSTER_LEARNING_DENSE_H_
#define MUSTER_LEARNING_DENSE_H_

#include <cstdint>
#include <span>

namespace muster {

// Whether this processor has fused multiply-adds that these loops are fast with (AVX2 with FMA, or ARM's).
bool HasFastDense();

// out[b][n] = bias[n] + sum_k rows[b][k] weight[n][k]. Sums are formed in sixteen lanes, element k in lane
// k mod 16. out is [rows.size()][outputs], weight [outputs][inputs].
void DenseForward(std::span<const float* const> rows, const float* weight, const float* bias, int64_t inputs,
                  int64_t outputs, float* out);

// out[i][k] = sum_j factors[j * step_j + i * step_i] rows[j][k], in the order of j, for i < count and k <
// size. With the outputs' gradients as factors and the inputs as rows this is a weight's gradient; with the
// weight as rows, the inputs'.
void DenseOuter(std::span<const float* const> rows, const float* factors, int64_t step_j, int64_t step_i,
                int64_t count, int64_t size, float* out);

// The forms for any processor. For tests: the others equal them.
namespace portable {
void DenseForward(std::span<const float* const> rows, const float* weight, const float* bias, int64_t inputs,
                  int64_t outputs, float* out);
void DenseOuter(std::span<const float* const> rows, const float* factors, int64_t step_j, int64_t step_i,
                int64_t count, int64_t size, float* out);
}  // namespace portable

}  // namespace muster

#endif  // MUSTER_LEARNING_DENSE_H_
