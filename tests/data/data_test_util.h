// Small files and the real data at hand, for the tests of this folder.
#ifndef MUSTER_TESTS_DATA_DATA_TEST_UTIL_H_
#define MUSTER_TESTS_DATA_DATA_TEST_UTIL_H_

#include <gtest/gtest.h>
#include <unistd.h>
#include <zlib.h>

#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "learning/dataset.h"
#include "learning/partition.h"

namespace muster::test {

// A folder of its own for every test.
class TempFolder {
 public:
  TempFolder() {
    const auto* info = ::testing::UnitTest::GetInstance()->current_test_info();
    std::string name = absl::StrCat(info->test_suite_name(), "_", info->name());
    for (char& c : name) c = c == '/' ? '_' : c;
    path_ = std::filesystem::path(::testing::TempDir()) / absl::StrCat("muster_", ::getpid(), "_", name);
    std::filesystem::create_directories(path_);
  }
  ~TempFolder() { std::filesystem::remove_all(path_); }

  std::string path() const { return path_.string(); }
  std::string operator/(const std::string& name) const { return (path_ / name).string(); }
  // Writes `name` and returns its path.
  std::string Write(const std::string& name, const std::string& bytes) const {
    std::ofstream(path_ / name, std::ios::binary) << bytes;
    return *this / name;
  }
  std::string WriteGzip(const std::string& name, const std::string& bytes) const {
    gzFile file = gzopen((*this / name).c_str(), "wb");
    EXPECT_EQ(gzwrite(file, bytes.data(), static_cast<unsigned>(bytes.size())),
              static_cast<int>(bytes.size()));
    gzclose(file);
    return *this / name;
  }

 private:
  std::filesystem::path path_;
};

inline std::string BigEndian32(uint32_t value) {
  return {static_cast<char>(value >> 24), static_cast<char>(value >> 16), static_cast<char>(value >> 8),
          static_cast<char>(value)};
}
inline std::string IdxHeader(uint8_t type, const std::vector<uint32_t>& shape) {
  std::string header = {0, 0, static_cast<char>(type), static_cast<char>(shape.size())};
  for (const uint32_t side : shape) header += BigEndian32(side);
  return header;
}
inline std::string IdxBytes(const std::vector<uint32_t>& shape, const std::vector<uint8_t>& elements) {
  return IdxHeader(0x08, shape) + std::string(elements.begin(), elements.end());
}

inline absl::StatusOr<TrainTest> Load(const std::string& name, const OptionMap& options,
                                      const std::string& folder = "") {
  auto loader = Registry<DatasetLoader>::Get().Create({name, options}, {folder});
  if (!loader.ok()) return loader.status();
  return (*loader)->Load();
}
inline absl::StatusOr<Partition> Split(const std::string& name, const OptionMap& options, const Dataset& data,
                                       int64_t clients, uint64_t seed, const std::string& folder = "") {
  auto partitioner = Registry<Partitioner>::Get().Create({name, options}, {folder});
  if (!partitioner.ok()) return partitioner.status();
  return (*partitioner)->Split(data, clients, seed);
}

// The folder `name` of the project's test data: under $MUSTER_TEST_DATA, or under shared/data beside this
// folder or one above it. "" if it is not there.
inline std::string TestData(const std::string& name) {
  std::vector<std::filesystem::path> roots;
  if (const char* root = std::getenv("MUSTER_TEST_DATA")) roots.emplace_back(root);
  for (std::filesystem::path at = std::filesystem::current_path();; at = at.parent_path()) {
    roots.push_back(at / "shared" / "data");
    if (at == at.parent_path()) break;
  }
  for (const auto& root : roots) {
    if (std::filesystem::is_directory(root / name)) return (root / name).string();
  }
  return "";
}

inline std::vector<int64_t> ClassCounts(const Dataset& data) {
  std::vector<int64_t> counts(data.num_classes);
  for (const int64_t label : data.labels) ++counts[label];
  return counts;
}

}  // namespace muster::test

#define MUSTER_REQUIRE_TEST_DATA(variable, name)               \
  const std::string variable = ::muster::test::TestData(name); \
  if (variable.empty()) GTEST_SKIP() << "no folder " << (name) << " of test data; set MUSTER_TEST_DATA to it"

#endif  // MUSTER_TESTS_DATA_DATA_TEST_UTIL_H_
