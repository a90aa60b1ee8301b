// Finding the elements of largest magnitude.
#ifndef MUSTER_COMPRESSION_SELECT_H_
#define MUSTER_COMPRESSION_SELECT_H_

#include <cstdint>
#include <span>
#include <vector>

namespace muster {

// Increasing places of the k elements of largest magnitude; of equal ones the lower place. NaN counts as
// larger than infinity. k <= x.size() <= 2^32. One pass over x: a sample tells where the k-th magnitude must
// be.
std::vector<uint32_t> LargestPlaces(std::span<const float> x, size_t k);

// Increasing places of all elements with |x_i| >= threshold, and of NaN.
std::vector<uint32_t> PlacesFrom(std::span<const float> x, float threshold);

// Sets all but LargestPlaces(x, k) to 0, with memory for one more vector.
void KeepLargest(std::span<float> x, size_t k);

}  // namespace muster

#endif  // MUSTER_COMPRESSION_SELECT_H_
