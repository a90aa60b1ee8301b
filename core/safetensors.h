// The safetensors format (8-byte little-endian header length, JSON header, raw data), float32 tensors only.
#ifndef MUSTER_CORE_SAFETENSORS_H_
#define MUSTER_CORE_SAFETENSORS_H_

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/parameters.h"
#include "core/status.h"

namespace muster {

// The bytes of a safetensors file that holds `values` cut up as `layout` says. `metadata` goes to
// __metadata__.
std::string ToSafetensors(const Layout& layout, std::span<const float> values,
                          const std::map<std::string, std::string>& metadata = {});

// What comes before the data in such a file: for writers that append the tensors' values themselves, in
// layout order.
std::string SafetensorsHeader(const Layout& layout, const std::map<std::string, std::string>& metadata = {});

struct NamedTensors {
  struct Tensor {
    std::vector<int64_t> shape;
    std::vector<float> values;
  };
  std::map<std::string, Tensor> tensors;
  std::map<std::string, std::string> metadata;
};

// Reads F32 tensors. Never trusts the header: INVALID_ARGUMENT "NAME: ..." for a header that is cut off, is
// not JSON, names another dtype, or whose offsets overlap, leave the file or do not fit the shape. `name` is
// for errors.
absl::StatusOr<NamedTensors> ParseSafetensors(std::string_view bytes, std::string_view name);

// Reads the file at `path` into a flat vector of `layout`. Every entry must be there with its shape and
// nothing else may be; the message names the first that differs.
absl::StatusOr<std::vector<float>> ReadModel(const std::string& path, const Layout& layout);

}  // namespace muster

#endif  // MUSTER_CORE_SAFETENSORS_H_
