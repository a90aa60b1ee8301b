#include "compression/sign_votes.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "compression/sign.h"
#include "core/kernel.h"

namespace muster {
namespace {

constexpr size_t kBlock = 512;  // words that are carried through all planes at a time

// plane += bits; the bits that carry over are left in `bits`. Whether there are any.
MUSTER_KERNEL bool HalfAdd(uint64_t* __restrict plane, uint64_t* __restrict bits, size_t n) {
  uint64_t any = 0;
  for (size_t i = 0; i < n; ++i) {
    const uint64_t carry = plane[i] & bits[i];
    plane[i] ^= bits[i];
    bits[i] = carry;
    any |= carry;
  }
  return any != 0;
}

}  // namespace

void SignVotes::Carry(size_t begin, std::span<uint64_t> bits) {
  for (size_t plane = 0;; ++plane) {
    if (plane == planes_.size()) planes_.emplace_back(words());
    if (!HalfAdd(planes_[plane].data() + begin, bits.data(), bits.size())) return;
  }
}

absl::StatusOr<bool> SignVotes::Add(const Payload& payload, const Layout& layout) {
  if (layout.size != size_) return InvalidInput("the votes are of a model of another size");
  // One pass to look, so that a payload that is refused or must be decoded leaves no trace.
  bool countable = true;
  MUSTER_ASSIGN_OR_RETURN(
      const bool signs,
      VisitSigns(payload, layout, [&](int64_t offset, std::span<const uint8_t> /*bits*/, float scale) {
        countable = countable && scale > 0 && offset % 64 == 0;
      }));
  if (!signs || !countable) return false;
  std::array<uint64_t, kBlock> block;
  const auto count = [&](int64_t offset, std::span<const uint8_t> bits, float /*scale*/) {
    auto word = static_cast<size_t>(offset / 64);
    while (!bits.empty()) {
      const size_t bytes = std::min(bits.size(), sizeof block);
      const size_t filled = (bytes + 7) / 8;
      block[filled - 1] = 0;
      std::memcpy(block.data(), bits.data(), bytes);
      Carry(word, std::span(block).first(filled));
      word += filled;
      bits = bits.subspan(bytes);
    }
  };
  MUSTER_RETURN_IF_ERROR(VisitSigns(payload, layout, count).status());
  ++voters_;
  return true;
}

void SignVotes::AddTo(std::span<int32_t> sums) const {
  for (size_t i = 0; i < sums.size(); ++i) {
    int64_t negative = 0;
    for (size_t plane = 0; plane < planes_.size(); ++plane) {
      negative |= static_cast<int64_t>(planes_[plane][i / 64] >> i % 64 & 1) << plane;
    }
    sums[i] += static_cast<int32_t>(voters_ - 2 * negative);
  }
}

}  // namespace muster
