#include "compression/compressor.h"

#include <array>
#include <cmath>

#include "absl/strings/str_cat.h"

namespace muster {
namespace {

// One instance of every registered compressor by codec id. Decoders need no options, so defaults serve.
const Compressor* FindCodec(uint8_t codec) {
  static const auto* const codecs = [] {
    auto* table = new std::array<std::unique_ptr<Compressor>, 256>;
    const auto& registry = Registry<Compressor>::Get();
    for (const std::string& name : registry.Names()) {
      auto made = registry.Create({name, {}}, {});
      if (made.ok()) (*table)[(*made)->codec()] = *std::move(made);
    }
    return table;
  }();
  return (*codecs)[codec].get();
}

absl::StatusOr<const Compressor*> CodecOf(const PayloadView& view) {
  const Compressor* compressor = FindCodec(view.codec);
  if (compressor == nullptr) {
    return InvalidInput(absl::StrCat("payload has unknown codec ", int{view.codec}));
  }
  return compressor;
}

}  // namespace

absl::Status FoldPayload(const Payload& payload, double weight, const Layout& layout, ExactSum& sum) {
  MUSTER_ASSIGN_OR_RETURN(const PayloadView view, ParsePayload(payload, layout));
  MUSTER_ASSIGN_OR_RETURN(const Compressor* compressor, CodecOf(view));
  return compressor->Fold(view.data, weight, layout, sum);
}

absl::StatusOr<std::vector<float>> DecodePayload(const Payload& payload, const Layout& layout) {
  MUSTER_ASSIGN_OR_RETURN(const PayloadView view, ParsePayload(payload, layout));
  MUSTER_ASSIGN_OR_RETURN(const Compressor* compressor, CodecOf(view));
  std::vector<float> out(static_cast<size_t>(layout.size));
  MUSTER_RETURN_IF_ERROR(compressor->Decode(view.data, layout, out));
  for (size_t i = 0; i < out.size(); ++i) {
    if (!std::isfinite(out[i])) {
      return InvalidInput(absl::StrCat("element ", i, " of the update is ", out[i], ", not a finite number"));
    }
  }
  return out;
}

}  // namespace muster
