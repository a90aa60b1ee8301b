// No compression: the float32 values as they are, little-endian, in layout order.
#include <cmath>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "compression/compressor.h"

namespace muster {
namespace {

class Identity final : public Compressor {
 public:
  uint8_t codec() const override { return 1; }

  absl::StatusOr<Payload> Compress(std::span<const float> x, const Layout& layout,
                                   const RandomKey& /*key*/) const override {
    if (static_cast<int64_t>(x.size()) != layout.size) {
      return InvalidInput(absl::StrCat("update has ", x.size(), " elements, the model has ", layout.size));
    }
    for (size_t i = 0; i < x.size(); ++i) {
      if (!std::isfinite(x[i])) {
        return InvalidInput(absl::StrCat("element ", i, " of the update is ", x[i], ", not a finite number"));
      }
    }
    Payload payload;
    payload.bytes.reserve(kPayloadHeaderBytes + x.size_bytes());
    payload.bytes = PayloadHeader(codec(), layout);
    payload.bytes.append(reinterpret_cast<const char*>(x.data()), x.size_bytes());
    return payload;
  }

  absl::Status Fold(std::string_view data, double weight, const Layout& layout, ExactSum& sum) const override {
    MUSTER_RETURN_IF_ERROR(CheckSize(data, layout));
    if (reinterpret_cast<uintptr_t>(data.data()) % alignof(float) == 0) {
      return sum.Add({reinterpret_cast<const float*>(data.data()), static_cast<size_t>(layout.size)}, weight);
    }
    std::vector<float> aligned(static_cast<size_t>(layout.size));
    if (!data.empty()) std::memcpy(aligned.data(), data.data(), data.size());
    return sum.Add(aligned, weight);
  }

  absl::Status Decode(std::string_view data, const Layout& layout, std::span<float> out) const override {
    MUSTER_RETURN_IF_ERROR(CheckSize(data, layout));
    if (!data.empty()) std::memcpy(out.data(), data.data(), data.size());
    return absl::OkStatus();
  }

 private:
  static absl::Status CheckSize(std::string_view data, const Layout& layout) {
    const auto need = static_cast<size_t>(layout.size) * sizeof(float);
    if (data.size() == need) return absl::OkStatus();
    return InvalidInput(absl::StrCat("identity payload has ", data.size(), " bytes of data, needs ", need));
  }
};

MUSTER_REGISTER(Compressor, Plugin("identity", "No compression: float32 values as they are").Make<Identity>());

}  // namespace
}  // namespace muster
