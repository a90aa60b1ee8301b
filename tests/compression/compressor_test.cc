// The contract of compression/compressor.h, for every compressor that is registered.
#include "compression/compressor.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <limits>
#include <set>
#include <string>
#include <vector>

#include "core/random.h"
#include "tests/compression/cases.h"

namespace muster {
namespace {

constexpr int64_t kSizes[] = {0, 1, 7, 64, 1000};
constexpr RandomKey kKey{.seed = 5, .purpose = Purpose::kCompression, .round = 2, .client = 3};

Layout LayoutOf(int64_t size) { return TestLayout(size); }

std::vector<float> Update(int64_t size, uint64_t seed = 1) {
  Random random({.seed = seed});
  std::vector<float> x(static_cast<size_t>(size));
  for (float& value : x) value = static_cast<float>(0.01 * random.Normal());
  return x;
}

// A sum with something in it. Same() compares what can be seen of two.
ExactSum StartedSum(int64_t size) {
  ExactSum sum(size, 8);
  EXPECT_TRUE(sum.Add(Update(size, 99), 1.5).ok());
  return sum;
}
std::vector<uint32_t> Bits(const std::vector<float>& values) {
  std::vector<uint32_t> bits;
  for (const float value : values) bits.push_back(std::bit_cast<uint32_t>(value));
  return bits;
}
bool Same(const ExactSum& a, const ExactSum& b) {
  std::vector<float> x(static_cast<size_t>(a.size())), y(x);
  EXPECT_TRUE(a.Quotient(1, x).ok() && b.Quotient(1, y).ok());
  return Bits(x) == Bits(y) && a.terms() == b.terms() && a.total_weight() == b.total_weight();
}

class EveryCompressor : public ::testing::TestWithParam<PluginConfig> {
 protected:
  void SetUp() override {
    SCOPED_TRACE(Describe(GetParam()));
    compressor_ = MakeCompressor(GetParam());
    ASSERT_NE(compressor_, nullptr);
  }
  Payload Compressed(const std::vector<float>& x, const Layout& layout) const {
    auto payload = compressor_->Compress(x, layout, kKey);
    EXPECT_TRUE(payload.ok()) << payload.status();
    return *std::move(payload);
  }
  // Fold and decode both refuse it, and the sum does not change.
  void ExpectRefused(const Payload& payload, const Layout& layout, const std::string& what) const {
    const ExactSum before = StartedSum(layout.size);
    ExactSum sum = StartedSum(layout.size);
    EXPECT_EQ(FoldPayload(payload, 1, layout, sum).code(), absl::StatusCode::kInvalidArgument) << what;
    EXPECT_TRUE(Same(sum, before)) << what;
    EXPECT_EQ(DecodePayload(payload, layout).status().code(), absl::StatusCode::kInvalidArgument) << what;
  }

  std::unique_ptr<Compressor> compressor_;
};

TEST_P(EveryCompressor, RoundTrip) {
  for (const int64_t size : kSizes) {
    const Layout layout = LayoutOf(size);
    const std::vector<float> x = Update(size);
    const Payload payload = Compressed(x, layout);
    const auto view = ParsePayload(payload, layout);
    ASSERT_TRUE(view.ok());
    EXPECT_EQ(view->codec, compressor_->codec());
    const auto decoded = DecodePayload(payload, layout);
    ASSERT_TRUE(decoded.ok()) << decoded.status();
    ASSERT_EQ(decoded->size(), x.size());
    if (GetParam().name == "identity") {
      EXPECT_EQ(Bits(*decoded), Bits(x));
      EXPECT_EQ(payload.size(), static_cast<int64_t>(kPayloadHeaderBytes) + 4 * size);
    }
  }
}

TEST_P(EveryCompressor, ZeroStaysZero) {
  const Layout layout = LayoutOf(64);
  const auto decoded = DecodePayload(Compressed(std::vector<float>(64), layout), layout);
  ASSERT_TRUE(decoded.ok()) << decoded.status();
  for (const float value : *decoded) EXPECT_EQ(value, 0);
}

TEST_P(EveryCompressor, SameKeySameBytes) {
  const Layout layout = LayoutOf(1000);
  EXPECT_EQ(Compressed(Update(1000), layout).bytes, Compressed(Update(1000), layout).bytes);
}

TEST_P(EveryCompressor, FoldIsDecodeThenAddToTheLastBit) {
  for (const int64_t size : kSizes) {
    const Layout layout = LayoutOf(size);
    ExactSum folded = StartedSum(size), added = StartedSum(size);
    for (const double weight : {1.0, 0.3, 2.7}) {
      const Payload payload = Compressed(Update(size, static_cast<uint64_t>(weight * 10)), layout);
      ASSERT_TRUE(FoldPayload(payload, weight, layout, folded).ok());
      ASSERT_TRUE(added.Add(*DecodePayload(payload, layout), weight).ok());
    }
    EXPECT_TRUE(Same(folded, added)) << size;
  }
}

TEST_P(EveryCompressor, DataAtAnyAddressIsRead) {
  const Layout layout = LayoutOf(64);
  const Payload payload = Compressed(Update(64), layout);
  const std::string data = payload.bytes.substr(kPayloadHeaderBytes);
  for (size_t shift = 0; shift < 8; ++shift) {
    const std::string shifted = std::string(shift, 'x') + data;
    ExactSum sum(64, 1), expected(64, 1);
    ASSERT_TRUE(compressor_->Fold(std::string_view(shifted).substr(shift), 1, layout, sum).ok());
    ASSERT_TRUE(FoldPayload(payload, 1, layout, expected).ok());
    EXPECT_TRUE(Same(sum, expected));
  }
}

TEST_P(EveryCompressor, RefusesWhatIsNotFiniteOrOfAnotherSize) {
  const Layout layout = LayoutOf(7);
  for (const float bad : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity(),
                          -std::numeric_limits<float>::infinity()}) {
    for (const size_t at : {size_t{0}, size_t{3}, size_t{6}}) {
      std::vector<float> x = Update(7);
      x[at] = bad;
      EXPECT_EQ(compressor_->Compress(x, layout, kKey).status().code(), absl::StatusCode::kInvalidArgument);
    }
  }
  EXPECT_FALSE(compressor_->Compress(Update(6), layout, kKey).ok());
  EXPECT_FALSE(compressor_->Compress(Update(8), layout, kKey).ok());
}

TEST_P(EveryCompressor, RefusesPayloadsThatAreCutOrPadded) {
  for (const int64_t size : kSizes) {
    const Layout layout = LayoutOf(size);
    const Payload payload = Compressed(Update(size), layout);
    const size_t step = 1 + payload.bytes.size() / 200;
    for (size_t keep = 0; keep < payload.bytes.size(); keep += step) {
      ExpectRefused({payload.bytes.substr(0, keep)}, layout, "cut to " + std::to_string(keep));
    }
    if (!payload.bytes.empty()) {
      ExpectRefused({payload.bytes.substr(0, payload.bytes.size() - 1)}, layout, "cut by one byte");
    }
    ExpectRefused({payload.bytes + '\0'}, layout, "padded by one byte");
    ExpectRefused({payload.bytes + std::string(4096, '\x7f')}, layout, "padded by many bytes");
  }
}

TEST_P(EveryCompressor, RefusesPayloadsOfAnotherLayout) {
  const Payload payload = Compressed(Update(64), LayoutOf(64));
  Layout renamed;
  renamed.Add("other", {64}, true);
  ExpectRefused(payload, renamed, "other names");
  ExpectRefused(payload, LayoutOf(65), "other size");
  ExpectRefused(payload, LayoutOf(0), "empty");
}

TEST_P(EveryCompressor, RefusesAHeaderWithAnyBitFlipped) {
  const Layout layout = LayoutOf(64);
  const Payload payload = Compressed(Update(64), layout);
  std::set<uint8_t> codecs;
  for (const std::string& name : Registry<Compressor>::Get().Names()) {
    codecs.insert((*Registry<Compressor>::Get().Create({name, {}}, {}))->codec());
  }
  for (size_t bit = 0; bit < kPayloadHeaderBytes * 8; ++bit) {
    Payload flipped = payload;
    flipped.bytes[bit / 8] ^= static_cast<char>(1 << bit % 8);
    const bool other_codec = bit / 8 == 3 && codecs.contains(static_cast<uint8_t>(flipped.bytes[3]));
    if (!other_codec) ExpectRefused(flipped, layout, "bit " + std::to_string(bit));
  }
}

// Whatever the data, a fold either succeeds or leaves no trace, and agrees with decoding on finite values.
TEST_P(EveryCompressor, SurvivesDamagedData) {
  const Layout layout = LayoutOf(64);
  const Payload payload = Compressed(Update(64), layout);
  if (payload.bytes.size() == kPayloadHeaderBytes) GTEST_SKIP() << "the payload has no data";
  Random random(kKey);
  for (int trial = 0; trial < 2000; ++trial) {
    Payload damaged = payload;
    for (uint64_t i = 0; i <= random.Below(8); ++i) {
      const uint64_t at = kPayloadHeaderBytes + random.Below(damaged.bytes.size() - kPayloadHeaderBytes);
      damaged.bytes[at] = static_cast<char>(random.Below(256));
    }
    const ExactSum before = StartedSum(64);
    ExactSum sum = StartedSum(64);
    const absl::Status folded = FoldPayload(damaged, 1, layout, sum);
    const auto decoded = DecodePayload(damaged, layout);
    if (!folded.ok()) {
      EXPECT_TRUE(Same(sum, before));
    } else {
      ASSERT_TRUE(decoded.ok()) << decoded.status();
    }
    if (decoded.ok()) {
      for (const float value : *decoded) ASSERT_TRUE(std::isfinite(value));
    }
  }
}

TEST_P(EveryCompressor, ABadWeightLeavesNoTrace) {
  const Layout layout = LayoutOf(64);
  const Payload payload = Compressed(Update(64), layout);
  for (const double weight : {-1.0, 100.0, std::nan(""), std::numeric_limits<double>::infinity()}) {
    const ExactSum before = StartedSum(64);
    ExactSum sum = StartedSum(64);
    EXPECT_FALSE(FoldPayload(payload, weight, layout, sum).ok());
    EXPECT_TRUE(Same(sum, before));
  }
}

// The name of a case and its number, by which CompressorCases() tells its options.
INSTANTIATE_TEST_SUITE_P(Registered, EveryCompressor, ::testing::ValuesIn(CompressorCases()),
                         [](const auto& info) { return absl::StrCat(info.param.name, "_", info.index); });

// A codec id is a form of payload: whoever wrote it, every compressor of that form reads it alike.
TEST(Compressors, ThatShareACodecIdDecodeEachOther) {
  const auto& registry = Registry<Compressor>::Get();
  const Layout layout = LayoutOf(1000);
  for (const std::string& writer_name : registry.Names()) {
    const auto writer = *registry.Create({writer_name, {}}, {});
    const Payload payload = *writer->Compress(Update(1000), layout, kKey);
    const std::string_view data = ParsePayload(payload, layout)->data;
    std::vector<float> expected(1000), decoded(1000);
    ASSERT_TRUE(writer->Decode(data, layout, expected).ok());
    for (const std::string& reader_name : registry.Names()) {
      const auto reader = *registry.Create({reader_name, {}}, {});
      if (reader->codec() != writer->codec()) continue;
      ASSERT_TRUE(reader->Decode(data, layout, decoded).ok()) << writer_name << " by " << reader_name;
      EXPECT_EQ(Bits(decoded), Bits(expected)) << writer_name << " by " << reader_name;
    }
  }
}

TEST(Identity, NotFiniteDataFromAStrangerIsRefused) {
  const Layout layout = LayoutOf(3);
  Payload payload =
      *(*Registry<Compressor>::Get().Create({"identity", {}}, {}))->Compress(Update(3), layout, kKey);
  payload.bytes.replace(kPayloadHeaderBytes + 4, 4, std::string("\0\0\xc0\x7f", 4));
  ExactSum sum(3, 1);
  EXPECT_EQ(Message(FoldPayload(payload, 1, layout, sum)),
            "element 1 of the update is nan, not a finite number");
  EXPECT_EQ(Message(DecodePayload(payload, layout).status()),
            "element 1 of the update is nan, not a finite number");
}

}  // namespace
}  // namespace muster
