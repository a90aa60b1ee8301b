// A tensor as compressors see it (compression/device_vector.h).
#ifndef MUSTER_CLIENT_TENSOR_VECTOR_H_
#define MUSTER_CLIENT_TENSOR_VECTOR_H_

#include <ATen/core/Tensor.h>
#include <c10/core/Stream.h>

#include <memory>
#include <optional>

#include "compression/device_vector.h"

namespace muster {

// `values` is [size] float32, contiguous, on any device, and does not change any more. `stream` is where it
// was computed; none where there are no streams. The bits of what comes to the host are those of the host's
// own loops, but for less than one code in 2^40 that RoundToLevels, which rounds twice, rounds differently.
std::shared_ptr<const DeviceVector> MakeDeviceVector(at::Tensor values, std::optional<c10::Stream> stream);

}  // namespace muster

#endif  // MUSTER_CLIENT_TENSOR_VECTOR_H_
