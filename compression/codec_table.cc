#include "compression/codec_table.h"

#include <array>

#include "absl/strings/str_cat.h"

namespace muster {

absl::StatusOr<const Compressor*> FindCodec(uint8_t codec) {
  // One instance by codec id. Decoders need no options, so defaults serve.
  static const auto* const codecs = [] {
    auto* table = new std::array<std::unique_ptr<Compressor>, 256>;
    const auto& registry = Registry<Compressor>::Get();
    for (const std::string& name : registry.Names()) {
      auto made = registry.Create({name, {}}, {});
      if (made.ok()) (*table)[(*made)->codec()] = *std::move(made);
    }
    return table;
  }();
  const Compressor* compressor = (*codecs)[codec].get();
  if (compressor == nullptr) return InvalidInput(absl::StrCat("payload has unknown codec ", int{codec}));
  return compressor;
}

}  // namespace muster
