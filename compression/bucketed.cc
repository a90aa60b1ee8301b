#include "compression/bucketed.h"

#include <algorithm>
#include <array>
#include <string>

#include "absl/strings/str_cat.h"
#include "compression/wire.h"

namespace muster {
namespace {

constexpr size_t kFormBytes = sizeof(uint32_t) + sizeof(uint16_t);

NoiseKey NextKey(Random& random) {
  const uint64_t noise = random();
  return {static_cast<uint32_t>(noise), static_cast<uint32_t>(noise >> 32)};
}

}  // namespace

int64_t Bucketed::BucketOf(const Layout& layout) const {
  const int64_t whole = std::clamp<int64_t>(layout.size, 1, UINT32_MAX);
  return bucket_ == 0 ? whole : bucket_;
}

int64_t Bucketed::PayloadBytes(const Layout& layout) const {
  const int64_t bucket = BucketOf(layout), full = layout.size / bucket, rest = layout.size % bucket;
  size_t bytes = kPayloadHeaderBytes + kFormBytes;
  bytes += static_cast<size_t>(full) * BucketBytes(levels_, static_cast<size_t>(bucket));
  if (rest > 0) bytes += BucketBytes(levels_, static_cast<size_t>(rest));
  return static_cast<int64_t>(bytes);
}

absl::StatusOr<Payload> Bucketed::Compress(std::span<const float> x, const Layout& layout,
                                           const RandomKey& key) const {
  if (static_cast<int64_t>(x.size()) != layout.size) return CheckUpdate(x, layout);
  Random random(key);
  const auto bucket = static_cast<size_t>(BucketOf(layout));
  Payload payload = StartPayload(layout);
  std::vector<uint8_t> encoded;  // of one bucket: it stays in the cache until it is appended
  Ahead ahead{.next = x.first(std::min(bucket, x.size())), .largest = {}};
  for (size_t begin = 0; begin < x.size(); begin += bucket) {
    const std::span<const float> part = ahead.next;
    const std::span<const float> rest = x.subspan(begin + part.size());
    ahead.next = rest.first(std::min(bucket, rest.size()));
    encoded.resize(BucketBytes(levels_, part.size()));
    if (!EncodeBucket(part, levels_, NextKey(random), ahead, encoded.data())) {
      return CheckFinite(part, static_cast<int64_t>(begin));
    }
    payload.bytes.append(reinterpret_cast<const char*>(encoded.data()), encoded.size());
  }
  return payload;
}

absl::StatusOr<Payload> Bucketed::CompressOnDevice(const DeviceVector& x, const Layout& layout,
                                                   const RandomKey& key) const {
  OnDevice encoded;
  const int64_t bucket = std::min(BucketOf(layout), layout.size);
  if (x.size() == layout.size) {
    Random random(key);
    std::vector<NoiseKey> noise(static_cast<size_t>((x.size() + bucket - 1) / bucket));
    for (NoiseKey& key_of_bucket : noise) key_of_bucket = NextKey(random);
    MUSTER_ASSIGN_OR_RETURN(encoded, EncodeOnDevice(x, bucket, noise));
  }
  // What is refused is refused with the host, whose message names the element.
  if (encoded.floats.empty()) return Compressor::CompressOnDevice(x, layout, key);
  Payload payload = StartPayload(layout);
  int64_t left = layout.size;
  size_t packed = 0;
  for (const float value : encoded.floats) {
    const auto n = static_cast<size_t>(std::min(bucket, left));
    AppendNumber(value, payload.bytes);
    payload.bytes.append(encoded.packed.bytes, packed, BucketBytes(levels_, n) - sizeof value);
    packed += encoded.packed.stride;
    left -= bucket;
  }
  return payload;
}

Payload Bucketed::StartPayload(const Layout& layout) const {
  Payload payload{PayloadHeader(codec(), layout)};
  payload.bytes.reserve(static_cast<size_t>(PayloadBytes(layout)));
  AppendNumber(static_cast<uint32_t>(BucketOf(layout)), payload.bytes);
  AppendNumber(levels_, payload.bytes);
  return payload;
}

absl::Status Bucketed::ForEachBucket(
    const Parsed& parsed, const Layout& layout,
    absl::FunctionRef<absl::Status(const uint8_t*, size_t, size_t)> visit) const {
  const auto size = static_cast<size_t>(layout.size);
  const size_t bytes = BucketBytes(parsed.levels, parsed.bucket);
  const uint8_t* at = parsed.buckets;
  for (size_t begin = 0; begin < size; begin += parsed.bucket, at += bytes) {
    MUSTER_RETURN_IF_ERROR(visit(at, std::min(parsed.bucket, size - begin), begin));
  }
  return absl::OkStatus();
}

absl::StatusOr<Bucketed::Parsed> Bucketed::Parse(std::string_view data, const Layout& layout) const {
  WireReader reader(name(), data);
  Parsed parsed;
  MUSTER_ASSIGN_OR_RETURN(const uint32_t bucket, reader.Number<uint32_t>("bucket"));
  MUSTER_ASSIGN_OR_RETURN(parsed.levels, reader.Number<uint16_t>("levels"));
  if (bucket == 0) return reader.Error("bucket", "is 0");
  if (!KnowsLevels(parsed.levels)) return reader.Error("levels", absl::StrCat("cannot be ", parsed.levels));
  // A bucket beyond the vector is the vector.
  const auto size = static_cast<uint64_t>(layout.size);
  parsed.bucket = std::max<uint64_t>(1, std::min<uint64_t>(bucket, size));
  const uint64_t full = size / parsed.bucket, rest = size % parsed.bucket;
  const uint64_t need = full * BucketBytes(parsed.levels, parsed.bucket) +
                        (rest > 0 ? BucketBytes(parsed.levels, static_cast<size_t>(rest)) : 0);
  const std::string_view buckets = reader.Rest();
  if (buckets.size() != need) {
    return reader.Error("data", absl::StrCat("has ", buckets.size(), " bytes of buckets, needs ", need));
  }
  parsed.buckets = reinterpret_cast<const uint8_t*>(buckets.data());
  MUSTER_RETURN_IF_ERROR(
      ForEachBucket(parsed, layout, [&](const uint8_t* bytes, size_t n, size_t begin) -> absl::Status {
        const absl::StatusOr<float> largest = CheckBucket(bytes, parsed.levels, n);
        if (!largest.ok()) {
          return reader.Error(absl::StrCat("bucket ", begin / parsed.bucket), Message(largest.status()));
        }
        parsed.largest = std::max(parsed.largest, *largest);
        return absl::OkStatus();
      }));
  return parsed;
}

absl::Status Bucketed::Decode(std::string_view data, const Layout& layout, std::span<float> out) const {
  MUSTER_ASSIGN_OR_RETURN(const Parsed parsed, Parse(data, layout));
  return ForEachBucket(parsed, layout, [&](const uint8_t* bytes, size_t n, size_t begin) {
    for (size_t piece = 0; piece < n; piece += kPiece) {
      DecodePiece(bytes, parsed.levels, n, piece, out.subspan(begin + piece, std::min(kPiece, n - piece)));
    }
    return absl::OkStatus();
  });
}

absl::Status Bucketed::Fold(std::string_view data, double weight, const Layout& layout, ExactSum& sum) const {
  MUSTER_ASSIGN_OR_RETURN(const Parsed parsed, Parse(data, layout));
  // The bound may be above what is there: the decoded values decide.
  if (parsed.largest > ExactSum::kLargest) return Compressor::Fold(data, weight, layout, sum);
  MUSTER_ASSIGN_OR_RETURN(const ExactSum::Term term, sum.StartTerm(weight, parsed.largest));
  return ForEachBucket(parsed, layout, [&](const uint8_t* bytes, size_t n, size_t begin) {
    FoldBucket(bytes, parsed.levels, n, static_cast<int64_t>(begin), term);
    return absl::OkStatus();
  });
}

void Bucketed::FoldBucket(const uint8_t* bucket, uint16_t levels, size_t n, int64_t offset,
                          const ExactSum::Term& term) const {
  // Small ones: while one is decoded, the memory of the sum that the last one asked for arrives.
  constexpr size_t kFolded = 480;
  std::array<float, kFolded> decoded;
  for (size_t begin = 0; begin < n; begin += kFolded) {
    const std::span<float> piece(decoded.data(), std::min(kFolded, n - begin));
    DecodePiece(bucket, levels, n, begin, piece);
    term.Add(offset + static_cast<int64_t>(begin), piece);
  }
}

}  // namespace muster
