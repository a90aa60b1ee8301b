#include "compression/sparse.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <optional>
#include <utility>

#include "compression/nested.h"
#include "compression/places.h"
#include "compression/wire.h"
#include "core/magnitude.h"

namespace muster {
namespace {

constexpr int64_t kLargestVector = int64_t{1} << 32;  // places are 32 bits

struct Parsed {
  PlaceReader places;
  std::vector<float> values;
};

absl::StatusOr<Parsed> Parse(std::string_view data, const Layout& layout) {
  WireReader wire("sparse", data);
  if (layout.size > kLargestVector) return wire.Error("vector", "has more than 2^32 elements");
  MUSTER_ASSIGN_OR_RETURN(const uint64_t count, wire.Varint("count"));
  MUSTER_ASSIGN_OR_RETURN(const PlaceReader places, PlaceReader::Create(wire, count, layout.size));
  Parsed parsed{places, std::vector<float>(count)};
  MUSTER_RETURN_IF_ERROR(DecodeNested(wire.Rest(), VectorLayout(static_cast<int64_t>(count)), parsed.values));
  return parsed;
}

// Calls visit(places, values) for one chunk after another.
template <typename Visitor>
void ForEachChunk(Parsed parsed, const Visitor& visit) {
  std::array<uint32_t, 1024> chunk;
  std::span<const float> values = parsed.values;
  while (const size_t filled = parsed.places.Next(chunk)) {
    visit(std::span<const uint32_t>(chunk.data(), filled), values.first(filled));
    values = values.subspan(filled);
  }
}

}  // namespace

Sparse::Sparse(std::shared_ptr<const Compressor> values)
    : values_(ValuesOr(std::move(values), {"identity", {}})) {}

absl::StatusOr<Payload> Sparse::Compress(std::span<const float> x, const Layout& layout,
                                         const RandomKey& key) const {
  if (static_cast<int64_t>(x.size()) != layout.size) return CheckUpdate(x, layout);
  if (layout.size > kLargestVector) return InvalidInput("sparse payloads hold at most 2^32 elements");
  const std::vector<uint32_t> places = Select(x);
  std::vector<float> values(places.size());
  std::transform(places.begin(), places.end(), values.begin(), [x](uint32_t place) { return x[place]; });
  if (!std::isfinite(LargestMagnitude(values))) return CheckUpdate(x, layout);
  Payload payload{PayloadHeader(codec(), layout)};
  AppendVarint(places.size(), payload.bytes);
  AppendPlaces(places, layout.size, payload.bytes);
  MUSTER_RETURN_IF_ERROR(
      AppendNested(*values_, values, VectorLayout(static_cast<int64_t>(values.size())), key, payload.bytes));
  return payload;
}

absl::Status Sparse::Fold(std::string_view data, double weight, const Layout& layout, ExactSum& sum) const {
  MUSTER_ASSIGN_OR_RETURN(Parsed parsed, Parse(data, layout));
  const float largest = LargestMagnitude(parsed.values);
  if (largest > ExactSum::kLargest) return Compressor::Fold(data, weight, layout, sum);  // names the element
  MUSTER_ASSIGN_OR_RETURN(const ExactSum::Term term, sum.StartTerm(weight, largest));
  ForEachChunk(std::move(parsed), [&](auto places, auto values) { term.AddAt(places, values); });
  return absl::OkStatus();
}

absl::Status Sparse::Decode(std::string_view data, const Layout& layout, std::span<float> out) const {
  MUSTER_ASSIGN_OR_RETURN(Parsed parsed, Parse(data, layout));
  std::fill(out.begin(), out.end(), 0.0F);
  ForEachChunk(std::move(parsed), [&](auto places, auto values) {
    for (size_t i = 0; i < places.size(); ++i) out[places[i]] = values[i];
  });
  return absl::OkStatus();
}

int64_t CountOf(double ratio, int64_t n) {
  // 0.07 * 100 is a little more than 7.
  const double count = std::ceil(ratio * static_cast<double>(n) * (1 - 1e-12));
  return std::clamp<int64_t>(static_cast<int64_t>(count), std::min<int64_t>(1, n), n);
}

}  // namespace muster
