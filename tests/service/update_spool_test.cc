#include "server/service/update_spool.h"

#include <gtest/gtest.h>
#include <sys/resource.h>

#include <csignal>
#include <filesystem>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "core/hash.h"

namespace muster {
namespace {

class UpdateSpoolTest : public ::testing::Test {
 protected:
  UpdateSpoolTest() {
    std::filesystem::remove_all(folder_);
    auto spool = UpdateSpool::Open(folder_, Durability::kProcess);
    EXPECT_TRUE(spool.ok());
    spool_ = *std::move(spool);
    header_.set_round(3);
    header_.set_client(1);
    header_.set_payload_size(static_cast<int64_t>(content_.size()));
    header_.set_content_sha256(Sha256(content_));
  }
  ~UpdateSpoolTest() override { std::filesystem::remove_all(folder_); }

  // Content [begin, end) in pieces of 1,000 bytes.
  std::vector<std::string_view> Pieces(size_t begin, size_t end) const {
    std::vector<std::string_view> pieces;
    for (size_t at = begin; at < end; at += 1000) {
      pieces.push_back(std::string_view(content_).substr(at, std::min<size_t>(1000, end - at)));
    }
    return pieces;
  }

  const std::string folder_ = absl::StrCat(::testing::TempDir(), "/muster_update_spool_", ::getpid());
  const std::string content_ = [] {
    std::string content;
    for (int i = 0; content.size() < 1'000'000; ++i) absl::StrAppend(&content, i, " ");
    return content;
  }();
  std::unique_ptr<UpdateSpool> spool_;
  v1::UploadHeader header_;
};

TEST_F(UpdateSpoolTest, KeepsAnUpdateThatComesInManyPieces) {
  const auto update = *spool_->Begin(header_);
  const int64_t writer = update->Claim(header_, nullptr);
  const size_t half = content_.size() / 2;  // 500 pieces: more than one call takes
  ASSERT_TRUE(update->Append(writer, Pieces(0, half)).ok());
  ASSERT_TRUE(update->Append(writer, Pieces(half, content_.size())).ok());
  ASSERT_TRUE(update->Finish().ok());
  EXPECT_EQ(update->Take()->file->bytes().substr(0, content_.size()), content_);
}

TEST_F(UpdateSpoolTest, GoesOnWithWhatAnEarlierProcessLeft) {
  {
    const auto update = *spool_->Begin(header_);
    ASSERT_TRUE(update->Append(update->Claim(header_, nullptr), Pieces(0, 123'456)).ok());
  }
  const auto update = *spool_->Begin(header_);
  ASSERT_EQ(update->received(), 123'456);
  const int64_t writer = update->Claim(header_, nullptr);
  ASSERT_TRUE(update->Append(writer, Pieces(123'456, content_.size())).ok());
  ASSERT_TRUE(update->Finish().ok());
  EXPECT_EQ(update->Take()->file->bytes().substr(0, content_.size()), content_);
  EXPECT_EQ(spool_->Recover(3)->size(), 1U);
}

// The limit on a file's size stands for a full disk: some of the bytes are written, then no more.
TEST_F(UpdateSpoolTest, WhatADiskTookOnlyInPartIsWrittenAgainInItsPlace) {
  rlimit limit{};
  ASSERT_EQ(getrlimit(RLIMIT_FSIZE, &limit), 0);
  const auto before = std::signal(SIGXFSZ, SIG_IGN);
  const auto update = *spool_->Begin(header_);
  const int64_t writer = update->Claim(header_, nullptr);
  ASSERT_TRUE(update->Append(writer, Pieces(0, 200'000)).ok());

  const rlimit full{.rlim_cur = 300'500, .rlim_max = limit.rlim_max};
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &full), 0);
  const absl::Status refused = update->Append(writer, Pieces(200'000, 600'000));
  const bool lifted = setrlimit(RLIMIT_FSIZE, &limit) == 0;
  std::signal(SIGXFSZ, before);
  ASSERT_TRUE(lifted);
  EXPECT_FALSE(refused.ok());
  ASSERT_EQ(update->received(), 200'000);

  ASSERT_TRUE(update->Append(writer, Pieces(200'000, content_.size())).ok());
  ASSERT_TRUE(update->Finish().ok());
  EXPECT_EQ(update->Take()->file->bytes().substr(0, content_.size()), content_);
}

}  // namespace
}  // namespace muster
