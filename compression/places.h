// Which elements a sparse payload holds: increasing places below n, coded in whichever of three ways is
// smallest.
#ifndef MUSTER_COMPRESSION_PLACES_H_
#define MUSTER_COMPRESSION_PLACES_H_

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "compression/wire.h"
#include "core/status.h"

namespace muster {

// On the wire: u8 coding, varint bytes, then that many bytes of bits, lowest bit of a byte first, padded by
// zeros.
//   0         every place in as many bits as n - 1 needs
//   128       a bitmap: bit i says that place i is held
//   192 + b   Golomb-Rice: with g = place - previous place - 1 (the first: g = place), the b low bits of
//             every g; then, for every g, g >> b zeros and a one
void AppendPlaces(std::span<const uint32_t> places, int64_t n, std::string& out);

// Reads them in chunks, so that they are never held as a whole. Copying one keeps its place.
class PlaceReader {
 public:
  // For `count` places below n <= 2^32, of which `wire` is on the coding. INVALID_ARGUMENT where they cannot
  // be that.
  static absl::StatusOr<PlaceReader> Create(WireReader& wire, uint64_t count, int64_t n);

  // Fills the front of `chunk`, which must not be empty, with the next places, increasing and below n; how
  // many: 0 at the end, and where they are malformed. Finish tells which. `soon`: n words of which those at
  // the places are wanted next; their memory is asked for on the way.
  size_t Next(std::span<uint32_t> chunk, const int64_t* soon = nullptr);
  // After Next was 0: INVALID_ARGUMENT unless it gave `count` places and nothing is left over.
  absl::Status Finish() const;

 private:
  PlaceReader(const WireReader& wire, std::string_view bits, uint8_t coding, uint64_t count, uint64_t n);

  size_t NextRice(std::span<uint32_t> chunk, const int64_t* soon);
  // The place, of another coding, that starts at bit at_ and is below n; false if there is none.
  bool NextPlace(uint64_t& place);

  WireReader wire_;  // for its errors
  std::string_view bits_;
  int kind_ = 0;
  int parameter_ = 0;
  uint64_t left_ = 0;
  uint64_t n_ = 0;
  uint64_t at_ = 0;        // the next bit
  uint64_t low_at_ = 0;    // kRice: of the next low bits,
  uint64_t last_one_ = 0;  // and behind the last one
  int64_t previous_ = -1;  // place
};

}  // namespace muster

#endif  // MUSTER_COMPRESSION_PLACES_H_
