// Some elements and their places; the others are 0. What top_k, threshold and stc send.
#ifndef MUSTER_COMPRESSION_SPARSE_H_
#define MUSTER_COMPRESSION_SPARSE_H_

#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "compression/compressor.h"

namespace muster {

// Data: varint count, places (compression/places.h), then the values in their order, nested
// (compression/nested.h).
class Sparse : public Compressor {
 public:
  uint8_t codec() const final { return 16; }
  bool IsStage() const override { return true; }
  absl::StatusOr<Payload> Compress(std::span<const float> x, const Layout& layout,
                                   const RandomKey& key) const final;
  absl::Status Fold(std::string_view data, double weight, const Layout& layout, ExactSum& sum) const final;
  absl::Status Decode(std::string_view data, const Layout& layout, std::span<float> out) const final;

  absl::StatusOr<Payload> CompressOnDevice(const DeviceVector& x, const Layout& layout,
                                           const RandomKey& key) const final;

 protected:
  explicit Sparse(std::shared_ptr<const Compressor> values);

  // The places to send, increasing. x may hold NaN and infinity, of which at least one must be chosen then.
  virtual std::vector<uint32_t> Select(std::span<const float> x) const = 0;
  // The same of a vector on a device, with what is there. By default nothing: it is then selected with the
  // host.
  virtual absl::StatusOr<DeviceVector::Kept> SelectOnDevice(const DeviceVector& /*x*/) const {
    return DeviceVector::Kept();
  }

  const Compressor& values() const { return *values_; }

 private:
  // `values`, which are finite, at `places`.
  absl::StatusOr<Payload> Encode(std::span<const uint32_t> places, std::span<const float> values,
                                 const Layout& layout, const RandomKey& key) const;

  const std::shared_ptr<const Compressor> values_;
};

// How many of n elements a ratio means: the next integer, at least one of any.
int64_t CountOf(double ratio, int64_t n);

}  // namespace muster

#endif  // MUSTER_COMPRESSION_SPARSE_H_
