// Random rotation: spreads every element over its block, so that few bits an element do.
#include <algorithm>
#include <bit>
#include <cmath>
#include <utility>

#include "absl/strings/str_cat.h"
#include "compression/nested.h"
#include "compression/wire.h"
#include "core/kernel.h"
#include "core/magnitude.h"

namespace muster {
namespace {

constexpr int kLargestBlockBits = 20;

struct RotationOptions {
  int64_t block = 4096;
};

// Unnormalised Walsh-Hadamard transform of 2^k values, in place.
MUSTER_KERNEL void Hadamard(float* x, size_t n) {
  for (size_t half = 1; half < n; half *= 2) {
    for (size_t begin = 0; begin < n; begin += 2 * half) {
      float* const a = x + begin;
      float* const b = a + half;
      for (size_t i = 0; i < half; ++i) {
        const float sum = a[i] + b[i], difference = a[i] - b[i];
        a[i] = sum;
        b[i] = difference;
      }
    }
  }
}

MUSTER_KERNEL void Multiply(float* x, size_t n, float factor) {
  for (size_t i = 0; i < n; ++i) x[i] *= factor;
}

// The last block is as long as the next power of two from what is left on.
size_t LastBlock(size_t rest) { return std::bit_ceil(rest); }
size_t RotatedSize(size_t n, size_t block) {
  const size_t rest = n % block;
  return n - rest + (rest > 0 ? LastBlock(rest) : 0);
}

// Random signs by bits, lowest first, 64 from every draw.
class Signs {
 public:
  explicit Signs(uint64_t seed) : random_({.seed = seed, .purpose = Purpose::kCompression}) {}
  void Apply(std::span<float> x) {
    for (float& value : x) {
      if (left_ == 0) bits_ = random_(), left_ = 64;
      value = std::bit_cast<float>(std::bit_cast<uint32_t>(value) ^ static_cast<uint32_t>(bits_ & 1) << 31);
      bits_ >>= 1;
      --left_;
    }
  }

 private:
  Random random_;
  uint64_t bits_ = 0;
  int left_ = 0;
};

// Calls visit(block) for every block of a rotated vector.
template <typename Visitor>
void ForEachBlock(std::span<float> rotated, size_t block, const Visitor& visit) {
  for (size_t begin = 0; begin < rotated.size(); begin += block) {
    visit(rotated.subspan(begin, std::min(block, rotated.size() - begin)));
  }
}
void Transform(std::span<float> block) {
  Hadamard(block.data(), block.size());
  Multiply(block.data(), block.size(), static_cast<float>(1 / std::sqrt(static_cast<double>(block.size()))));
}

// y = H D x / sqrt(B) on every block of B elements, D random signs; x = D H y / sqrt(B). Norms stay, so that
// what holds of the compressor of y holds of the whole. Data: u64 seed, u8 log2 B, then y, nested. Without a
// next stage y is sent as DRIVE does: signs and the scale |y|^2 / |y|_1.
class Rotation final : public Compressor {
 public:
  static absl::StatusOr<std::unique_ptr<Compressor>> Create(const RotationOptions& options,
                                                            const Context& context) {
    if (!std::has_single_bit(static_cast<uint64_t>(options.block))) {
      return InvalidInput(absl::StrCat("block: ", options.block, " is not a power of two"));
    }
    return std::unique_ptr<Compressor>(new Rotation(options, context));
  }

  uint8_t codec() const override { return 18; }
  bool IsStage() const override { return true; }

  Traits traits(const Layout& layout) const override {
    const size_t rotated = RotatedSize(static_cast<size_t>(layout.size), block_);
    Traits traits = values_->traits(VectorLayout(static_cast<int64_t>(rotated)));
    if (traits.bytes) *traits.bytes += sizeof(uint64_t) + 2;
    return traits;
  }

  absl::StatusOr<Payload> Compress(std::span<const float> x, const Layout& layout,
                                   const RandomKey& key) const override {
    MUSTER_RETURN_IF_ERROR(CheckUpdate(x, layout));
    const uint64_t seed = Random(key)();
    std::vector<float> rotated(RotatedSize(x.size(), block_));
    std::copy(x.begin(), x.end(), rotated.begin());
    Signs(seed).Apply(rotated);
    ForEachBlock(rotated, block_, Transform);
    if (!std::isfinite(LargestMagnitude(rotated))) {
      return InvalidInput("the update is too large to rotate in float32");
    }
    Payload payload{PayloadHeader(codec(), layout)};
    AppendNumber(seed, payload.bytes);
    AppendNumber(static_cast<uint8_t>(std::countr_zero(block_)), payload.bytes);
    const Layout rotated_layout = VectorLayout(static_cast<int64_t>(rotated.size()));
    MUSTER_RETURN_IF_ERROR(AppendNested(*values_, rotated, rotated_layout, key, payload.bytes));
    return payload;
  }

  absl::Status Fold(std::string_view data, double weight, const Layout& layout,
                    ExactSum& sum) const override {
    MUSTER_ASSIGN_OR_RETURN(const Parsed parsed, Parse(data, layout));
    std::vector<float> x(parsed.size);
    MUSTER_RETURN_IF_ERROR(DecodeAll(parsed, x));
    return sum.Add(std::span(x).first(static_cast<size_t>(layout.size)), weight);
  }
  absl::Status Decode(std::string_view data, const Layout& layout, std::span<float> out) const override {
    MUSTER_ASSIGN_OR_RETURN(const Parsed parsed, Parse(data, layout));
    if (parsed.size == out.size()) return DecodeAll(parsed, out);
    std::vector<float> x(parsed.size);
    MUSTER_RETURN_IF_ERROR(DecodeAll(parsed, x));
    std::copy_n(x.begin(), out.size(), out.begin());
    return absl::OkStatus();
  }

 private:
  Rotation(const RotationOptions& options, const Context& context)
      : block_(static_cast<size_t>(options.block)),
        values_(ValuesOr(context.values, {"sign", {{"scale", "energy"}}})) {}

  struct Parsed {
    uint64_t seed = 0;
    size_t block = 1;
    size_t size = 0;  // of the vector and the padding of its last block
    std::string_view values;
  };
  static absl::StatusOr<Parsed> Parse(std::string_view data, const Layout& layout) {
    WireReader wire("rotation", data);
    Parsed parsed;
    MUSTER_ASSIGN_OR_RETURN(parsed.seed, wire.Number<uint64_t>("seed"));
    MUSTER_ASSIGN_OR_RETURN(const uint8_t bits, wire.Number<uint8_t>("block"));
    if (bits > kLargestBlockBits) return wire.Error("block", absl::StrCat("cannot be 2^", bits));
    parsed.block = size_t{1} << bits;
    parsed.size = RotatedSize(static_cast<size_t>(layout.size), parsed.block);
    parsed.values = wire.Rest();
    return parsed;
  }
  // x has parsed.size elements.
  static absl::Status DecodeAll(const Parsed& parsed, std::span<float> x) {
    MUSTER_RETURN_IF_ERROR(DecodeNested(parsed.values, VectorLayout(static_cast<int64_t>(x.size())), x));
    ForEachBlock(x, parsed.block, Transform);
    Signs(parsed.seed).Apply(x);
    return absl::OkStatus();
  }

  const size_t block_;
  const std::shared_ptr<const Compressor> values_;
};

MUSTER_REGISTER(
    Compressor,
    Plugin<RotationOptions>("rotation", "Random rotation of blocks; alone: with one bit an element; a stage",
                            "Suresh et al. 2017, arXiv:1611.00429, section 3; alone: Vargaftik et al. "
                            "2021 (DRIVE), arXiv:2105.08339")
        .Option("block", &RotationOptions::block, "elements rotated together, a power of two",
                Between(1, 1 << kLargestBlockBits))
        .Make<Rotation>());

}  // namespace
}  // namespace muster
