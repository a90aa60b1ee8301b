// A vector in the memory of a device, and what compressors ask of it there: what comes to the host is what
// they send, and no more.
#ifndef MUSTER_COMPRESSION_DEVICE_VECTOR_H_
#define MUSTER_COMPRESSION_DEVICE_VECTOR_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "compression/noise.h"
#include "core/exact_sum.h"
#include "core/status.h"

namespace muster {

// Immutable. One thread at a time. A bucket is `bucket` elements in a row, 1 <= bucket <= size(); the last
// one may have fewer. Errors are the device's, INTERNAL.
class DeviceVector {
 public:
  virtual ~DeviceVector() = default;

  virtual int64_t size() const = 0;  // at least 1
  // out = the vector; out.size() == size().
  virtual absl::Status Copy(std::span<float> out) const = 0;

  // Of its elements; to rounding: the order is the device's.
  virtual absl::StatusOr<double> SumOfSquares() const = 0;

  // LargestPlaces(x, k) of compression/select.h, and the elements there. 1 <= k <= size().
  struct Kept {
    std::vector<uint32_t> places;
    std::vector<float> values;
  };
  virtual absl::StatusOr<Kept> Largest(int64_t k) const = 0;

  // LargestMagnitude (core/magnitude.h) of every bucket.
  virtual absl::StatusOr<std::vector<float>> LargestMagnitudes(int64_t bucket) const = 0;

  // Numbers of every bucket, packed as the host does; each bucket starts a byte of its own, `stride` bytes
  // behind the one before.
  struct Packed {
    std::string bytes;
    size_t stride = 0;
  };
  // PackSigns of compression/kernels.h, and every bucket's sum of magnitudes (to rounding: the order is the
  // device's) and, if asked for, of squares.
  struct Signs {
    Packed bits;
    std::vector<double> magnitudes;
    std::vector<double> squares;
  };
  virtual absl::StatusOr<Signs> PackSigns(int64_t bucket, bool squares) const = 0;
  // RoundToLevels of compression/kernels.h with every bucket's inverse and noise, packed as
  // compression/levels.h says. 1 <= levels <= 127.
  virtual absl::StatusOr<Packed> RoundToLevels(int64_t bucket, int levels, std::span<const float> inverses,
                                               std::span<const NoiseKey> noise) const = 0;

  // As ExactSum::AddOnDevice asks for it. `sum` is none, or of a vector on the same device.
  virtual absl::Status AddTo(double scale, std::unique_ptr<DeviceSum>& sum) const = 0;
};

}  // namespace muster

#endif  // MUSTER_COMPRESSION_DEVICE_VECTOR_H_
