// Worked example, a compressor: 16-bit integers and one scale. In the tree it would be compression/int16.cc,
// its test tests/compression/int16_test.cc (the shared tests of all compressors cover it already).
#include <algorithm>
#include <cmath>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "compression/compressor.h"

namespace muster {
namespace {

// Data: f32 scale, then one little-endian i16 an element; element = scale * integer.
class Int16 final : public Compressor {
 public:
  uint8_t codec() const override { return 250; }  // 240 and above are free for experiments

  absl::StatusOr<Payload> Compress(std::span<const float> x, const Layout& layout,
                                   const RandomKey& /*key*/) const override {
    if (static_cast<int64_t>(x.size()) != layout.size) return InvalidInput("update and model differ in size");
    float largest = 0;
    for (size_t i = 0; i < x.size(); ++i) {
      if (!std::isfinite(x[i]))
        return InvalidInput(absl::StrCat("element ", i, " of the update is not finite"));
      largest = std::max(largest, std::fabs(x[i]));
    }
    const float scale = largest / 32767;
    Payload payload{PayloadHeader(codec(), layout)};
    payload.bytes.append(reinterpret_cast<const char*>(&scale), sizeof scale);
    for (const float value : x) {
      const auto level = static_cast<int16_t>(scale > 0 ? std::lround(value / scale) : 0);
      payload.bytes.append(reinterpret_cast<const char*>(&level), sizeof level);
    }
    return payload;
  }

  absl::Status Fold(std::string_view data, double weight, const Layout& layout,
                    ExactSum& sum) const override {
    std::vector<float> decoded(static_cast<size_t>(layout.size));
    MUSTER_RETURN_IF_ERROR(Decode(data, layout, decoded));
    return sum.Add(decoded, weight);
  }

  absl::Status Decode(std::string_view data, const Layout& layout, std::span<float> out) const override {
    // The sender is not trusted: sizes first, then values.
    if (data.size() != sizeof(float) + out.size() * sizeof(int16_t)) {
      return InvalidInput(
          absl::StrCat("int16 payload has ", data.size(), " bytes of data for ", layout.size, " elements"));
    }
    float scale = 0;
    std::memcpy(&scale, data.data(), sizeof scale);
    if (!std::isfinite(scale)) return InvalidInput("int16 payload's scale is not finite");
    for (size_t i = 0; i < out.size(); ++i) {
      int16_t level = 0;
      std::memcpy(&level, data.data() + sizeof scale + i * sizeof level, sizeof level);
      out[i] = scale * static_cast<float>(level);
    }
    return absl::OkStatus();
  }
};

MUSTER_REGISTER(Compressor, Plugin("int16", "16-bit integers and one scale").Make<Int16>());

}  // namespace
}  // namespace muster
