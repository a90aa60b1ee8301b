// The largest magnitude of a vector, as fast as it can be read.
#ifndef MUSTER_CORE_MAGNITUDE_H_
#define MUSTER_CORE_MAGNITUDE_H_

#include <span>

namespace muster {

// max |x_i|; 0 for an empty vector; NaN if any element is.
float LargestMagnitude(std::span<const float> x);

}  // namespace muster

#endif  // MUSTER_CORE_MAGNITUDE_H_
