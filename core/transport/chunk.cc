#include "core/transport/chunk.h"

#include <isa-l/crc.h>

#include <algorithm>
#include <cstring>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"

namespace muster {
namespace {

// Protobuf's wire types that these messages use or may meet in fields they do not know.
enum WireType : uint32_t { kVarint = 0, kFixed64 = 1, kLengthDelimited = 2, kFixed32 = 5 };

constexpr uint32_t Tag(uint32_t field, WireType type) { return field << 3 | type; }
constexpr uint32_t kChunkData = Tag(1, kLengthDelimited);
constexpr uint32_t kChunkCrc = Tag(2, kFixed32);
constexpr uint32_t kUploadHeader = Tag(1, kLengthDelimited);
constexpr uint32_t kUploadChunk = Tag(2, kLengthDelimited);

void AppendVarint(uint64_t value, std::string& out) {
  for (; value >= 0x80; value >>= 7) out += static_cast<char>(value | 0x80);
  out += static_cast<char>(value);
}
size_t VarintSize(uint64_t value) {
  size_t size = 1;
  for (; value >= 0x80; value >>= 7) ++size;
  return size;
}

absl::Status Malformed(std::string_view what) {
  return InvalidInput(absl::StrCat("malformed message: ", absl::string_view(what.data(), what.size())));
}

// Reads a message that lies in several slices.
class WireReader {
 public:
  explicit WireReader(const std::vector<grpc::Slice>& slices) : slices_(slices) {
    for (const grpc::Slice& slice : slices) left_ += slice.size();
  }

  size_t left() const { return left_; }

  absl::StatusOr<uint64_t> Varint() {
    uint64_t value = 0;
    for (int shift = 0; shift < 64; shift += 7) {
      char byte;
      if (!Copy(&byte, 1)) return Malformed("a number is cut off");
      value |= static_cast<uint64_t>(byte & 0x7F) << shift;
      if ((byte & 0x80) == 0) return value;
    }
    return Malformed("a number is too long");
  }
  // Tags fit 32 bits; field 0 does not exist.
  absl::StatusOr<uint32_t> ReadTag() {
    MUSTER_ASSIGN_OR_RETURN(const uint64_t tag, Varint());
    if (tag > UINT32_MAX || tag >> 3 == 0) return Malformed("a field has no valid number");
    return static_cast<uint32_t>(tag);
  }
  absl::StatusOr<uint32_t> Fixed32() {
    char bytes[4];
    if (!Copy(bytes, sizeof bytes)) return Malformed("a checksum is cut off");
    uint32_t value;
    std::memcpy(&value, bytes, sizeof value);
    return value;
  }
  absl::StatusOr<size_t> Length() {
    MUSTER_ASSIGN_OR_RETURN(const uint64_t length, Varint());
    if (length > left_) return Malformed("a field is longer than the message");
    return static_cast<size_t>(length);
  }
  // Appends the next `size` <= left() bytes to `pieces`, as views.
  void Take(size_t size, std::vector<std::string_view>& pieces) {
    left_ -= size;
    while (size > 0) {
      const std::string_view rest = Rest();
      const size_t part = std::min(size, rest.size());
      if (part > 0) pieces.push_back(rest.substr(0, part));
      Advance(part);
      size -= part;
    }
  }
  absl::Status Skip(uint32_t tag) {
    size_t size = 0;
    switch (tag & 7) {
      case kVarint:
        return Varint().status();
      case kFixed64:
        size = 8;
        break;
      case kFixed32:
        size = 4;
        break;
      case kLengthDelimited: {
        MUSTER_ASSIGN_OR_RETURN(size, Length());
        break;
      }
      default:
        return Malformed("a field has no valid type");
    }
    if (size > left_) return Malformed("a field is cut off");
    std::vector<std::string_view> ignored;
    Take(size, ignored);
    return absl::OkStatus();
  }

 private:
  std::string_view Rest() const {
    const grpc::Slice& slice = slices_[slice_];
    return std::string_view(reinterpret_cast<const char*>(slice.begin()), slice.size()).substr(at_);
  }
  void Advance(size_t size) {
    at_ += size;
    while (slice_ < slices_.size() && at_ == slices_[slice_].size()) {
      ++slice_;
      at_ = 0;
    }
  }
  bool Copy(char* to, size_t size) {
    if (size > left_) return false;
    left_ -= size;
    while (size > 0) {
      const std::string_view rest = Rest();
      const size_t part = std::min(size, rest.size());
      std::memcpy(to, rest.data(), part);
      Advance(part);
      to += part;
      size -= part;
    }
    return true;
  }

  const std::vector<grpc::Slice>& slices_;
  size_t slice_ = 0, at_ = 0;  // of the next byte
  size_t left_ = 0;
};

absl::StatusOr<std::vector<grpc::Slice>> Slices(const grpc::ByteBuffer& message) {
  std::vector<grpc::Slice> slices;
  if (!message.Valid() || !message.Dump(&slices).ok()) return Malformed("it cannot be read");
  return slices;
}

// Reads the `length` bytes of a Chunk.
absl::Status ReadChunk(WireReader& reader, size_t length, ReceivedChunk& chunk) {
  const size_t end = reader.left() - length;
  uint32_t expected = 0;
  while (reader.left() > end) {
    MUSTER_ASSIGN_OR_RETURN(const uint32_t tag, reader.ReadTag());
    if (tag == kChunkData) {
      MUSTER_ASSIGN_OR_RETURN(const size_t size, reader.Length());
      if (size > kMaxChunkBytes) {
        return InvalidInput(
            absl::StrCat("a chunk of ", size, " bytes; at most ", kMaxChunkBytes, " are taken"));
      }
      chunk.pieces.clear();  // the last one counts, as in protobuf
      chunk.size = size;
      reader.Take(size, chunk.pieces);
    } else if (tag == kChunkCrc) {
      MUSTER_ASSIGN_OR_RETURN(expected, reader.Fixed32());
    } else {
      MUSTER_RETURN_IF_ERROR(reader.Skip(tag));
    }
  }
  if (reader.left() != end) return Malformed("a field reaches beyond its chunk");
  if (chunk.size == 0) return InvalidInput("a chunk without data");
  uint32_t crc = 0;
  for (const std::string_view piece : chunk.pieces) crc = Crc32c(piece, crc);
  if (crc != expected) return absl::DataLossError("a chunk's checksum differs: it was damaged on its way");
  return absl::OkStatus();
}

grpc::Slice CopiedSlice(const std::string& bytes) { return grpc::Slice(bytes.data(), bytes.size()); }

grpc::Slice SharedSlice(const SharedBytes& piece) {
  auto* owner = new std::shared_ptr<const void>(piece.owner);
  return grpc::Slice(
      const_cast<char*>(piece.bytes.data()), piece.bytes.size(),
      [](void* owned) { delete static_cast<std::shared_ptr<const void>*>(owned); }, owner);
}

grpc::ByteBuffer Encode(std::span<const SharedBytes> pieces, bool upload) {
  size_t size = 0;
  uint32_t crc = 0;
  for (const SharedBytes& piece : pieces) {
    size += piece.bytes.size();
    crc = Crc32c(piece.bytes, crc);
  }
  std::string front;
  if (upload) {
    AppendVarint(kUploadChunk, front);
    AppendVarint(1 + VarintSize(size) + size + 1 + sizeof crc, front);
  }
  AppendVarint(kChunkData, front);
  AppendVarint(size, front);
  std::string back;
  AppendVarint(kChunkCrc, back);
  back.append(reinterpret_cast<const char*>(&crc), sizeof crc);

  std::vector<grpc::Slice> slices = {CopiedSlice(front)};
  for (const SharedBytes& piece : pieces) slices.push_back(SharedSlice(piece));
  slices.push_back(CopiedSlice(back));
  return {slices.data(), slices.size()};
}

}  // namespace

uint32_t Crc32c(std::string_view bytes, uint32_t crc) {
  crc = ~crc;
  while (!bytes.empty()) {
    const std::string_view part = bytes.substr(0, size_t{1} << 30);  // the library counts with int
    // It only reads.
    auto* const data = reinterpret_cast<unsigned char*>(const_cast<char*>(part.data()));
    crc = crc32_iscsi(data, static_cast<int>(part.size()), crc);
    bytes.remove_prefix(part.size());
  }
  return ~crc;
}

grpc::ByteBuffer EncodeChunk(std::span<const SharedBytes> pieces) { return Encode(pieces, /*upload=*/false); }
grpc::ByteBuffer EncodeUploadChunk(std::span<const SharedBytes> pieces) {
  return Encode(pieces, /*upload=*/true);
}

absl::StatusOr<ReceivedChunk> DecodeChunk(const grpc::ByteBuffer& message) {
  ReceivedChunk chunk;
  MUSTER_ASSIGN_OR_RETURN(chunk.slices, Slices(message));
  WireReader reader(chunk.slices);
  MUSTER_RETURN_IF_ERROR(ReadChunk(reader, reader.left(), chunk));
  return chunk;
}

absl::StatusOr<ReceivedUploadMessage> DecodeUploadMessage(const grpc::ByteBuffer& message) {
  ReceivedChunk chunk;
  MUSTER_ASSIGN_OR_RETURN(chunk.slices, Slices(message));
  WireReader reader(chunk.slices);
  std::optional<std::string> header;
  bool has_chunk = false;
  while (reader.left() > 0) {
    MUSTER_ASSIGN_OR_RETURN(const uint32_t tag, reader.ReadTag());
    if (tag != kUploadHeader && tag != kUploadChunk) {
      MUSTER_RETURN_IF_ERROR(reader.Skip(tag));
      continue;
    }
    if (header || has_chunk) return Malformed("more than one header or chunk in it");
    MUSTER_ASSIGN_OR_RETURN(const size_t length, reader.Length());
    if (tag == kUploadChunk) {
      MUSTER_RETURN_IF_ERROR(ReadChunk(reader, length, chunk));
      has_chunk = true;
    } else {
      std::vector<std::string_view> pieces;
      reader.Take(length, pieces);
      header.emplace();
      for (const std::string_view piece : pieces) header->append(piece);
    }
  }
  if (header) return *std::move(header);
  if (!has_chunk) return Malformed("neither a header nor a chunk");
  return chunk;  // moved: short slices hold their bytes in themselves, which `pieces` view
}

}  // namespace muster
