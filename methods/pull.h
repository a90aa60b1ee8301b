// The gradient of factor / 2 |y - x|^2, which FedProx, FedDyn and FedNova's proximal form share.
#ifndef MUSTER_METHODS_PULL_H_
#define MUSTER_METHODS_PULL_H_

#include <cstdint>
#include <span>

namespace muster {

// gradient += factor * (values - start), elementwise; all of one size.
void AddPull(float factor, std::span<const float> values, std::span<const float> start,
             std::span<float> gradient);

}  // namespace muster

#endif  // MUSTER_METHODS_PULL_H_
