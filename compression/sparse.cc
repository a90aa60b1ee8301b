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

constexpr size_t kChunk = 128;  // places; so few that what they ask for stays in the nearest cache

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
  return Encode(places, values, layout, key);
}

absl::StatusOr<Payload> Sparse::CompressOnDevice(const DeviceVector& x, const Layout& layout,
                                                 const RandomKey& key) const {
  DeviceVector::Kept kept;
  if (x.size() == layout.size && layout.size <= kLargestVector) {
    MUSTER_ASSIGN_OR_RETURN(kept, SelectOnDevice(x));
  }
  // What is refused is refused with the host, whose message names the element.
  const bool encodes = !kept.places.empty() && std::isfinite(LargestMagnitude(kept.values));
  return encodes ? Encode(kept.places, kept.values, layout, key)
                 : Compressor::CompressOnDevice(x, layout, key);
}

absl::StatusOr<Payload> Sparse::Encode(std::span<const uint32_t> places, std::span<const float> values,
                                       const Layout& layout, const RandomKey& key) const {
  Payload payload{PayloadHeader(codec(), layout)};
  AppendVarint(places.size(), payload.bytes);
  AppendPlaces(places, layout.size, payload.bytes);
  MUSTER_RETURN_IF_ERROR(
      AppendNested(*values_, values, VectorLayout(static_cast<int64_t>(values.size())), key, payload.bytes));
  return payload;
}

absl::Status Sparse::Fold(std::string_view data, double weight, const Layout& layout, ExactSum& sum) const {
  MUSTER_ASSIGN_OR_RETURN(const Parsed parsed, Parse(data, layout));
  const std::span<const float> values(parsed.values);
  const float largest = LargestMagnitude(values);
  if (largest > ExactSum::kLargest) return Compressor::Fold(data, weight, layout, sum);  // names the element
  MUSTER_ASSIGN_OR_RETURN(const ExactSum::Term term, sum.StartTerm(weight, largest));
  // Places are decoded once: while the memory of one chunk is on its way, the next is decoded.
  std::array<std::array<uint32_t, kChunk>, 2> chunks;
  PlaceReader places = parsed.places;
  size_t folded = 0;
  size_t ready = places.Next(chunks[0], term.words());
  for (int now = 0; ready > 0; now = 1 - now) {
    const size_t next = places.Next(chunks[1 - now], term.words());
    term.AddAt(std::span(chunks[now]).first(ready), values.subspan(folded, ready));
    folded += ready;
    ready = next;
  }
  absl::Status complete = places.Finish();
  if (complete.ok()) return complete;
  PlaceReader again = parsed.places;
  for (size_t undone = 0; undone < folded;) {
    const size_t filled = again.Next(chunks[0]);
    term.TakeBackAt(std::span(chunks[0]).first(filled), values.subspan(undone, filled));
    undone += filled;
  }
  sum.TakeBack(term);
  return complete;
}

absl::Status Sparse::Decode(std::string_view data, const Layout& layout, std::span<float> out) const {
  MUSTER_ASSIGN_OR_RETURN(Parsed parsed, Parse(data, layout));
  std::fill(out.begin(), out.end(), 0.0F);
  std::array<uint32_t, kChunk> chunk;
  const float* value = parsed.values.data();
  while (const size_t filled = parsed.places.Next(chunk)) {
    for (const uint32_t place : std::span(chunk).first(filled)) out[place] = *value++;
  }
  return parsed.places.Finish();
}

int64_t CountOf(double ratio, int64_t n) {
  // 0.07 * 100 is a little more than 7.
  const double count = std::ceil(ratio * static_cast<double>(n) * (1 - 1e-12));
  return std::clamp<int64_t>(static_cast<int64_t>(count), std::min<int64_t>(1, n), n);
}

}  // namespace muster
