// How a stage hands values to the next one: inside a payload they are the codec id (one byte) and that
// codec's own data, up to the end of the bytes they are given.
#ifndef MUSTER_COMPRESSION_NESTED_H_
#define MUSTER_COMPRESSION_NESTED_H_

#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "compression/compressor.h"

namespace muster {

// What encodes a stage's values: `values`, or a registered compressor.
std::shared_ptr<const Compressor> ValuesOr(std::shared_ptr<const Compressor> values,
                                           const PluginConfig& otherwise);

// A layout for a vector that is no model. Its fingerprint is 0.
Layout VectorLayout(int64_t size);

// An unrelated key for part `part` of what `key` is for. A stage's own draws are from `key`, its values' from
// part 0.
RandomKey DeriveKey(const RandomKey& key, uint64_t part);

// x has layout.size elements.
absl::Status AppendNested(const Compressor& values, std::span<const float> x, const Layout& layout,
                          const RandomKey& key, std::string& data);
// Decodes layout.size values into `out`. INVALID_ARGUMENT also for values nested more than four deep or in a
// codec of their own kind, and for
// a decoded value that is not finite.
absl::Status DecodeNested(std::string_view data, const Layout& layout, std::span<float> out);

// Traits of a stage followed by the compressor of its values. Unbiased after unbiased is unbiased with
// 1 + omega = (1 + omega_1)(1 + omega_2); contractive after a projection, which a stage without omega must
// be, is contractive with delta_1 delta_2.
Traits ChainTraits(const Traits& stage, const Traits& values);

}  // namespace muster

#endif  // MUSTER_COMPRESSION_NESTED_H_
