#include "compression/places.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "compression/bits.h"
#include "core/kernel.h"

namespace muster {
namespace {

enum Kind { kFixed = 0, kBitmap = 2, kRice = 3 };
constexpr int kKindShift = 6;
constexpr int kParameterMask = (1 << kKindShift) - 1;
constexpr int kLargestParameter = 32;

int FixedWidth(uint64_t n) { return n > 1 ? static_cast<int>(std::bit_width(n - 1)) : 0; }

// Appends numbers of up to 57 bits, lowest bit first.
class BitWriter {
 public:
  explicit BitWriter(std::string& out) : out_(out) {}
  void Write(uint64_t number, int width) {
    word_ |= number << filled_;
    for (filled_ += width; filled_ >= 8; filled_ -= 8, word_ >>= 8) out_.push_back(static_cast<char>(word_));
  }
  void Finish() {
    if (filled_ > 0) out_.push_back(static_cast<char>(word_));
  }

 private:
  std::string& out_;
  uint64_t word_ = 0;
  int filled_ = 0;
};

template <typename Visitor>
void ForEachGap(std::span<const uint32_t> places, const Visitor& visit) {
  int64_t previous = -1;
  for (const uint32_t place : places) {
    visit(static_cast<uint64_t>(int64_t{place} - previous - 1));
    previous = place;
  }
}

uint64_t RiceBits(std::span<const uint32_t> places, int parameter) {
  uint64_t bits = places.size() * static_cast<uint64_t>(parameter + 1);
  ForEachGap(places, [&](uint64_t gap) { bits += gap >> parameter; });
  return bits;
}

// The best parameter is close to log2(ln 2 * mean gap); its neighbours are tried as well.
int BestRiceParameter(std::span<const uint32_t> places, uint64_t n) {
  const uint64_t mean = (n - places.size()) / places.size();
  const int guess = static_cast<int>(std::bit_width(mean * 11 / 16));
  int best = 0;
  uint64_t fewest = UINT64_MAX;
  for (int parameter = std::max(0, guess - 2); parameter <= guess + 1; ++parameter) {
    const uint64_t bits = RiceBits(places, parameter);
    if (bits < fewest) fewest = bits, best = parameter;
  }
  return best;
}

// 57 bits or more from bit `at` on, zeros behind the end.
inline uint64_t Load(const char* bits, size_t bytes, uint64_t at) {
  const uint64_t byte = at / 8;
  uint64_t word = 0;
  if (byte + 8 <= bytes) {
    std::memcpy(&word, bits + byte, 8);
  } else if (byte < bytes) {
    std::memcpy(&word, bits + byte, bytes - byte);
  }
  return word >> at % 8;
}

// Moves `at` on to a one bit; false if there is none.
bool FindOne(const char* bits, size_t bytes, uint64_t& at) {
  constexpr int kWindow = 57;
  constexpr uint64_t kMask = (uint64_t{1} << kWindow) - 1;
  for (; at < bytes * 8; at += kWindow) {
    const uint64_t window = Load(bits, bytes, at) & kMask;
    if (window == 0) continue;
    at += static_cast<uint64_t>(std::countr_zero(window));
    return true;
  }
  return false;
}

struct RiceCursor {
  uint64_t bits;        // the next bit of the zeros and ones,
  uint64_t low_bits;    // and of the low bits
  uint64_t behind_one;  // the last one, or where the first run of zeros starts
  uint64_t place;       // the least that the next place can be
};

// A place that is not checked yet may be anywhere, which prefetching does not mind.
inline void Prefetch(const int64_t* words, uint64_t place) {
  __builtin_prefetch(words + static_cast<uint32_t>(place), 1);
}

inline uint64_t LoadWhole(const char* bits, uint64_t at) {
  uint64_t word;
  std::memcpy(&word, bits + at / 8, 8);
  return word >> at % 8;
}

// Up to `count` places, as many as end in eight bytes that are there whole, as their low bits do; how many.
// The low bits of all gaps come first, then the ones that end their runs of zeros: finding a one does not
// wait for the place before it, so that processors work on several at a time.
MUSTER_KERNEL size_t ReadRice(const char* bits, size_t bytes, int parameter, uint32_t* places, size_t count,
                              const int64_t* soon, RiceCursor& cursor) {
  const uint64_t width = static_cast<uint64_t>(parameter), low_mask = (uint64_t{1} << width) - 1;
  RiceCursor now = cursor;
  size_t found = 0;
  while (found < count && now.bits / 8 + 8 <= bytes && (now.low_bits + 64 * width) / 8 + 8 <= bytes) {
    uint64_t ones = LoadWhole(bits, now.bits);
    const size_t there = static_cast<size_t>(__builtin_popcountll(ones)), room = count - found;
    for (uint32_t* const end = places + found + (there < room ? there : room); places + found < end;
         ++found) {
      const uint64_t one = now.bits + static_cast<uint64_t>(__builtin_ctzll(ones));
      ones &= ones - 1;
      now.place += ((one - now.behind_one) << width) + (LoadWhole(bits, now.low_bits) & low_mask);
      now.behind_one = one + 1;
      now.low_bits += width;
      if (soon != nullptr) Prefetch(soon, now.place);
      places[found] = static_cast<uint32_t>(now.place++);
    }
    now.bits = there <= room ? (now.bits / 8 + 8) * 8 : now.behind_one;
  }
  cursor = now;
  return found;
}

}  // namespace

void AppendPlaces(std::span<const uint32_t> places, int64_t n, std::string& out) {
  const auto size = static_cast<uint64_t>(n);
  const int width = FixedWidth(size);
  const uint64_t fixed = PackedBytes(places.size(), width), bitmap = PackedBytes(size, 1);
  const int parameter = places.empty() ? 0 : BestRiceParameter(places, size);
  const uint64_t rice = (RiceBits(places, parameter) + 7) / 8;
  const Kind kind = fixed <= std::min(rice, bitmap) ? kFixed : rice <= bitmap ? kRice : kBitmap;
  out.push_back(static_cast<char>(kind << kKindShift | (kind == kRice ? parameter : 0)));
  AppendVarint(kind == kFixed ? fixed : kind == kRice ? rice : bitmap, out);
  if (kind == kBitmap) {
    const size_t start = out.size();
    out.resize(start + bitmap);
    for (const uint32_t place : places) {
      out[start + place / 8] =
          static_cast<char>(static_cast<uint8_t>(out[start + place / 8]) | 1 << place % 8);
    }
    return;
  }
  BitWriter bits(out);
  if (kind == kFixed) {
    for (const uint32_t place : places) bits.Write(place, width);
  } else {
    const uint64_t low_mask = (uint64_t{1} << parameter) - 1;
    ForEachGap(places, [&](uint64_t gap) { bits.Write(gap & low_mask, parameter); });
    ForEachGap(places, [&](uint64_t gap) {
      uint64_t zeros = gap >> parameter;
      for (; zeros > 32; zeros -= 32) bits.Write(0, 32);
      bits.Write(uint64_t{1} << zeros, static_cast<int>(zeros) + 1);
    });
  }
  bits.Finish();
}

PlaceReader::PlaceReader(const WireReader& wire, std::string_view bits, uint8_t coding, uint64_t count,
                         uint64_t n)
    : wire_(wire),
      bits_(bits),
      kind_(coding >> kKindShift),
      parameter_(coding & kParameterMask),
      left_(count),
      n_(n) {
  if (kind_ == kFixed) parameter_ = FixedWidth(n);
  if (kind_ == kRice) at_ = last_one_ = count * static_cast<uint64_t>(parameter_);
}

absl::StatusOr<PlaceReader> PlaceReader::Create(WireReader& wire, uint64_t count, int64_t n) {
  const auto size = static_cast<uint64_t>(n);
  if (count > size) return wire.Error("count", absl::StrCat("is ", count, " of ", n, " elements"));
  MUSTER_ASSIGN_OR_RETURN(const uint8_t coding, wire.Number<uint8_t>("coding of places"));
  MUSTER_ASSIGN_OR_RETURN(const uint64_t bytes, wire.Varint("size of places"));
  MUSTER_ASSIGN_OR_RETURN(const std::string_view bits, wire.Take("places", bytes));
  const int kind = coding >> kKindShift, parameter = coding & kParameterMask;
  const bool known = kind == kFixed || kind == kBitmap || kind == kRice;
  if (!known || parameter > kLargestParameter || (kind != kRice && parameter != 0)) {
    return wire.Error("coding of places", absl::StrCat("cannot be ", coding));
  }
  PlaceReader reader(wire, bits, coding, count, size);
  const bool every_place_has_a_bit = size <= 1 || count <= bytes * 8;  // so many may be allocated for
  if (reader.at_ > bytes * 8 || !every_place_has_a_bit) return wire.Error("places", "are cut off");
  return reader;
}

absl::Status PlaceReader::Finish() const {
  if (left_ > 0) return wire_.Error("places", "are cut off, out of range or not increasing");
  uint64_t place = 0;
  if (kind_ == kBitmap && PlaceReader(*this).NextPlace(place)) {
    return wire_.Error("places", "are more than their count");
  }
  const uint64_t used = kind_ == kBitmap ? n_ : at_;
  if (bits_.size() != (used + 7) / 8) return wire_.Error("places", "have trailing bytes");
  if (!PaddingIsZero(reinterpret_cast<const uint8_t*>(bits_.data()), used, 1)) {
    return wire_.Error("places", "have padding that is not zero");
  }
  return absl::OkStatus();
}

size_t PlaceReader::Next(std::span<uint32_t> chunk, const int64_t* soon) {
  if (kind_ == kRice) return NextRice(chunk, soon);
  size_t filled = 0;
  for (; filled < chunk.size() && left_ > 0; ++filled) {
    uint64_t place = 0;
    if (!NextPlace(place)) return 0;
    if (soon != nullptr) Prefetch(soon, place);
    chunk[filled] = static_cast<uint32_t>(place);
    --left_;
  }
  return filled;
}

size_t PlaceReader::NextRice(std::span<uint32_t> chunk, const int64_t* soon) {
  const size_t count = std::min<uint64_t>(chunk.size(), left_);
  RiceCursor cursor{.bits = at_,
                    .low_bits = low_at_,
                    .behind_one = last_one_,
                    .place = static_cast<uint64_t>(previous_ + 1)};
  const char* const bits = bits_.data();
  const size_t bytes = bits_.size();
  size_t found = ReadRice(bits, bytes, parameter_, chunk.data(), count, soon, cursor);
  const uint64_t low_mask = (uint64_t{1} << parameter_) - 1;
  for (; found < count; ++found) {
    if (!FindOne(bits, bytes, cursor.bits)) return 0;
    cursor.place += (cursor.bits - cursor.behind_one) << parameter_;
    cursor.place += Load(bits, bytes, cursor.low_bits) & low_mask;
    cursor.low_bits += static_cast<uint64_t>(parameter_);
    cursor.behind_one = ++cursor.bits;
    chunk[found] = static_cast<uint32_t>(cursor.place++);
  }
  // So few zeros that no place was too large for its number.
  const uint64_t zeros = cursor.behind_one - last_one_ - count;
  if (zeros > n_ >> parameter_ || cursor.place > n_) return 0;
  at_ = cursor.behind_one;
  low_at_ = cursor.low_bits;
  last_one_ = cursor.behind_one;
  previous_ = static_cast<int64_t>(cursor.place) - 1;
  left_ -= count;
  return count;
}

bool PlaceReader::NextPlace(uint64_t& place) {
  const uint64_t end = bits_.size() * 8;
  if (kind_ == kFixed) {
    if (at_ + static_cast<uint64_t>(parameter_) > end) return false;
    place = Load(bits_.data(), bits_.size(), at_) & ((uint64_t{1} << parameter_) - 1);
    at_ += static_cast<uint64_t>(parameter_);
    if (static_cast<int64_t>(place) <= previous_) return false;
  } else {
    if (!FindOne(bits_.data(), bits_.size(), at_)) return false;
    place = at_++;
  }
  if (place >= n_) return false;
  previous_ = static_cast<int64_t>(place);
  return true;
}

}  // namespace muster
