// Compressors turn an update (a flat float32 vector) into a Payload and back. Stateless and thread-safe; error
// feedback wraps them.
#ifndef MUSTER_COMPRESSION_COMPRESSOR_H_
#define MUSTER_COMPRESSION_COMPRESSOR_H_

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "compression/payload.h"
#include "core/exact_sum.h"
#include "core/parameters.h"
#include "core/random.h"
#include "core/registry.h"
#include "core/status.h"

namespace muster {

class Compressor {
 public:
  using Interface = Compressor;
  static constexpr char kKind[] = "compressor";
  static constexpr char kList[] = "compressors";
  struct Context {};

  virtual ~Compressor() = default;

  // The codec id of its payloads: stable for ever, unique over all compressors.
  virtual uint8_t codec() const = 0;
  // x has layout.size elements. INVALID_ARGUMENT for NaN or infinity.
  virtual absl::StatusOr<Payload> Compress(std::span<const float> x, const Layout& layout,
                                           const RandomKey& key) const = 0;
  // sum += weight * decoded. `data` is ParsePayload's; it is not trusted: INVALID_ARGUMENT, with `sum` unchanged, for
  // anything malformed.
  virtual absl::Status Fold(std::string_view data, double weight, const Layout& layout, ExactSum& sum) const = 0;
  // The decoded vector, out.size() == layout.size.
  virtual absl::Status Decode(std::string_view data, const Layout& layout, std::span<float> out) const = 0;
};

// Finds the compressor by the payload's codec id and folds or decodes. The payload says itself how to read it; its
// decoder needs no options. Both refuse NaN and infinity.
absl::Status FoldPayload(const Payload& payload, double weight, const Layout& layout, ExactSum& sum);
absl::StatusOr<std::vector<float>> DecodePayload(const Payload& payload, const Layout& layout);

}  // namespace muster

#endif  // MUSTER_COMPRESSION_COMPRESSOR_H_
