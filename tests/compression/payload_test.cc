#include "compression/payload.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "compression/compressor.h"

namespace muster {
namespace {

using ::testing::HasSubstr;

Layout LayoutOf(int64_t size) {
  Layout layout;
  layout.Add("w", {size}, true);
  return layout;
}

Payload Headed(const Layout& layout, const std::string& data = "data") {
  return {PayloadHeader(9, layout) + data};
}

std::string Error(const Payload& payload, const Layout& layout) {
  const auto parsed = ParsePayload(payload, layout);
  if (parsed.ok()) return "";
  EXPECT_EQ(parsed.status().code(), absl::StatusCode::kInvalidArgument);
  return Message(parsed.status());
}

TEST(Payload, HeaderBytesAreFixed) {
  const Layout layout = LayoutOf(0x0102);
  const std::string header = PayloadHeader(9, layout);
  ASSERT_EQ(header.size(), kPayloadHeaderBytes);
  EXPECT_EQ(header.substr(0, 8), std::string("MU\x01\x09\0\0\0\0", 8));
  EXPECT_EQ(header.substr(16), std::string("\x02\x01\0\0\0\0\0\0", 8));
}

TEST(Payload, ParseGivesCodecAndData) {
  const Layout layout = LayoutOf(3);
  const Payload payload = Headed(layout);
  const auto view = ParsePayload(payload, layout);
  ASSERT_TRUE(view.ok());
  EXPECT_EQ(view->codec, 9);
  EXPECT_EQ(view->data, "data");
  EXPECT_EQ(payload.size(), 28);
}

TEST(Payload, ErrorsNameWhatDiffers) {
  const Layout layout = LayoutOf(3);
  const auto with = [&layout](size_t at, char byte) {
    Payload payload = Headed(layout);
    payload.bytes[at] = byte;
    return Error(payload, layout);
  };
  for (size_t size = 0; size < kPayloadHeaderBytes; ++size) {
    EXPECT_THAT(Error({Headed(layout).bytes.substr(0, size)}, layout), HasSubstr("shorter than its header"))
        << size;
  }
  EXPECT_THAT(with(0, 'm'), HasSubstr("magic"));
  EXPECT_THAT(with(2, 2), HasSubstr("has version 2, this program reads 1"));
  EXPECT_THAT(with(7, 1), HasSubstr("reserved bytes are not zero"));
  EXPECT_THAT(with(16, 4), HasSubstr("has 4 elements, the model has 3"));
  EXPECT_THAT(Error(Headed(LayoutOf(4)), layout), HasSubstr("of another model"));
}

TEST(Payload, UnknownCodecIsRefused) {
  const Layout layout = LayoutOf(3);
  const Payload payload{PayloadHeader(255, layout) + std::string(12, '\0')};
  ExactSum sum(3, 1);
  EXPECT_EQ(Message(FoldPayload(payload, 1, layout, sum)), "payload has unknown codec 255");
  EXPECT_EQ(Message(DecodePayload(payload, layout).status()), "payload has unknown codec 255");
  EXPECT_EQ(sum.terms(), 0);
}

}  // namespace
}  // namespace muster
