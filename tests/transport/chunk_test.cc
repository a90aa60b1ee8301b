#include "core/transport/chunk.h"

#include <gtest/gtest.h>

#include <memory>
#include <string>

#include "core/random.h"
#include "muster/v1/federation.pb.h"

namespace muster {
namespace {

std::string Joined(const grpc::ByteBuffer& buffer) {
  std::vector<grpc::Slice> slices;
  EXPECT_TRUE(buffer.Dump(&slices).ok());
  std::string bytes;
  for (const grpc::Slice& slice : slices)
    bytes.append(reinterpret_cast<const char*>(slice.begin()), slice.size());
  return bytes;
}

// The message in slices of `size` bytes, as a network might deliver it.
grpc::ByteBuffer Cut(const std::string& bytes, size_t size) {
  std::vector<grpc::Slice> slices;
  for (size_t at = 0; at < bytes.size(); at += size) slices.emplace_back(bytes.substr(at, size));
  return {slices.data(), slices.size()};
}

std::string Joined(const ReceivedChunk& chunk) {
  std::string bytes;
  for (const std::string_view piece : chunk.pieces) bytes.append(piece);
  EXPECT_EQ(bytes.size(), chunk.size);
  return bytes;
}

std::string SomeBytes(size_t size) {
  Random random({.seed = 5});
  std::string bytes(size, '\0');
  for (char& c : bytes) c = static_cast<char>(random());
  return bytes;
}

std::vector<SharedBytes> Pieces(const std::string& bytes, size_t first) {
  const auto owner = std::make_shared<const std::string>(bytes);
  const std::string_view view = *owner;
  return {{view.substr(0, first), owner}, {view.substr(first), owner}};
}

TEST(Crc32c, HasThePublishedValues) {
  EXPECT_EQ(Crc32c(""), 0U);
  EXPECT_EQ(Crc32c("123456789"), 0xE3069283U);
  EXPECT_EQ(Crc32c(std::string(32, '\0')), 0x8A9136AAU);  // RFC 3720, B.4
  EXPECT_EQ(Crc32c("6789", Crc32c("12345")), 0xE3069283U);
}

TEST(Chunk, IsByteForByteTheMessage) {
  for (const size_t size : {size_t{1}, size_t{127}, size_t{128}, size_t{20000}, kMaxChunkBytes}) {
    const std::string data = SomeBytes(size);
    v1::UploadMessage message;
    message.mutable_chunk()->set_data(data);
    message.mutable_chunk()->set_crc32c(Crc32c(data));
    EXPECT_EQ(Joined(EncodeChunk(Pieces(data, size / 3))), message.chunk().SerializeAsString());
    EXPECT_EQ(Joined(EncodeUploadChunk(Pieces(data, size / 3))), message.SerializeAsString());
  }
}

TEST(Chunk, ReferencesItsDataAndLetsGoOfThem) {
  auto owner = std::make_shared<const std::string>(SomeBytes(100000));
  const std::weak_ptr<const std::string> watch = owner;
  const void* data = owner->data();
  auto buffer = std::make_unique<grpc::ByteBuffer>(EncodeChunk(std::vector<SharedBytes>{{*owner, owner}}));
  owner = nullptr;
  ASSERT_FALSE(watch.expired());
  std::vector<grpc::Slice> slices;
  ASSERT_TRUE(buffer->Dump(&slices).ok());
  EXPECT_EQ(slices[1].begin(), data);
  slices.clear();
  buffer = nullptr;
  EXPECT_TRUE(watch.expired());
}

TEST(Chunk, IsReadWhateverTheSlices) {
  const std::string data = SomeBytes(5000);
  v1::UploadMessage message;
  message.mutable_chunk()->set_data(data);
  message.mutable_chunk()->set_crc32c(Crc32c(data));
  for (const size_t size : {1, 2, 7, 1000, 100000}) {
    const auto chunk = DecodeChunk(Cut(message.chunk().SerializeAsString(), size));
    ASSERT_TRUE(chunk.ok()) << chunk.status();
    EXPECT_EQ(Joined(*chunk), data);
    const auto upload = DecodeUploadMessage(Cut(message.SerializeAsString(), size));
    ASSERT_TRUE(upload.ok()) << upload.status();
    EXPECT_EQ(Joined(std::get<ReceivedChunk>(*upload)), data);
  }
}

TEST(Chunk, ReadsHeadersAndSkipsFieldsItDoesNotKnow) {
  v1::UploadMessage message;
  message.mutable_header()->set_round(3);
  const std::string bytes =
      std::string("\x98\x06\x01", 3).append(message.SerializeAsString());  // field 99 = 1 comes first
  const auto header = DecodeUploadMessage(Cut(bytes, 2));
  ASSERT_TRUE(header.ok()) << header.status();
  EXPECT_EQ(std::get<std::string>(*header), message.header().SerializeAsString());
}

TEST(Chunk, RefusesWhatIsWrong) {
  const std::string data = SomeBytes(300);
  v1::Chunk chunk;
  chunk.set_data(data);
  chunk.set_crc32c(Crc32c(data) + 1);
  EXPECT_TRUE(absl::IsDataLoss(DecodeChunk(Cut(chunk.SerializeAsString(), 50)).status()));
  chunk.clear_data();
  chunk.set_crc32c(0);
  EXPECT_TRUE(absl::IsInvalidArgument(DecodeChunk(Cut(chunk.SerializeAsString(), 50)).status()));
  chunk.set_data(SomeBytes(kMaxChunkBytes + 1));
  chunk.set_crc32c(Crc32c(chunk.data()));
  EXPECT_TRUE(absl::IsInvalidArgument(DecodeChunk(Cut(chunk.SerializeAsString(), 50000)).status()));
  EXPECT_TRUE(absl::IsInvalidArgument(DecodeUploadMessage(grpc::ByteBuffer()).status()));
  v1::UploadMessage two;
  two.mutable_header()->set_round(1);
  EXPECT_TRUE(absl::IsInvalidArgument(
      DecodeUploadMessage(Cut(two.SerializeAsString().append(two.SerializeAsString()), 3)).status()));
}

TEST(Chunk, RefusesEveryBeginningOfAMessage) {
  const std::string data = SomeBytes(200);
  v1::UploadMessage message;
  message.mutable_chunk()->set_data(data);
  message.mutable_chunk()->set_crc32c(Crc32c(data));
  const std::string whole = message.SerializeAsString();
  for (size_t size = 0; size < whole.size(); ++size) {
    EXPECT_FALSE(DecodeUploadMessage(Cut(whole.substr(0, size), 64)).ok()) << size;
  }
}

}  // namespace
}  // namespace muster
