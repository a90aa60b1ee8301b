// The bits of sign payloads, for those who count them as they are. Internal to the compression room.
#ifndef MUSTER_COMPRESSION_SIGN_H_
#define MUSTER_COMPRESSION_SIGN_H_

#include <cstdint>
#include <span>

#include "absl/functional/function_ref.h"
#include "compression/payload.h"
#include "core/status.h"

namespace muster {

// If the payload is of the codec `sign`, calls visit(offset of its first element, sign bits from the lowest
// on, scale) for every bucket and returns true. INVALID_ARGUMENT, before the first call, for one that is
// malformed.
absl::StatusOr<bool> VisitSigns(const Payload& payload, const Layout& layout,
                                absl::FunctionRef<void(int64_t, std::span<const uint8_t>, float)> visit);

}  // namespace muster

#endif  // MUSTER_COMPRESSION_SIGN_H_
