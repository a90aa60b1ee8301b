#include "core/hash.h"

#include <gtest/gtest.h>

#include <vector>

#include "core/parameters.h"

namespace muster {
namespace {

// FIPS 180-4's examples.
TEST(Hash, Sha256TestVectors) {
  EXPECT_EQ(Sha256Hex(""), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  EXPECT_EQ(Sha256Hex("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  EXPECT_EQ(Sha256Hex("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq"),
            "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
  EXPECT_EQ(Sha256Hex(std::string(1'000'000, 'a')),
            "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
  EXPECT_EQ(Sha256("abc").size(), 32u);
  EXPECT_EQ(Sha256("abc")[0], '\xba');
}

TEST(Hash, OfAModelIsOverItsLittleEndianBytes) {
  const std::vector<float> model = {1.0f, -2.0f};
  EXPECT_EQ(ModelSha256(model), Sha256Hex(std::string_view("\x00\x00\x80\x3f\x00\x00\x00\xc0", 8)));
  EXPECT_NE(ModelSha256(std::vector<float>{0.0f}), ModelSha256(std::vector<float>{-0.0f}));
}

TEST(Layout, AddKeepsOffsetsAndFingerprintsEverything) {
  Layout layout;
  layout.Add("weight", {3, 2}, true);
  layout.Add("scale", {}, true);
  layout.Add("mean", {4}, false);
  EXPECT_EQ(layout.size, 11);
  EXPECT_EQ(layout.entries[1].offset, 6);
  EXPECT_EQ(layout.entries[1].size(), 1);
  EXPECT_EQ(layout.entries[2].offset, 7);

  const auto fingerprint = [](const char* name, std::vector<int64_t> shape, bool trainable) {
    Layout other;
    other.Add(name, std::move(shape), trainable);
    return other.fingerprint;
  };
  const uint64_t base = fingerprint("w", {2, 3}, true);
  EXPECT_EQ(base, fingerprint("w", {2, 3}, true));
  EXPECT_NE(base, fingerprint("v", {2, 3}, true));
  EXPECT_NE(base, fingerprint("w", {3, 2}, true));
  EXPECT_NE(base, fingerprint("w", {6}, true));
  EXPECT_NE(base, fingerprint("w", {2, 3}, false));
}

}  // namespace
}  // namespace muster
