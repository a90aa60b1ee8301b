// Decoders by codec id. Internal to the compression room.
#ifndef MUSTER_COMPRESSION_CODEC_TABLE_H_
#define MUSTER_COMPRESSION_CODEC_TABLE_H_

#include "compression/compressor.h"

namespace muster {

// The compressor that decodes payloads of this form. INVALID_ARGUMENT for an unknown one.
absl::StatusOr<const Compressor*> FindCodec(uint8_t codec);

}  // namespace muster

#endif  // MUSTER_COMPRESSION_CODEC_TABLE_H_
