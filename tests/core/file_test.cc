#include "core/file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>
#include <zlib.h>

#include <filesystem>
#include <thread>
#include <vector>

namespace muster {
namespace {

using ::testing::HasSubstr;

class FileTest : public ::testing::Test {
 protected:
  void SetUp() override {
    folder_ = std::filesystem::path(::testing::TempDir()) /
              (std::string(::testing::UnitTest::GetInstance()->current_test_info()->name()) + "_" +
               std::to_string(::getpid()));
    std::filesystem::create_directories(folder_);
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  std::string Path(const std::string& name) const { return (folder_ / name).string(); }
  std::string Write(const std::string& name, std::string_view bytes) const {
    EXPECT_TRUE(WriteFileAtomic(Path(name), bytes).ok());
    return Path(name);
  }
  int Entries() const {
    return static_cast<int>(std::distance(std::filesystem::directory_iterator(folder_), {}));
  }

  std::filesystem::path folder_;
};

std::string Gzip(const std::string& text) {
  z_stream stream{};
  EXPECT_EQ(deflateInit2(&stream, 6, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY), Z_OK);
  std::string out(deflateBound(&stream, text.size()) + 64, '\0');
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(text.data()));
  stream.avail_in = static_cast<uInt>(text.size());
  stream.next_out = reinterpret_cast<Bytef*>(out.data());
  stream.avail_out = static_cast<uInt>(out.size());
  EXPECT_EQ(deflate(&stream, Z_FINISH), Z_STREAM_END);
  out.resize(stream.total_out);
  deflateEnd(&stream);
  return out;
}

// Larger than the reader's chunk, and not quite regular.
std::string LongText(size_t size) {
  std::string text(size, '\0');
  for (size_t i = 0; i < size; ++i) text[i] = static_cast<char>('a' + i * i % 23);
  return text;
}

TEST_F(FileTest, WriteThenRead) {
  for (const size_t size :
       {size_t{0}, size_t{1}, size_t{1} << 20, (size_t{1} << 20) + 1, size_t{3'000'000}}) {
    const std::string text = LongText(size);
    ASSERT_TRUE(WriteFileAtomic(Path("f"), text, /*sync=*/size == 1).ok());
    EXPECT_EQ(*ReadFile(Path("f")), text);
    EXPECT_EQ(*ReadMaybeGzip(Path("f")), text);
  }
  EXPECT_EQ(Entries(), 1);  // nothing is left aside
}

TEST_F(FileTest, ReadErrorsNameTheFile) {
  EXPECT_EQ(ReadFile(Path("none")).status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(Message(ReadFile(Path("none")).status()),
            Path("none") + ": cannot open: No such file or directory");
  EXPECT_EQ(ReadMaybeGzip(Path("none")).status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(Message(ReadFile(folder_.string()).status()),
            folder_.string() + ": is a folder, a file is needed");
}

TEST_F(FileTest, WriteErrorsLeaveTheOldFileAndNothingAside) {
  EXPECT_EQ(WriteFileAtomic(Path("no/folder/f"), "x").code(), absl::StatusCode::kNotFound);
  std::filesystem::create_directories(folder_ / "taken" / "inside");
  EXPECT_FALSE(WriteFileAtomic(Path("taken"), "x").ok());  // a folder cannot be renamed over
  EXPECT_TRUE(std::filesystem::is_directory(folder_ / "taken"));
  EXPECT_EQ(Entries(), 1);
}

TEST_F(FileTest, AReaderNeverSeesAPart) {
  const std::string a(300'000, 'a'), b(200'000, 'b');
  Write("f", a);
  std::thread writer([&] {
    for (int i = 0; i < 50; ++i) EXPECT_TRUE(WriteFileAtomic(Path("f"), i % 2 == 0 ? b : a).ok());
  });
  for (int i = 0; i < 50; ++i) {
    const auto seen = ReadFile(Path("f"));
    ASSERT_TRUE(seen.ok());
    EXPECT_TRUE(*seen == a || *seen == b);
  }
  writer.join();
}

TEST_F(FileTest, GzipUnpacks) {
  for (const size_t size : {size_t{0}, size_t{5}, size_t{1} << 20, size_t{2'500'000}}) {
    EXPECT_EQ(*ReadMaybeGzip(Write("f.gz", Gzip(LongText(size)))), LongText(size));
  }
}

TEST_F(FileTest, ConcatenatedMembersAreOneFile) {
  const std::string long_text = LongText(1'500'000);
  EXPECT_EQ(*ReadMaybeGzip(Write("f.gz", Gzip("hello ") + Gzip("") + Gzip(long_text) + Gzip("world"))),
            "hello " + long_text + "world");
}

TEST_F(FileTest, EveryCutOfAGzipFileIsRefused) {
  const std::string packed = Gzip("some text that is packed, some text that is packed");
  for (size_t size = 2; size < packed.size(); ++size) {
    const auto read = ReadMaybeGzip(Write("f.gz", packed.substr(0, size)));
    ASSERT_EQ(read.status().code(), absl::StatusCode::kInvalidArgument) << size;
    EXPECT_THAT(Message(read.status()), HasSubstr(Path("f.gz") + ": damaged gzip data (cut off"));
  }
  // A second member that is cut.
  EXPECT_FALSE(ReadMaybeGzip(Write("f.gz", packed + packed.substr(0, 15))).ok());
}

TEST_F(FileTest, CorruptGzipIsRefused) {
  std::string packed = Gzip(LongText(5000));
  packed[packed.size() - 6] ^= 1;  // the checksum
  EXPECT_THAT(Message(ReadMaybeGzip(Write("f.gz", packed)).status()),
              HasSubstr("damaged gzip data (corrupt"));
  EXPECT_THAT(Message(ReadMaybeGzip(Write("f.gz", Gzip("x") + "rubbish")).status()), HasSubstr("corrupt"));
}

TEST_F(FileTest, GzipIsUnpackedOnlyToTheLimit) {
  const std::string path = Write("f.gz", Gzip(std::string(5'000'000, 'z')));
  EXPECT_THAT(Message(ReadMaybeGzip(path, 4'999'999).status()),
              HasSubstr("unpacks to more than 4999999 bytes"));
  EXPECT_EQ(ReadMaybeGzip(path, 5'000'000)->size(), 5'000'000u);
}

}  // namespace
}  // namespace muster
