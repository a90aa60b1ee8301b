// No compression: the float32 values as they are, little-endian, in layout order.
#include <cstring>

#include "absl/strings/str_cat.h"
#include "compression/compressor.h"

namespace muster {
namespace {

class Identity final : public Compressor {
 public:
  uint8_t codec() const override { return kIdentityCodec; }

  Traits traits(const Layout& layout) const override {
    return {.omega = 0, .delta = 1, .bytes = static_cast<int64_t>(kPayloadHeaderBytes + Bytes(layout))};
  }

  absl::StatusOr<Payload> Compress(std::span<const float> x, const Layout& layout,
                                   const RandomKey& /*key*/) const override {
    MUSTER_RETURN_IF_ERROR(CheckUpdate(x, layout));
    Payload payload;
    payload.bytes = PayloadHeader(codec(), layout);
    payload.bytes.reserve(kPayloadHeaderBytes + x.size_bytes());
    payload.bytes.append(reinterpret_cast<const char*>(x.data()), x.size_bytes());
    return payload;
  }

  absl::Status Fold(std::string_view data, double weight, const Layout& layout,
                    ExactSum& sum) const override {
    MUSTER_RETURN_IF_ERROR(CheckSize(data, layout));
    if (reinterpret_cast<uintptr_t>(data.data()) % alignof(float) == 0) {
      return sum.Add({reinterpret_cast<const float*>(data.data()), static_cast<size_t>(layout.size)}, weight);
    }
    return Compressor::Fold(data, weight, layout, sum);
  }

  absl::Status Decode(std::string_view data, const Layout& layout, std::span<float> out) const override {
    MUSTER_RETURN_IF_ERROR(CheckSize(data, layout));
    if (!data.empty()) std::memcpy(out.data(), data.data(), data.size());
    return absl::OkStatus();
  }

 private:
  static size_t Bytes(const Layout& layout) { return static_cast<size_t>(layout.size) * sizeof(float); }
  static absl::Status CheckSize(std::string_view data, const Layout& layout) {
    if (data.size() == Bytes(layout)) return absl::OkStatus();
    return InvalidInput(
        absl::StrCat("identity payload has ", data.size(), " bytes of data, needs ", Bytes(layout)));
  }
};

MUSTER_REGISTER(Compressor,
                Plugin("identity", "No compression: float32 values as they are").Make<Identity>());

}  // namespace
}  // namespace muster
