#include "compression/payload.h"

#include <algorithm>
#include <cstring>
#include <limits>

#include "absl/strings/str_cat.h"
#include "compression/device_vector.h"

namespace muster {
namespace {

constexpr uint16_t kMagic = 0x554D;
constexpr uint8_t kVersion = 1;

template <typename T>
T Read(std::string_view bytes, size_t at) {
  T value;
  std::memcpy(&value, bytes.data() + at, sizeof value);
  return value;
}

}  // namespace

int64_t Payload::size() const {
  const auto here = static_cast<int64_t>(view().size());
  return on_device != nullptr ? here + on_device->size() * static_cast<int64_t>(sizeof(float)) : here;
}

std::string PayloadHeader(uint8_t codec, const Layout& layout) {
  std::string header(kPayloadHeaderBytes, '\0');
  const auto put = [&header](size_t at, const auto value) {
    std::memcpy(header.data() + at, &value, sizeof value);
  };
  put(0, kMagic);
  put(2, kVersion);
  put(3, codec);
  put(8, layout.fingerprint);
  put(16, static_cast<uint64_t>(layout.size));
  return header;
}

int64_t ModelBytes(const Layout& layout) {
  return static_cast<int64_t>(kPayloadHeaderBytes) + layout.size * static_cast<int64_t>(sizeof(float));
}

Layout ExtraLayout(const std::string& name, int64_t size) {
  Layout layout;
  layout.Add(name, {size}, true);
  return layout;
}

int64_t ClaimedElements(const Payload& payload) {
  const std::string_view bytes = payload.view();
  if (bytes.size() < kPayloadHeaderBytes) return -1;
  return static_cast<int64_t>(
      std::min<uint64_t>(Read<uint64_t>(bytes, 16), std::numeric_limits<int64_t>::max()));
}

absl::StatusOr<PayloadView> ParsePayload(const Payload& payload, const Layout& layout) {
  const std::string_view bytes = payload.view();
  if (bytes.size() < kPayloadHeaderBytes) {
    return InvalidInput(absl::StrCat("payload of ", bytes.size(), " bytes is shorter than its header"));
  }
  if (Read<uint16_t>(bytes, 0) != kMagic) return InvalidInput("payload does not start with its magic");
  if (const uint8_t version = Read<uint8_t>(bytes, 2); version != kVersion) {
    return InvalidInput(
        absl::StrCat("payload has version ", int{version}, ", this program reads ", int{kVersion}));
  }
  if (Read<uint32_t>(bytes, 4) != 0) return InvalidInput("payload's reserved bytes are not zero");
  if (Read<uint64_t>(bytes, 8) != layout.fingerprint) {
    return InvalidInput("payload is of another model (layout fingerprints differ)");
  }
  if (const uint64_t count = Read<uint64_t>(bytes, 16); count != static_cast<uint64_t>(layout.size)) {
    return InvalidInput(absl::StrCat("payload has ", count, " elements, the model has ", layout.size));
  }
  return PayloadView{Read<uint8_t>(bytes, 3), bytes.substr(kPayloadHeaderBytes)};
}

}  // namespace muster
