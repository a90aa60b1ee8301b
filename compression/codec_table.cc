#include "compression/codec_table.h"

#include <array>

#include "absl/strings/str_cat.h"

namespace muster {
namespace {

struct Codec {
  std::string name;
  std::unique_ptr<Compressor> compressor;
};

// One instance by codec id. Decoders need no options, so defaults serve.
const std::array<Codec, 256>& Codecs() {
  static const auto* const codecs = [] {
    auto* table = new std::array<Codec, 256>;
    const auto& registry = Registry<Compressor>::Get();
    for (const std::string& name : registry.Names()) {
      auto made = registry.Create({name, {}}, {});
      if (!made.ok()) continue;
      Codec& codec = (*table)[(*made)->codec()];
      if (codec.name.empty()) codec.name = name;
      codec.compressor = *std::move(made);
    }
    return table;
  }();
  return *codecs;
}

}  // namespace

absl::StatusOr<const Compressor*> FindCodec(uint8_t codec) {
  const Compressor* compressor = Codecs()[codec].compressor.get();
  if (compressor == nullptr) return InvalidInput(absl::StrCat("payload has unknown codec ", int{codec}));
  return compressor;
}

std::string CodecName(const Payload& payload) {
  const std::string_view bytes = payload.view();
  if (bytes.size() < kPayloadHeaderBytes) return "other";
  const std::string& name = Codecs()[static_cast<uint8_t>(bytes[3])].name;
  return name.empty() ? "other" : name;
}

}  // namespace muster
