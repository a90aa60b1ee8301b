#include "compression/places.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "compression/bits.h"

namespace muster {
namespace {

enum Kind { kFixed = 0, kBitmap = 2, kRice = 3 };
constexpr int kKindShift = 6;
constexpr int kParameterMask = (1 << kKindShift) - 1;
constexpr int kLargestParameter = 32;
constexpr int kWindow = 57;  // bits that eight bytes from any bit on hold at least
constexpr uint64_t kWindowMask = (uint64_t{1} << kWindow) - 1;

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

PlaceReader::PlaceReader(std::string_view bits, uint8_t coding, uint64_t count, uint64_t n)
    : bits_(bits), kind_(coding >> kKindShift), parameter_(coding & kParameterMask), left_(count), n_(n) {
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
  PlaceReader start(bits, coding, count, size);
  if (start.at_ > bytes * 8) return wire.Error("places", "are cut off");
  PlaceReader reader = start;
  const bool few = count <= size / 4;
  std::vector<uint32_t> places(few ? count : std::min<uint64_t>(count, 1024));
  while (reader.left_ > 0) {
    if (reader.Next(places) == 0) return wire.Error("places", "are cut off, out of range or not increasing");
  }
  uint64_t place = 0;
  if (kind == kBitmap && reader.NextPlace(place)) return wire.Error("places", "are more than their count");
  const uint64_t used = kind == kBitmap ? size : reader.at_;
  if (bytes != (used + 7) / 8) return wire.Error("places", "have trailing bytes");
  if (!PaddingIsZero(reinterpret_cast<const uint8_t*>(bits.data()), used, 1)) {
    return wire.Error("places", "have padding that is not zero");
  }
  if (few) start.held_ = std::make_shared<const std::vector<uint32_t>>(std::move(places));
  return start;
}

size_t PlaceReader::Next(std::span<uint32_t> chunk) {
  size_t filled = 0;
  if (held_ != nullptr) {
    filled = std::min<uint64_t>(chunk.size(), left_);
    std::copy_n(held_->end() - static_cast<ptrdiff_t>(left_), filled, chunk.begin());
    left_ -= filled;
    return filled;
  }
  if (kind_ == kRice) return NextRice(chunk);
  for (; filled < chunk.size() && left_ > 0; ++filled, --left_) {
    uint64_t place = 0;
    if (!NextPlace(place)) return 0;
    chunk[filled] = static_cast<uint32_t>(place);
  }
  return filled;
}

inline uint64_t PlaceReader::Load(uint64_t bit) const {
  const uint64_t byte = bit / 8;
  uint64_t word = 0;
  if (byte + 8 <= bits_.size()) {
    std::memcpy(&word, bits_.data() + byte, 8);
  } else if (byte < bits_.size()) {
    std::memcpy(&word, bits_.data() + byte, bits_.size() - byte);
  }
  return word >> bit % 8;
}

// The low bits of the gaps, then the ones that end their runs of zeros: finding a one does not wait for the
// place before it, so that processors work on several at a time.
size_t PlaceReader::NextRice(std::span<uint32_t> chunk) {
  const size_t count = std::min<uint64_t>(chunk.size(), left_);
  const uint64_t low_mask = (uint64_t{1} << parameter_) - 1, most_zeros = n_ >> parameter_;
  uint64_t low_at = low_at_, before = last_one_;         // the bit behind the last one
  uint64_t next = static_cast<uint64_t>(previous_ + 1);  // the least that the next place can be
  bool valid = true;
  size_t filled = 0;
  while (filled < count && at_ < bits_.size() * 8) {
    uint64_t ones = Load(at_);
    while (ones != 0 && filled < count) {
      const uint64_t one = at_ + static_cast<uint64_t>(std::countr_zero(ones)), zeros = one - before;
      ones &= ones - 1;
      before = one + 1;
      next += (zeros << parameter_) + (Load(low_at) & low_mask);
      low_at += static_cast<uint64_t>(parameter_);
      valid &= zeros <= most_zeros;
      chunk[filled++] = static_cast<uint32_t>(next++);
    }
    at_ = filled == count ? before : (at_ / 8 + 8) * 8;
  }
  // None of `count` steps was so long that their sum could have wrapped around.
  if (filled < count || !valid || next > n_) return 0;
  low_at_ = low_at;
  last_one_ = before;
  previous_ = static_cast<int64_t>(next) - 1;
  left_ -= filled;
  return filled;
}

bool PlaceReader::NextPlace(uint64_t& place) {
  const uint64_t end = bits_.size() * 8;
  if (kind_ == kFixed) {
    if (at_ + static_cast<uint64_t>(parameter_) > end) return false;
    place = Load(at_) & ((uint64_t{1} << parameter_) - 1);
    at_ += static_cast<uint64_t>(parameter_);
    if (static_cast<int64_t>(place) <= previous_) return false;
  } else {
    // The next one bit.
    uint64_t window = Load(at_) & kWindowMask;
    while (window == 0) {
      at_ += kWindow;
      if (at_ >= end) return false;
      window = Load(at_) & kWindowMask;
    }
    at_ += static_cast<uint64_t>(std::countr_zero(window));
    place = at_++;
  }
  if (place >= n_) return false;
  previous_ = static_cast<int64_t>(place);
  return true;
}

}  // namespace muster
