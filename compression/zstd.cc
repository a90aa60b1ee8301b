// The entropy stage: packs the bytes of another compressor's payload.
#include <zstd.h>

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "compression/nested.h"
#include "compression/wire.h"

namespace muster {
namespace {

struct ZstdOptions {
  int64_t level = 3;
};

// What a payload of n elements may unpack to: more than any codec writes for them.
uint64_t MostBytes(const Layout& layout) { return 1024 + 5 * static_cast<uint64_t>(layout.size); }

// Data: varint bytes of the unpacked values, then one zstd frame (RFC 8878) of the values, nested.
class Zstd final : public Compressor {
 public:
  Zstd(const ZstdOptions& options, const Context& context)
      : level_(static_cast<int>(options.level)), values_(ValuesOr(context.values, {"identity", {}})) {}

  uint8_t codec() const override { return 22; }
  bool IsStage() const override { return true; }

  Traits traits(const Layout& layout) const override {
    Traits traits = values_->traits(layout);
    traits.bytes.reset();
    return traits;
  }

  absl::StatusOr<Payload> Compress(std::span<const float> x, const Layout& layout,
                                   const RandomKey& key) const override {
    std::string raw;
    MUSTER_RETURN_IF_ERROR(AppendNested(*values_, x, layout, key, raw));
    if (raw.size() > MostBytes(layout)) return InvalidInput("zstd: its values are larger than float32 ones");
    Payload payload{PayloadHeader(codec(), layout)};
    AppendVarint(raw.size(), payload.bytes);
    const size_t start = payload.bytes.size();
    payload.bytes.resize(start + ZSTD_compressBound(raw.size()));
    const size_t packed = ZSTD_compress(payload.bytes.data() + start, payload.bytes.size() - start,
                                        raw.data(), raw.size(), level_);
    if (ZSTD_isError(packed) != 0) return InternalError(absl::StrCat("zstd: ", ZSTD_getErrorName(packed)));
    payload.bytes.resize(start + packed);
    return payload;
  }

  absl::Status Decode(std::string_view data, const Layout& layout, std::span<float> out) const override {
    WireReader wire("zstd", data);
    MUSTER_ASSIGN_OR_RETURN(const uint64_t size, wire.Varint("unpacked size"));
    if (size > MostBytes(layout)) return wire.Error("unpacked size", absl::StrCat("is ", size, " bytes"));
    const std::string_view frame = wire.Rest();
    // A second frame or a skippable one would be bytes that say nothing.
    if (ZSTD_findFrameCompressedSize(frame.data(), frame.size()) != frame.size() ||
        ZSTD_getFrameContentSize(frame.data(), frame.size()) != size) {
      return wire.Error("frame", "is not one frame of the unpacked size");
    }
    std::string raw(size, '\0');
    if (ZSTD_decompress(raw.data(), raw.size(), frame.data(), frame.size()) != size) {
      return wire.Error("frame", "is damaged");
    }
    return DecodeNested(raw, layout, out);
  }

 private:
  const int level_;
  const std::shared_ptr<const Compressor> values_;
};

MUSTER_REGISTER(Compressor,
                Plugin<ZstdOptions>("zstd", "Packs the bytes of the stages that follow; lossless; a stage",
                                    "Collet and Kucherawy 2021, RFC 8878")
                    .Option("level", &ZstdOptions::level, "effort", Between(1, 19))
                    .Make<Zstd>());

}  // namespace
}  // namespace muster
