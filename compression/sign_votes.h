// Sums of signs formed on the bits as they came over the wire: no update is decoded.
#ifndef MUSTER_COMPRESSION_SIGN_VOTES_H_
#define MUSTER_COMPRESSION_SIGN_VOTES_H_

#include <cstdint>
#include <span>
#include <vector>

#include "compression/payload.h"
#include "core/status.h"

namespace muster {

// For every element, how many of the payloads added so far have a negative sign there. The counters are
// bit-sliced: plane p holds bit p of all of them, 64 to a word, and a payload's bits are added by carries.
// Memory: log2(payloads + 1) bits an element. Not thread-safe; adding commutes exactly.
class SignVotes {
 public:
  explicit SignVotes(int64_t size) : size_(size) {}

  // Whether the payload was counted. Not if it is of another form than signs, or of signs of which some stand
  // for 0, or whose buckets do not begin at multiples of 64 elements: these must be decoded.
  // INVALID_ARGUMENT, with *this unchanged, for a payload that is malformed.
  absl::StatusOr<bool> Add(const Payload& payload, const Layout& layout);
  // sums[i] += the sum of the counted payloads' signs at i.
  void AddTo(std::span<int32_t> sums) const;
  int64_t voters() const { return voters_; }

 private:
  using Plane = std::vector<uint64_t>;
  size_t words() const { return static_cast<size_t>((size_ + 63) / 64); }
  // Counts the words of `bits` from the word `begin` on. Uses up `bits`.
  void Carry(size_t begin, std::span<uint64_t> bits);

  int64_t size_;
  int64_t voters_ = 0;
  std::vector<Plane> planes_;
};

}  // namespace muster

#endif  // MUSTER_COMPRESSION_SIGN_VOTES_H_
