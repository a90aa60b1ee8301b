#include "compression/compressor.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "compression/codec_table.h"
#include "core/magnitude.h"

namespace muster {

absl::StatusOr<Payload> Compressor::CompressOnDevice(const DeviceVector& x, const Layout& layout,
                                                     const RandomKey& key) const {
  std::vector<float> copy(static_cast<size_t>(x.size()));
  MUSTER_RETURN_IF_ERROR(x.Copy(copy));
  return Compress(copy, layout, key);
}

absl::Status Compressor::Fold(std::string_view data, double weight, const Layout& layout,
                              ExactSum& sum) const {
  std::vector<float> decoded(static_cast<size_t>(layout.size));
  MUSTER_RETURN_IF_ERROR(Decode(data, layout, decoded));
  return sum.Add(decoded, weight);
}

namespace {

// A dense payload in a file, folded piece by piece: its pages leave memory behind the reader. The same bits
// as in one go.
absl::Status FoldMapped(const Payload& payload, std::string_view data, double weight, ExactSum& sum) {
  constexpr size_t kPiece = size_t{1} << 20;  // elements
  const std::span<const float> x(reinterpret_cast<const float*>(data.data()), data.size() / sizeof(float));
  const auto release = [&](size_t elements) {
    payload.mapped->Release(payload.begin + kPayloadHeaderBytes + elements * sizeof(float));
  };
  float largest = 0;
  for (size_t first = 0; first < x.size(); first += kPiece) {
    const std::span<const float> piece = x.subspan(first, std::min(kPiece, x.size() - first));
    const float magnitude = LargestMagnitude(piece);
    if (!std::isfinite(magnitude)) return CheckFinite(piece, static_cast<int64_t>(first));
    largest = std::max(largest, magnitude);
    release(first + piece.size());
  }
  MUSTER_ASSIGN_OR_RETURN(const ExactSum::Term term, sum.StartTerm(weight, largest));
  for (size_t first = 0; first < x.size(); first += kPiece) {
    const std::span<const float> piece = x.subspan(first, std::min(kPiece, x.size() - first));
    term.Add(static_cast<int64_t>(first), piece);
    release(first + piece.size());
  }
  return absl::OkStatus();
}

absl::Status FoldOnDevice(const DeviceVector& x, double weight, ExactSum& sum) {
  MUSTER_ASSIGN_OR_RETURN(const std::vector<float> largest, x.LargestMagnitudes(x.size()));
  if (!(largest.front() <= ExactSum::kLargest)) {  // the host's message names the element
    std::vector<float> copy(static_cast<size_t>(x.size()));
    MUSTER_RETURN_IF_ERROR(x.Copy(copy));
    return sum.Add(copy, weight);
  }
  return sum.AddOnDevice(weight, largest.front(), [&x](double scale, std::unique_ptr<DeviceSum>& on_device) {
    return x.AddTo(scale, on_device);
  });
}

absl::Status CheckOnDevice(const Payload& payload, const PayloadView& view, const Layout& layout) {
  if (view.codec == kIdentityCodec && payload.on_device->size() == layout.size) return absl::OkStatus();
  return InvalidInput("a payload on a device is not the vector that its header says");
}

}  // namespace

absl::Status FetchPayload(Payload& payload) {
  if (payload.on_device == nullptr) return absl::OkStatus();
  std::string bytes(static_cast<size_t>(payload.size()), '\0');
  std::copy_n(payload.bytes.begin(), kPayloadHeaderBytes, bytes.begin());
  MUSTER_RETURN_IF_ERROR(payload.on_device->Copy({reinterpret_cast<float*>(&bytes[kPayloadHeaderBytes]),
                                                  static_cast<size_t>(payload.on_device->size())}));
  payload = {.bytes = std::move(bytes)};
  return absl::OkStatus();
}

absl::Status FoldPayload(const Payload& payload, double weight, const Layout& layout, ExactSum& sum) {
  MUSTER_ASSIGN_OR_RETURN(const PayloadView view, ParsePayload(payload, layout));
  MUSTER_ASSIGN_OR_RETURN(const Compressor* compressor, FindCodec(view.codec));
  if (sum.size() != layout.size) {
    return InvalidInput(absl::StrCat("update has ", layout.size, " elements, the sum has ", sum.size()));
  }
  if (payload.on_device != nullptr) {
    MUSTER_RETURN_IF_ERROR(CheckOnDevice(payload, view, layout));
    return FoldOnDevice(*payload.on_device, weight, sum);
  }
  const bool dense = view.codec == kIdentityCodec &&
                     view.data.size() == static_cast<size_t>(layout.size) * sizeof(float) &&
                     reinterpret_cast<uintptr_t>(view.data.data()) % alignof(float) == 0;
  if (payload.mapped && dense) return FoldMapped(payload, view.data, weight, sum);
  return compressor->Fold(view.data, weight, layout, sum);
}

absl::StatusOr<std::vector<float>> DecodePayload(const Payload& payload, const Layout& layout) {
  MUSTER_ASSIGN_OR_RETURN(const PayloadView view, ParsePayload(payload, layout));
  MUSTER_ASSIGN_OR_RETURN(const Compressor* compressor, FindCodec(view.codec));
  std::vector<float> out(static_cast<size_t>(layout.size));
  if (payload.on_device != nullptr) {
    MUSTER_RETURN_IF_ERROR(CheckOnDevice(payload, view, layout));
    MUSTER_RETURN_IF_ERROR(payload.on_device->Copy(out));
  } else {
    MUSTER_RETURN_IF_ERROR(compressor->Decode(view.data, layout, out));
  }
  MUSTER_RETURN_IF_ERROR(CheckFinite(out));
  return out;
}

absl::Status CheckFinite(std::span<const float> x, int64_t first) {
  if (std::isfinite(LargestMagnitude(x))) return absl::OkStatus();
  for (size_t i = 0; i < x.size(); ++i) {
    if (!std::isfinite(x[i])) {
      return InvalidInput(absl::StrCat("element ", first + static_cast<int64_t>(i), " of the update is ",
                                       x[i], ", not a finite number"));
    }
  }
  return InternalError("an element that is not finite went unfound");
}

absl::Status CheckUpdate(std::span<const float> x, const Layout& layout) {
  if (static_cast<int64_t>(x.size()) != layout.size) {
    return InvalidInput(absl::StrCat("update has ", x.size(), " elements, the model has ", layout.size));
  }
  return CheckFinite(x);
}

}  // namespace muster
