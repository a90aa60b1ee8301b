// tests/compression/vectors.txt: payloads of every form with what they decode to. They hold the wire form
// still, and other implementations (decode.py) test themselves by them.
//
// To write the file anew, on purpose, after an addition: MUSTER_WRITE_VECTORS=1 compression_test
// --gtest_filter=Vectors.*
#include <gtest/gtest.h>

#include <cstdlib>
#include <cstring>
#include <fstream>
#include <map>

#include "absl/strings/escaping.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "core/random.h"
#include "tests/compression/cases.h"

namespace muster {
namespace {

constexpr char kPath[] = MUSTER_SOURCE_DIR "/tests/compression/vectors.txt";

std::string Hex(std::string_view bytes) { return absl::BytesToHexString({bytes.data(), bytes.size()}); }
std::string Hex(const std::vector<float>& values) {
  return Hex(std::string_view(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(float)));
}

std::vector<float> Values(int64_t size) {
  Random random({.seed = 17});
  std::vector<float> x(static_cast<size_t>(size));
  // Within a factor of a thousand of each other, of both signs, without functions that libraries round
  // differently.
  for (float& value : x)
    value = static_cast<float>((random.Uniform() - 0.5) * (random.Below(100) == 0 ? 10 : 0.01));
  return x;
}

struct Vector {
  std::string name;
  Layout layout;
  std::string payload = {}, values = {};  // hexadecimal
};

Vector Encode(const PluginConfig& config, int64_t size) {
  Vector vector{.name = absl::StrCat(Describe(config), ", ", size, " elements"), .layout = TestLayout(size)};
  const auto payload = MakeCompressor(config)->Compress(Values(size), vector.layout,
                                                        {.seed = 18, .purpose = Purpose::kCompression});
  EXPECT_TRUE(payload.ok()) << payload.status();
  vector.payload = Hex(payload->bytes);
  vector.values = Hex(*DecodePayload(*payload, vector.layout));
  return vector;
}

std::vector<Vector> Encoded() {
  std::vector<Vector> vectors;
  for (const PluginConfig& config : CompressorCases()) {
    for (const int64_t size : {0, 1, 60}) vectors.push_back(Encode(config, size));
  }
  // Places in each of the three codings, and several buckets.
  for (const double ratio : {0.005, 0.05, 0.6}) vectors.push_back(Encode({"top_k", {{"ratio", ratio}}}, 400));
  vectors.push_back(Encode({"quantize", {{"bits", int64_t{4}}, {"bucket", int64_t{100}}}}, 250));
  vectors.push_back(Encode({"rotation", {{"block", int64_t{64}}}}, 200));
  return vectors;
}

std::string LayoutText(const Layout& layout) {
  return absl::StrJoin(layout.entries, " ", [](std::string* out, const Layout::Entry& entry) {
    absl::StrAppend(out, entry.name, "=", absl::StrJoin(entry.shape, "x"));
  });
}

TEST(Vectors, EncodeAndDecodeAsEver) {
  const std::vector<Vector> now = Encoded();
  if (std::getenv("MUSTER_WRITE_VECTORS") != nullptr) {
    std::ofstream file(kPath);
    for (const Vector& vector : now) {
      file << "case " << vector.name << "\nlayout " << LayoutText(vector.layout) << "\npayload "
           << vector.payload << "\nvalues " << vector.values << "\n";
    }
  }
  std::ifstream file(kPath);
  ASSERT_TRUE(file) << kPath;
  std::string line;
  std::map<std::string, std::string> fields;
  size_t read = 0;
  while (std::getline(file, line)) {
    const std::pair<std::string, std::string> field = absl::StrSplit(line, absl::MaxSplits(' ', 1));
    fields[field.first] = field.second;
    if (field.first != "values") continue;
    SCOPED_TRACE(fields["case"]);
    ASSERT_LT(read, now.size());
    const Vector& vector = now[read++];
    EXPECT_EQ(fields["case"], vector.name);
    EXPECT_EQ(fields["layout"], LayoutText(vector.layout));
    // Libraries of zstd pack alike bytes differently.
    if (fields["case"].find("zstd") == std::string::npos) {
      EXPECT_EQ(fields["payload"], vector.payload);
    }
    const std::string bytes = absl::HexStringToBytes(fields["payload"]);
    const auto decoded = DecodePayload({bytes}, vector.layout);
    ASSERT_TRUE(decoded.ok()) << decoded.status();
    EXPECT_EQ(fields["values"], Hex(*decoded));
  }
  EXPECT_EQ(read, now.size());
}

}  // namespace
}  // namespace muster
