// Chunks of a transfer, byte for byte what the messages of federation.proto serialise to, but without a copy
// through protobuf: outgoing data are slices of memory that is shared, incoming data are views into what gRPC
// received.
#ifndef MUSTER_CORE_TRANSPORT_CHUNK_H_
#define MUSTER_CORE_TRANSPORT_CHUNK_H_

#include <grpcpp/support/byte_buffer.h>

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "core/status.h"

namespace muster {

// What either side puts at most into one chunk, and takes. Below it a transfer is slower, above it no faster;
// a slow link still shows progress at this grain.
inline constexpr size_t kMaxChunkBytes = size_t{256} << 10;
// Models and updates up to this size go within the session. Heartbeats wait behind them: at three heartbeats
// of 5 s a link of 35 kbit/s still carries one before the session counts as silent.
inline constexpr size_t kMaxInlineBytes = size_t{64} << 10;

// CRC-32C (Castagnoli) of `bytes`, going on from `crc`: Crc32c(b, Crc32c(a)) is that of a and b joined.
uint32_t Crc32c(std::string_view bytes, uint32_t crc = 0);

// Bytes that live as long as their owner.
struct SharedBytes {
  std::string_view bytes;
  std::shared_ptr<const void> owner;
};

// The serialised `Chunk` whose data are `pieces`, one behind the other; at most kMaxChunkBytes in all. The
// pieces are referenced, not copied: their owners live until gRPC has sent them.
grpc::ByteBuffer EncodeChunk(std::span<const SharedBytes> pieces);
// The serialised `UploadMessage` with that chunk.
grpc::ByteBuffer EncodeUploadChunk(std::span<const SharedBytes> pieces);

// A chunk as it was received, its checksum verified.
struct ReceivedChunk {
  std::vector<grpc::Slice> slices;       // keep `pieces` alive
  std::vector<std::string_view> pieces;  // the data, in order
  size_t size = 0;                       // of all pieces
};

// INVALID_ARGUMENT for what is no such message, or carries no data or more than kMaxChunkBytes; DATA_LOSS
// where the checksum differs. The bytes are a peer's: nothing in them is trusted.
absl::StatusOr<ReceivedChunk> DecodeChunk(const grpc::ByteBuffer& message);

// The two kinds of `UploadMessage`; a header comes as its serialised bytes. Errors as DecodeChunk.
using ReceivedUploadMessage = std::variant<std::string, ReceivedChunk>;
absl::StatusOr<ReceivedUploadMessage> DecodeUploadMessage(const grpc::ByteBuffer& message);

}  // namespace muster

#endif  // MUSTER_CORE_TRANSPORT_CHUNK_H_
