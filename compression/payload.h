// An encoded vector on its way between client and server: what is counted, stored, sent and refused.
#ifndef MUSTER_COMPRESSION_PAYLOAD_H_
#define MUSTER_COMPRESSION_PAYLOAD_H_

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "core/file.h"
#include "core/parameters.h"
#include "core/status.h"

namespace muster {

class DeviceVector;

// Self-describing bytes. Layout, little-endian:
//   0  u16  magic 0x554D ("MU")      2  u8  version (1)     3  u8  codec id
//   4  u32  reserved, 0              8  u64 layout fingerprint
//   16 u64  element count            24 ... the codec's own data
struct Payload {
  std::string bytes;
  // Instead of `bytes`: a spooled upload, read where it lies. `begin` and `length` are its place in the file.
  std::shared_ptr<const MappedFile> mapped = nullptr;
  size_t begin = 0;
  size_t length = 0;
  // Instead of what follows the header: a whole vector, as `identity` sends it, that lies on a device.
  // FetchPayload brings it; whoever decodes or folds the payload need not.
  std::shared_ptr<const DeviceVector> on_device = nullptr;

  // Of one on a device the header alone.
  std::string_view view() const {
    return mapped ? mapped->bytes().substr(begin, length) : std::string_view(bytes);
  }
  // Of all of it, wherever it lies.
  int64_t size() const;
};

inline constexpr size_t kPayloadHeaderBytes = 24;

inline constexpr uint8_t kIdentityCodec = 1;  // values as they are

// Bytes of the whole model as a payload without compression.
int64_t ModelBytes(const Layout& layout);
// The layout under which a vector that travels beside an update is encoded: one entry, `name`, of `size`
// elements.
Layout ExtraLayout(const std::string& name, int64_t size);
// The element count that a payload claims, for vectors whose size only the sender knows; -1 where there is no
// header.
int64_t ClaimedElements(const Payload& payload);

// The 24 header bytes.
std::string PayloadHeader(uint8_t codec, const Layout& layout);

struct PayloadView {
  uint8_t codec = 0;
  std::string_view data;  // the codec's own part; points into the payload
};
// Checks the header against the layout. INVALID_ARGUMENT names what differs: too short, magic, version,
// layout fingerprint, element count.
absl::StatusOr<PayloadView> ParsePayload(const Payload& payload, const Layout& layout);

}  // namespace muster

#endif  // MUSTER_COMPRESSION_PAYLOAD_H_
