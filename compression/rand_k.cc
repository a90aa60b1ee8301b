// Rand-K: k elements chosen at random. Their places follow from a seed and are never sent.
#include <algorithm>
#include <array>
#include <cmath>
#include <utility>

#include "absl/strings/str_cat.h"
#include "compression/nested.h"
#include "compression/sparse.h"
#include "compression/wire.h"
#include "core/magnitude.h"

namespace muster {
namespace {

struct RandKOptions {
  double ratio = 0.05;
  int64_t count = 0;
  bool scaled = true;
};

// k places of n, increasing, every set of k equally likely: element i is taken with probability (places still
// to take) / (elements still to come) (Knuth, TAOCP 2, 3.4.2, algorithm S).
class RandomPlaces {
 public:
  RandomPlaces(uint64_t seed, int64_t n, int64_t k)
      : random_({.seed = seed, .purpose = Purpose::kCompression}), n_(n), left_(k) {}

  // Fills the front of `chunk` with the next places; how many, 0 at the end.
  size_t Next(std::span<uint32_t> chunk) {
    size_t filled = 0;
    for (; filled < chunk.size() && left_ > 0; ++i_) {
      if (random_.Below(static_cast<uint64_t>(n_ - i_)) < static_cast<uint64_t>(left_)) {
        chunk[filled++] = static_cast<uint32_t>(i_);
        --left_;
      }
    }
    return filled;
  }

 private:
  Random random_;
  const int64_t n_;
  int64_t left_;
  int64_t i_ = 0;
};

// Data: u64 seed, varint k, the values, nested. Scaled by n / k: unbiased, omega = n / k - 1; the sender
// scales, so that a decoder need not know. Unscaled: contractive, delta = k / n.
class RandK final : public Compressor {
 public:
  RandK(const RandKOptions& options, const Context& context)
      : options_(options), values_(ValuesOr(context.values, {"identity", {}})) {}

  uint8_t codec() const override { return 17; }
  bool IsStage() const override { return true; }

  Traits traits(const Layout& layout) const override {
    const int64_t k = Count(layout.size);
    const double kept = layout.size > 0 ? static_cast<double>(k) / static_cast<double>(layout.size) : 1;
    std::string sizes;
    AppendVarint(static_cast<uint64_t>(k), sizes);
    Traits traits{.bytes = static_cast<int64_t>(kPayloadHeaderBytes + sizeof(uint64_t) + sizes.size())};
    if (options_.scaled) {
      traits.omega = 1 / kept - 1;
    } else {
      traits.delta = kept;
    }
    return ChainTraits(traits, values_->traits(VectorLayout(k)));
  }

  absl::StatusOr<Payload> Compress(std::span<const float> x, const Layout& layout,
                                   const RandomKey& key) const override {
    MUSTER_RETURN_IF_ERROR(CheckUpdate(x, layout));
    const int64_t k = Count(layout.size);
    const uint64_t seed = Random(key)();
    const double gain = options_.scaled && k > 0 ? static_cast<double>(x.size()) / static_cast<double>(k) : 1;
    std::vector<float> values;
    values.reserve(static_cast<size_t>(k));
    RandomPlaces places(seed, layout.size, k);
    std::array<uint32_t, 1024> chunk;
    while (const size_t filled = places.Next(chunk)) {
      for (size_t i = 0; i < filled; ++i) values.push_back(static_cast<float>(x[chunk[i]] * gain));
    }
    if (!std::isfinite(LargestMagnitude(values))) {
      return InvalidInput(absl::StrCat("rand_k scales an element of the update by ", gain,
                                       ", beyond float32; use scaled=false"));
    }
    Payload payload{PayloadHeader(codec(), layout)};
    AppendNumber(seed, payload.bytes);
    AppendVarint(static_cast<uint64_t>(k), payload.bytes);
    MUSTER_RETURN_IF_ERROR(AppendNested(*values_, values, VectorLayout(k), key, payload.bytes));
    return payload;
  }

  absl::Status Fold(std::string_view data, double weight, const Layout& layout,
                    ExactSum& sum) const override {
    MUSTER_ASSIGN_OR_RETURN(const Parsed parsed, Parse(data, layout));
    const float largest = LargestMagnitude(parsed.values);
    if (largest > ExactSum::kLargest)
      return Compressor::Fold(data, weight, layout, sum);  // names the element
    MUSTER_ASSIGN_OR_RETURN(const ExactSum::Term term, sum.StartTerm(weight, largest));
    ForEachChunk(parsed, layout, [&](auto places, auto values) { term.AddAt(places, values); });
    return absl::OkStatus();
  }

  absl::Status Decode(std::string_view data, const Layout& layout, std::span<float> out) const override {
    MUSTER_ASSIGN_OR_RETURN(const Parsed parsed, Parse(data, layout));
    std::fill(out.begin(), out.end(), 0.0F);
    ForEachChunk(parsed, layout, [&](auto places, auto values) {
      for (size_t i = 0; i < places.size(); ++i) out[places[i]] = values[i];
    });
    return absl::OkStatus();
  }

 private:
  struct Parsed {
    uint64_t seed = 0;
    std::vector<float> values;
  };

  int64_t Count(int64_t n) const {
    return options_.count > 0 ? std::min(options_.count, n) : CountOf(options_.ratio, n);
  }
  static absl::StatusOr<Parsed> Parse(std::string_view data, const Layout& layout) {
    WireReader wire("rand_k", data);
    Parsed parsed;
    MUSTER_ASSIGN_OR_RETURN(parsed.seed, wire.Number<uint64_t>("seed"));
    MUSTER_ASSIGN_OR_RETURN(const uint64_t k, wire.Varint("count"));
    if (k > static_cast<uint64_t>(layout.size) || layout.size > int64_t{1} << 32) {
      return wire.Error("count", absl::StrCat("is ", k, " of ", layout.size, " elements"));
    }
    parsed.values.resize(k);
    MUSTER_RETURN_IF_ERROR(DecodeNested(wire.Rest(), VectorLayout(static_cast<int64_t>(k)), parsed.values));
    return parsed;
  }
  template <typename Visitor>
  static void ForEachChunk(const Parsed& parsed, const Layout& layout, const Visitor& visit) {
    std::span<const float> values = parsed.values;
    RandomPlaces places(parsed.seed, layout.size, static_cast<int64_t>(values.size()));
    std::array<uint32_t, 1024> chunk;
    while (const size_t filled = places.Next(chunk)) {
      visit(std::span<const uint32_t>(chunk.data(), filled), values.first(filled));
      values = values.subspan(filled);
    }
  }

  const RandKOptions options_;
  const std::shared_ptr<const Compressor> values_;
};

MUSTER_REGISTER(Compressor,
                Plugin<RandKOptions>("rand_k", "Elements chosen at random, their places never sent; a stage",
                                     "Konecny et al. 2016, arXiv:1610.05492, section 3.1; Stich et al. 2018, "
                                     "arXiv:1809.07599")
                    .Option("ratio", &RandKOptions::ratio, "share of the elements kept, rounded up",
                            AboveUpTo(0, 1))
                    .Option("count", &RandKOptions::count, "elements kept; 0: by ratio", AtLeast(0))
                    .Option("scaled", &RandKOptions::scaled,
                            "times n / k: unbiased; false: as they are, contractive, for error feedback")
                    .Make<RandK>());

}  // namespace
}  // namespace muster
