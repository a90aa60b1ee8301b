#include "compression/nested.h"

#include <algorithm>
#include <utility>

#include "absl/cleanup/cleanup.h"
#include "compression/codec_table.h"
#include "compression/wire.h"

namespace muster {

std::shared_ptr<const Compressor> ValuesOr(std::shared_ptr<const Compressor> values,
                                           const PluginConfig& otherwise) {
  if (values != nullptr) return values;
  auto made = Registry<Compressor>::Get().Create(otherwise, {});
  return made.ok() ? *std::move(made) : nullptr;
}

Layout VectorLayout(int64_t size) {
  Layout layout;
  layout.entries.push_back({.name = "values", .shape = {size}});
  layout.size = size;
  return layout;
}

RandomKey DeriveKey(const RandomKey& key, uint64_t part) {
  RandomKey derived = key;
  // As far from `key` as any other seed: Random mixes the seed well.
  derived.seed += (part + 1) * 0xD1B54A32D192ED03ULL;
  return derived;
}

absl::Status AppendNested(const Compressor& values, std::span<const float> x, const Layout& layout,
                          const RandomKey& key, std::string& data) {
  MUSTER_ASSIGN_OR_RETURN(const Payload payload, values.Compress(x, layout, DeriveKey(key, 0)));
  data.push_back(static_cast<char>(values.codec()));
  data.append(payload.bytes, kPayloadHeaderBytes);
  return absl::OkStatus();
}

absl::Status DecodeNested(std::string_view data, const Layout& layout, std::span<float> out) {
  WireReader reader("nested", data);
  MUSTER_ASSIGN_OR_RETURN(const uint8_t codec, reader.Number<uint8_t>("codec"));
  // The codecs that this thread is inside of: small bytes must not ask for the same long work again and
  // again.
  constexpr size_t kDeepest = 4;
  thread_local std::vector<uint8_t> outer;
  if (outer.size() == kDeepest) return reader.Error("value", "is more than four deep");
  if (std::find(outer.begin(), outer.end(), codec) != outer.end()) {
    return reader.Error("codec", absl::StrCat(codec, " is inside itself"));
  }
  outer.push_back(codec);
  const absl::Cleanup leave = [] { outer.pop_back(); };
  MUSTER_ASSIGN_OR_RETURN(const Compressor* compressor, FindCodec(codec));
  MUSTER_RETURN_IF_ERROR(compressor->Decode(reader.Rest(), layout, out));
  return CheckFinite(out);
}

Traits ChainTraits(const Traits& stage, const Traits& values) {
  Traits chain;
  if (stage.omega) {
    if (values.omega) chain.omega = (1 + *stage.omega) * (1 + *values.omega) - 1;
    if (chain.omega && *chain.omega < 1) chain.delta = 1 - *chain.omega;
  } else if (stage.delta && values.delta) {
    chain.delta = *stage.delta * *values.delta;
  }
  if (stage.bytes && values.bytes) {
    chain.bytes = *stage.bytes + *values.bytes - static_cast<int64_t>(kPayloadHeaderBytes) + 1;
  }
  return chain;
}

}  // namespace muster
