// Reductions over raw floats, in double: the same bits on every CPU, at the speed of memory.
#ifndef MUSTER_OPTIM_NORMS_H_
#define MUSTER_OPTIM_NORMS_H_

#include <cstdint>

namespace muster::optim {

bool AllFinite(const float* x, int64_t size);
double SumOfSquares(const float* x, int64_t size);
double L1Norm(const float* x, int64_t size);
double LInfNorm(const float* x, int64_t size);
// ||a - b||, differences rounded to float32 as they would be in a vector.
double L1Distance(const float* a, const float* b, int64_t size);
double LInfDistance(const float* a, const float* b, int64_t size);
// <a, sign(b)> and <|a|, |b|>
double SignDot(const float* a, const float* b, int64_t size);
double AbsoluteDot(const float* a, const float* b, int64_t size);
// <a, b - c>
double DotDifference(const float* a, const float* b, const float* c, int64_t size);

}  // namespace muster::optim

#endif  // MUSTER_OPTIM_NORMS_H_
