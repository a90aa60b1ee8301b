// Every tensor of the model by itself; small ones as they are.
#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "compression/nested.h"
#include "compression/wire.h"

namespace muster {
namespace {

struct PerLayerOptions {
  bool dense_vectors = true;
  std::vector<std::string> dense = {};
};

// '*' stands for any characters.
bool Matches(std::string_view name, std::string_view pattern) {
  if (pattern.empty()) return name.empty();
  if (pattern[0] == '*') {
    return Matches(name, pattern.substr(1)) || (!name.empty() && Matches(name.substr(1), pattern));
  }
  return !name.empty() && name[0] == pattern[0] && Matches(name.substr(1), pattern.substr(1));
}

Layout LayoutOf(const Layout::Entry& entry) {
  Layout layout;
  layout.entries.push_back({.name = entry.name, .shape = entry.shape});
  layout.size = entry.size();
  return layout;
}

// Data: for every tensor of the layout, in order: varint bytes, then so many bytes of its values, nested.
class PerLayer final : public Compressor {
 public:
  PerLayer(const PerLayerOptions& options, const Context& context)
      : options_(options),
        values_(ValuesOr(context.values, {"top_k", {}})),
        as_they_are_(ValuesOr(nullptr, {"identity", {}})) {}

  uint8_t codec() const override { return 21; }
  bool IsStage() const override { return true; }

  // Errors of tensors add up as their squares do: the worst omega and the worst delta hold for the whole.
  Traits traits(const Layout& layout) const override {
    Traits all{.omega = 0, .delta = 1, .bytes = static_cast<int64_t>(kPayloadHeaderBytes)};
    for (const Layout::Entry& entry : layout.entries) {
      const Traits one = For(entry).traits(LayoutOf(entry));
      const auto combine = [](std::optional<double>& of_all, const std::optional<double>& of_one,
                              auto worse) {
        if (of_all && of_one) {
          of_all = worse(*of_all, *of_one);
        } else {
          of_all.reset();
        }
      };
      combine(all.omega, one.omega, [](double a, double b) { return std::max(a, b); });
      combine(all.delta, one.delta, [](double a, double b) { return std::min(a, b); });
      if (all.bytes && one.bytes) {
        std::string size;
        const int64_t bytes = *one.bytes - static_cast<int64_t>(kPayloadHeaderBytes) + 1;
        AppendVarint(static_cast<uint64_t>(bytes), size);
        *all.bytes += static_cast<int64_t>(size.size()) + bytes;
      } else {
        all.bytes.reset();
      }
    }
    return all;
  }

  absl::StatusOr<Payload> Compress(std::span<const float> x, const Layout& layout,
                                   const RandomKey& key) const override {
    MUSTER_RETURN_IF_ERROR(CheckUpdate(x, layout));
    Payload payload{PayloadHeader(codec(), layout)};
    std::string encoded;
    for (size_t i = 0; i < layout.entries.size(); ++i) {
      const Layout::Entry& entry = layout.entries[i];
      encoded.clear();
      MUSTER_RETURN_IF_ERROR(
          AppendNested(For(entry), Part(x, entry), LayoutOf(entry), DeriveKey(key, i + 1), encoded));
      AppendVarint(encoded.size(), payload.bytes);
      payload.bytes.append(encoded);
    }
    return payload;
  }

  absl::Status Decode(std::string_view data, const Layout& layout, std::span<float> out) const override {
    WireReader wire("per_layer", data);
    for (const Layout::Entry& entry : layout.entries) {
      MUSTER_ASSIGN_OR_RETURN(const uint64_t bytes, wire.Varint("size of a tensor"));
      MUSTER_ASSIGN_OR_RETURN(const std::string_view encoded, wire.Take("tensor", bytes));
      const absl::Status decoded = DecodeNested(encoded, LayoutOf(entry), Part(out, entry));
      if (!decoded.ok()) return Annotate(decoded, entry.name);
    }
    if (!wire.Rest().empty()) return wire.Error("data", "have trailing bytes");
    return absl::OkStatus();
  }

 private:
  template <typename T>
  static std::span<T> Part(std::span<T> x, const Layout::Entry& entry) {
    return x.subspan(static_cast<size_t>(entry.offset), static_cast<size_t>(entry.size()));
  }
  const Compressor& For(const Layout::Entry& entry) const {
    const bool named = std::any_of(options_.dense.begin(), options_.dense.end(),
                                   [&](const std::string& pattern) { return Matches(entry.name, pattern); });
    return named || (options_.dense_vectors && entry.shape.size() < 2) ? *as_they_are_ : *values_;
  }

  const PerLayerOptions options_;
  const std::shared_ptr<const Compressor> values_, as_they_are_;
};

MUSTER_REGISTER(Compressor,
                Plugin<PerLayerOptions>("per_layer",
                                        "Every tensor by itself through the stages that follow; a stage")
                    .Option("dense_vectors", &PerLayerOptions::dense_vectors,
                            "leave tensors of fewer than two dimensions (biases, norms) as float32")
                    .Option("dense", &PerLayerOptions::dense,
                            "names of tensors to leave as float32; * stands for any characters")
                    .Make<PerLayer>());

}  // namespace
}  // namespace muster
