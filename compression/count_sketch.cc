// Count-sketch: a small table into which every element is hashed, and from which it is estimated.
#include <algorithm>
#include <array>
#include <cmath>
#include <utility>

#include "absl/strings/str_cat.h"
#include "compression/nested.h"
#include "compression/noise.h"
#include "compression/select.h"
#include "compression/sparse.h"
#include "compression/wire.h"
#include "core/magnitude.h"

namespace muster {
namespace {

constexpr int kMostRows = 15;

struct CountSketchOptions {
  double ratio = 0.1;
  int64_t rows = 5;
  double keep = 0.01;
};

// Where the rows of a sketch put an element.
class Hashes {
 public:
  Hashes(uint64_t seed, int rows, uint64_t width) : width_(width) {
    Random random({.seed = seed, .purpose = Purpose::kCompression});
    for (int row = 0; row < rows; ++row) {
      const uint64_t key = random();
      keys_[row] = {static_cast<uint32_t>(key), static_cast<uint32_t>(key >> 32)};
    }
  }
  struct Cell {
    size_t index = 0;
    bool minus = false;
  };
  // The lowest bit of the hash is the sign, the others choose the column.
  Cell At(int row, uint32_t element) const {
    const uint32_t bits = NoiseBits(keys_[row], element);
    const uint64_t column = (static_cast<uint64_t>(bits >> 1) * width_) >> 31;
    return {static_cast<size_t>(static_cast<uint64_t>(row) * width_ + column), (bits & 1) != 0};
  }

 private:
  const uint64_t width_;
  std::array<NoiseKey, kMostRows> keys_;
};

// S[row][h_row(i)] += s_row(i) x_i; x_i is estimated as the median over rows of s_row(i) S[row][h_row(i)]. Of
// the estimates the `keep` largest in magnitude count, the others are 0. The decoded vector is what the
// decoder estimates. Data: u64 seed, u8 rows (odd), varint width, varint estimates kept (0: all), then the
// table, row by row, nested.
class CountSketch final : public Compressor {
 public:
  static absl::StatusOr<std::unique_ptr<Compressor>> Create(const CountSketchOptions& options,
                                                            const Context& context) {
    if (options.rows % 2 == 0)
      return InvalidInput(absl::StrCat("rows: ", options.rows, " has no median; must be odd"));
    return std::unique_ptr<Compressor>(new CountSketch(options, context));
  }

  uint8_t codec() const override { return 19; }
  bool IsStage() const override { return true; }

  // One row without a choice is unbiased: others' elements come in with random signs.
  Traits traits(const Layout& layout) const override {
    const uint64_t width = Width(layout.size);
    std::string sizes;
    AppendVarint(width, sizes);
    AppendVarint(Kept(layout.size), sizes);
    Traits table{.bytes = static_cast<int64_t>(kPayloadHeaderBytes + sizeof(uint64_t) + 1 + sizes.size())};
    if (options_.rows == 1 && options_.keep == 0) {
      table.omega = static_cast<double>(std::max<int64_t>(0, layout.size - 1)) / static_cast<double>(width);
    }
    Traits traits =
        ChainTraits(table, values_->traits(VectorLayout(options_.rows * static_cast<int64_t>(width))));
    // The values' error is of the table's norm, which is the vector's only in mean over lossless values.
    if (traits.omega && values_->traits(VectorLayout(1)).omega != 0)
      traits.omega.reset(), traits.delta.reset();
    return traits;
  }

  absl::StatusOr<Payload> Compress(std::span<const float> x, const Layout& layout,
                                   const RandomKey& key) const override {
    MUSTER_RETURN_IF_ERROR(CheckUpdate(x, layout));
    const auto rows = static_cast<int>(options_.rows);
    const uint64_t seed = Random(key)(), width = Width(layout.size);
    const Hashes hashes(seed, rows, width);
    std::vector<float> table(static_cast<size_t>(rows) * width);
    for (size_t i = 0; i < x.size(); ++i) {
      for (int row = 0; row < rows; ++row) {
        const auto [index, minus] = hashes.At(row, static_cast<uint32_t>(i));
        table[index] += minus ? -x[i] : x[i];
      }
    }
    if (!std::isfinite(LargestMagnitude(table)))
      return InvalidInput("the update is too large to sketch in float32");
    Payload payload{PayloadHeader(codec(), layout)};
    AppendNumber(seed, payload.bytes);
    AppendNumber(static_cast<uint8_t>(rows), payload.bytes);
    AppendVarint(width, payload.bytes);
    AppendVarint(Kept(layout.size), payload.bytes);
    MUSTER_RETURN_IF_ERROR(
        AppendNested(*values_, table, VectorLayout(static_cast<int64_t>(table.size())), key, payload.bytes));
    return payload;
  }

  absl::Status Decode(std::string_view data, const Layout& layout, std::span<float> out) const override {
    WireReader wire("count_sketch", data);
    const auto size = static_cast<uint64_t>(layout.size);
    MUSTER_ASSIGN_OR_RETURN(const uint64_t seed, wire.Number<uint64_t>("seed"));
    MUSTER_ASSIGN_OR_RETURN(const uint8_t rows, wire.Number<uint8_t>("rows"));
    MUSTER_ASSIGN_OR_RETURN(const uint64_t width, wire.Varint("width"));
    MUSTER_ASSIGN_OR_RETURN(const uint64_t kept, wire.Varint("estimates kept"));
    if (rows % 2 == 0 || rows > kMostRows) return wire.Error("rows", absl::StrCat("cannot be ", rows));
    if (width == 0 || width > size + 1 || rows * width > size + rows) {
      return wire.Error("width", absl::StrCat("is ", width, " in ", rows, " rows for ", size, " elements"));
    }
    if (kept > size) return wire.Error("estimates kept", absl::StrCat("are ", kept, " of ", size));
    std::vector<float> table(rows * width);
    MUSTER_RETURN_IF_ERROR(
        DecodeNested(wire.Rest(), VectorLayout(static_cast<int64_t>(table.size())), table));
    const Hashes hashes(seed, rows, width);
    std::array<float, kMostRows> estimates;
    for (size_t i = 0; i < out.size(); ++i) {
      for (int row = 0; row < rows; ++row) {
        const auto [index, minus] = hashes.At(row, static_cast<uint32_t>(i));
        estimates[row] = minus ? -table[index] : table[index];
      }
      std::nth_element(estimates.begin(), estimates.begin() + rows / 2, estimates.begin() + rows);
      out[i] = estimates[rows / 2];
    }
    std::vector<float>().swap(table);  // choosing needs as much
    if (kept > 0) KeepLargest(out, kept);
    return absl::OkStatus();
  }

 private:
  CountSketch(const CountSketchOptions& options, const Context& context)
      : options_(options), values_(ValuesOr(context.values, {"identity", {}})) {}

  uint64_t Width(int64_t n) const {
    return static_cast<uint64_t>(
        std::max(1.0, options_.ratio * static_cast<double>(n) / static_cast<double>(options_.rows)));
  }
  uint64_t Kept(int64_t n) const {
    return options_.keep > 0 ? static_cast<uint64_t>(CountOf(options_.keep, n)) : 0;
  }

  const CountSketchOptions options_;
  const std::shared_ptr<const Compressor> values_;
};

MUSTER_REGISTER(
    Compressor,
    Plugin<CountSketchOptions>("count_sketch", "A table of hashed sums, its largest estimates kept; a stage",
                               "Charikar et al. 2002; Rothchild et al. 2020 (FetchSGD), arXiv:2007.07682")
        .Option("ratio", &CountSketchOptions::ratio, "cells of the table an element", AboveUpTo(0, 1))
        .Option("rows", &CountSketchOptions::rows, "rows of the table, odd", Between(1, kMostRows))
        .Option("keep", &CountSketchOptions::keep, "share of the estimates that count; 0: all", Between(0, 1))
        .Make<CountSketch>());

}  // namespace
}  // namespace muster
