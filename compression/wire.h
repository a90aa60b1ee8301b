// Reading and writing the little-endian fields of payloads. A reader never goes past its bytes.
#ifndef MUSTER_COMPRESSION_WIRE_H_
#define MUSTER_COMPRESSION_WIRE_H_

#include <bit>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <type_traits>

#include "absl/strings/str_cat.h"
#include "core/status.h"

namespace muster {

static_assert(std::endian::native == std::endian::little, "payload fields are copied as they are in memory");

// Appends the bytes of a number.
template <typename T>
void AppendNumber(T value, std::string& out) {
  static_assert(std::is_arithmetic_v<T>);
  out.append(reinterpret_cast<const char*>(&value), sizeof value);
}

// Appends LEB128: seven bits a byte, lowest first, the top bit says that more follow.
inline void AppendVarint(uint64_t value, std::string& out) {
  for (; value >= 0x80; value >>= 7) out.push_back(static_cast<char>(value | 0x80));
  out.push_back(static_cast<char>(value));
}

// Takes fields off the front of untrusted bytes. `form` names the payload in messages.
class WireReader {
 public:
  WireReader(std::string_view form, std::string_view bytes) : form_(form), bytes_(bytes) {}

  template <typename T>
  absl::StatusOr<T> Number(std::string_view field) {
    MUSTER_ASSIGN_OR_RETURN(const std::string_view taken, Take(field, sizeof(T)));
    T value;
    std::memcpy(&value, taken.data(), sizeof value);
    return value;
  }
  absl::StatusOr<uint64_t> Varint(std::string_view field) {
    uint64_t value = 0;
    for (int shift = 0; shift < 63; shift += 7) {
      MUSTER_ASSIGN_OR_RETURN(const uint8_t byte, Number<uint8_t>(field));
      value |= static_cast<uint64_t>(byte & 0x7f) << shift;
      if (byte < 0x80) {
        // One number has one encoding.
        if (byte == 0 && shift > 0) return Error(field, "is not in its shortest form");
        return value;
      }
    }
    return Error(field, "is too large");
  }
  absl::StatusOr<std::string_view> Take(std::string_view field, uint64_t count) {
    if (count > bytes_.size()) {
      return Error(field, absl::StrCat("is cut off: needs ", count, " bytes, has ", bytes_.size()));
    }
    const std::string_view taken = bytes_.substr(0, count);
    bytes_.remove_prefix(count);
    return taken;
  }
  std::string_view Rest() {
    const std::string_view rest = bytes_;
    bytes_ = {};
    return rest;
  }
  absl::Status Error(std::string_view field, std::string_view what) const {
    std::string message(form_);
    message.append(" payload: ").append(field).append(" ").append(what);
    return InvalidInput(message);
  }

 private:
  std::string_view form_;
  std::string_view bytes_;
};

}  // namespace muster

#endif  // MUSTER_COMPRESSION_WIRE_H_
