// Compressors turn an update (a flat float32 vector) into a Payload and back. Stateless and thread-safe;
// error feedback (compression/error_feedback.h) wraps them.
//
// Some compressors are *stages*: they turn a vector into a shorter or simpler one and leave its values to the
// next stage, Context::values. `pipeline` chains them from a configuration.
#ifndef MUSTER_COMPRESSION_COMPRESSOR_H_
#define MUSTER_COMPRESSION_COMPRESSOR_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "compression/device_vector.h"
#include "compression/payload.h"
#include "core/exact_sum.h"
#include "core/parameters.h"
#include "core/random.h"
#include "core/registry.h"
#include "core/status.h"

namespace muster {

// What holds of a compressor C for every update x of a layout; squared Euclidean norms, expectation over C's
// own randomness, up to float32 rounding and to what is below the smallest normal float32 (sent as 0).
struct Traits {
  std::optional<double> omega = {};   // unbiased: E C(x) = x and E|C(x) - x|^2 <= omega |x|^2
  std::optional<double> delta = {};   // contractive: E|C(x) - x|^2 <= (1 - delta) |x|^2, 0 <= delta <= 1
  std::optional<int64_t> bytes = {};  // size of every payload, header included
};

class Compressor {
 public:
  using Interface = Compressor;
  static constexpr char kKind[] = "compressor";
  static constexpr char kList[] = "compressors";
  struct Context {
    // What encodes the values that a stage leaves; null: its default (for most, float32 as they are).
    std::shared_ptr<const Compressor> values = nullptr;
  };

  virtual ~Compressor() = default;

  // The id of the form of its payloads (docs/wire-format.md), stable for ever. Compressors that differ only
  // in how they choose what to send share a form: each decodes the others' payloads.
  virtual uint8_t codec() const = 0;
  // What is known for a layout; nothing by default.
  virtual Traits traits(const Layout& /*layout*/) const { return {}; }
  // True if it leaves values to Context::values.
  virtual bool IsStage() const { return false; }
  // x has layout.size elements. INVALID_ARGUMENT for NaN or infinity.
  virtual absl::StatusOr<Payload> Compress(std::span<const float> x, const Layout& layout,
                                           const RandomKey& key) const = 0;
  // The same of a vector on a device. By default it comes to the host whole.
  virtual absl::StatusOr<Payload> CompressOnDevice(const DeviceVector& x, const Layout& layout,
                                                   const RandomKey& key) const;
  // sum += weight * decoded. `data` is ParsePayload's; it is not trusted: INVALID_ARGUMENT, with `sum`
  // unchanged, for anything malformed. Decoding needs no options: the data say how to read them.
  virtual absl::Status Fold(std::string_view data, double weight, const Layout& layout, ExactSum& sum) const;
  // The decoded vector, out.size() == layout.size.
  virtual absl::Status Decode(std::string_view data, const Layout& layout, std::span<float> out) const = 0;
};

// Finds the compressor by the payload's codec id and folds or decodes. The payload says itself how to read
// it; its decoder needs no options. Both refuse NaN and infinity.
absl::Status FoldPayload(const Payload& payload, double weight, const Layout& layout, ExactSum& sum);
absl::StatusOr<std::vector<float>> DecodePayload(const Payload& payload, const Layout& layout);
// Brings what lies on a device to payload.bytes. On failure, an error of the device, the payload is as it
// was.
absl::Status FetchPayload(Payload& payload);

// INVALID_ARGUMENT names the first element that is NaN or infinite, counting from `first`, or says that x is
// not of the layout's size.
absl::Status CheckFinite(std::span<const float> x, int64_t first = 0);
absl::Status CheckUpdate(std::span<const float> x, const Layout& layout);

}  // namespace muster

#endif  // MUSTER_COMPRESSION_COMPRESSOR_H_
