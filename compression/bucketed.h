// Compressors that encode a vector bucket by bucket, each bucket by itself: one pass over memory in both
// directions, and no dense copy when a payload is folded.
#ifndef MUSTER_COMPRESSION_BUCKETED_H_
#define MUSTER_COMPRESSION_BUCKETED_H_

#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "absl/functional/function_ref.h"
#include "compression/compressor.h"
#include "compression/noise.h"
#include "core/magnitude.h"

namespace muster {

// Data: u32 elements in a bucket, at least 1; u16 levels, 0 where the codec has none; then the buckets one
// after another, the last of which may be shorter. What a bucket looks like is the codec's.
class Bucketed : public Compressor {
 public:
  absl::StatusOr<Payload> Compress(std::span<const float> x, const Layout& layout,
                                   const RandomKey& key) const final;
  absl::StatusOr<Payload> CompressOnDevice(const DeviceVector& x, const Layout& layout,
                                           const RandomKey& key) const final;
  absl::Status Fold(std::string_view data, double weight, const Layout& layout, ExactSum& sum) const final;
  absl::Status Decode(std::string_view data, const Layout& layout, std::span<float> out) const final;

 protected:
  // Pieces of at most this many elements are decoded at a time; a multiple of 80.
  static constexpr size_t kPiece = 8160;

  // bucket 0: the whole vector is one.
  explicit Bucketed(int64_t bucket, uint16_t levels = 0) : bucket_(bucket), levels_(levels) {}

  virtual const char* name() const = 0;
  virtual bool KnowsLevels(uint16_t levels) const { return levels == 0; }
  // Bytes of a bucket of n elements.
  virtual size_t BucketBytes(uint16_t levels, size_t n) const = 0;
  // What buckets that are encoded one after another can tell each other.
  struct Ahead {
    std::span<const float> next;   // the bucket after this one; empty: none
    std::optional<float> largest;  // its LargestMagnitude, where an encoder saw it on its way
  };
  // Writes BucketBytes to memory aligned for any number. False if an element is NaN or infinite. Comes with
  // what the call before left in ahead.largest: about x.
  virtual bool EncodeBucket(std::span<const float> x, uint16_t levels, NoiseKey noise, Ahead& ahead,
                            uint8_t* out) const = 0;
  // All buckets of a vector on a device, where a bucket is a float and then packed numbers: `floats` has one
  // for every bucket. By default nothing, and where an element is NaN or infinite: then the host encodes.
  struct OnDevice {
    std::vector<float> floats;
    DeviceVector::Packed packed;
  };
  virtual absl::StatusOr<OnDevice> EncodeOnDevice(const DeviceVector& /*x*/, int64_t /*bucket*/,
                                                  std::span<const NoiseKey> /*noise*/) const {
    return OnDevice();
  }
  // LargestMagnitude(x).
  static float Largest(std::span<const float> x, const Ahead& ahead) {
    return ahead.largest ? *ahead.largest : LargestMagnitude(x);
  }
  // An upper bound of what n elements decode to in magnitude, or what is wrong: reader.Error-like messages.
  virtual absl::StatusOr<float> CheckBucket(const uint8_t* bucket, uint16_t levels, size_t n) const = 0;
  // Decodes elements [begin, begin + out.size()) of a bucket of n that CheckBucket accepted; begin is a
  // multiple of kPiece.
  virtual void DecodePiece(const uint8_t* bucket, uint16_t levels, size_t n, size_t begin,
                           std::span<float> out) const = 0;
  // Adds a bucket of n elements from `offset` on to a term; the same bits as adding the decoded pieces.
  virtual void FoldBucket(const uint8_t* bucket, uint16_t levels, size_t n, int64_t offset,
                          const ExactSum::Term& term) const;

  // The payload up to the first bucket, with memory for all of them.
  Payload StartPayload(const Layout& layout) const;
  // Elements in a full bucket of a vector, and size of its payload.
  int64_t BucketOf(const Layout& layout) const;
  int64_t PayloadBytes(const Layout& layout) const;
  uint16_t levels() const { return levels_; }

  // A payload whose buckets have been checked.
  struct Parsed {
    size_t bucket = 1;
    uint16_t levels = 0;
    const uint8_t* buckets = nullptr;
    float largest = 0;  // bound on the decoded magnitudes
  };
  absl::StatusOr<Parsed> Parse(std::string_view data, const Layout& layout) const;
  // Calls visit(bytes, n, offset) for every bucket.
  absl::Status ForEachBucket(const Parsed& parsed, const Layout& layout,
                             absl::FunctionRef<absl::Status(const uint8_t*, size_t, size_t)> visit) const;

 private:
  const int64_t bucket_;
  const uint16_t levels_;
};

}  // namespace muster

#endif  // MUSTER_COMPRESSION_BUCKETED_H_
