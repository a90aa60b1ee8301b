// Forms of payloads by codec id.
#ifndef MUSTER_COMPRESSION_CODEC_TABLE_H_
#define MUSTER_COMPRESSION_CODEC_TABLE_H_

#include <string>

#include "compression/compressor.h"

namespace muster {

// The compressor that decodes payloads of this form. INVALID_ARGUMENT for an unknown one.
absl::StatusOr<const Compressor*> FindCodec(uint8_t codec);

// The name of the payload's form: that of the compressor, the first by name where several share a form;
// "other" for an unknown one. One of a closed set of words whatever a peer sent.
std::string CodecName(const Payload& payload);

}  // namespace muster

#endif  // MUSTER_COMPRESSION_CODEC_TABLE_H_
