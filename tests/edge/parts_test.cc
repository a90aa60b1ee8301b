// Back-off, link watch, spool.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "absl/strings/str_cat.h"
#include "client/edge/backoff.h"
#include "client/edge/explain.h"
#include "client/edge/link_watch.h"
#include "client/edge/spool.h"

namespace muster::edge {
namespace {

using ::testing::HasSubstr;

TEST(BackoffTest, GrowsIsBoundedAndJitteredByIdentity) {
  Backoff one("one", 1, 20), two("two", 1, 20), again("one", 1, 20);
  double bound = 1;
  bool differ = false;
  for (int i = 0; i < 80; ++i) {
    const double delay = one.NextSeconds();
    EXPECT_GE(delay, bound / 2);
    EXPECT_LT(delay, bound);
    EXPECT_EQ(delay, again.NextSeconds());
    differ |= delay != two.NextSeconds();
    bound = std::min(20.0, bound * 2);
  }
  EXPECT_TRUE(differ);
  one.Reset();
  EXPECT_LT(one.NextSeconds(), 1);
}

TEST(LinkWatchTest, ComparesClocks) {
  LinkWatch watch;
  EXPECT_EQ(watch.Welcomed(1'000'000, 1'000'200, 1'000'100), std::nullopt);
  EXPECT_EQ(watch.Welcomed(1'000'000, 1'000'200, 0), std::nullopt) << "the coordinator's clock is not told";
  EXPECT_THAT(watch.Welcomed(1'000'000, 1'000'200, 900'000).value_or(""), HasSubstr("100 s ahead of"));
  EXPECT_EQ(watch.Welcomed(1'001'000, 1'001'200, 900'000), std::nullopt) << "said already";
  LinkWatch other;
  EXPECT_THAT(other.Welcomed(1'000'000, 1'000'200, 1'090'100).value_or(""), HasSubstr("90 s behind"));
}

TEST(LinkWatchTest, NoticesLateHeartbeatsWhateverTheClocksSay) {
  LinkWatch watch;
  watch.Welcomed(500'000, 500'010, 470'000);  // clocks differ by half a minute
  EXPECT_EQ(watch.Heartbeat(505'010, 475'000), std::nullopt);
  EXPECT_EQ(watch.Heartbeat(513'000, 480'000), std::nullopt) << "3 s late";
  EXPECT_THAT(watch.Heartbeat(522'000, 485'000).value_or(""), HasSubstr("7.0 s late"));
}

TEST(LinkWatchTest, CountsLostSessionsWithinAWindow) {
  LinkWatch rare, often;
  int64_t rare_warnings = 0, often_warnings = 0;
  for (int i = 0; i < 20; ++i) {
    rare_warnings += rare.Lost(1'000'000 + i * int64_t{300'000}).has_value();
    often_warnings += often.Lost(1'000'000 + i * int64_t{10'000}).has_value();
  }
  EXPECT_EQ(rare_warnings, 0);
  EXPECT_EQ(often_warnings, 1);
}

TEST(ExplainTest, IsOneLineThatNamesTheAddress) {
  for (int code = 1; code <= 16; ++code) {
    const grpc::Status status(static_cast<grpc::StatusCode>(code), "two\nlines");
    const std::string text = Message(Explain(status, "host:1"));
    EXPECT_THAT(text, HasSubstr("host:1"));
    EXPECT_THAT(text, HasSubstr("two lines"));
    EXPECT_EQ(Explain(status, "host:1").code() == absl::StatusCode::kInvalidArgument, IsPermanent(status));
  }
}

class SpoolTest : public ::testing::Test {
 protected:
  void SetUp() override {
    folder_ = absl::StrCat(::testing::TempDir(), "spool-", getpid(), "-",
                           ::testing::UnitTest::GetInstance()->current_test_info()->name());
    std::filesystem::remove_all(folder_);
    std::filesystem::create_directories(folder_);
    update_.training.num_samples = 3;
    update_.payload.bytes = "payload";
    update_.extras["extra"].bytes = "more";
    update_.if_taken.numbers["steps"] = 2;
    update_.if_refused.numbers["steps"] = 1;
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  std::string folder_;
  LocalUpdate update_;
};

TEST_F(SpoolTest, KeepsAnUpdateForTheNextProcess) {
  {
    Spool spool(folder_);
    EXPECT_FALSE(spool.update());
    ASSERT_TRUE(spool.Put("fed", 5, 2, update_).ok());
    ASSERT_TRUE(spool.update());
  }
  Spool spool(folder_);
  ASSERT_TRUE(spool.update());
  EXPECT_EQ(spool.update()->header.federation(), "fed");
  EXPECT_EQ(spool.update()->header.round(), 5);
  EXPECT_EQ(spool.update()->header.client(), 2);
  EXPECT_EQ(spool.update()->header.num_samples(), 3);
  EXPECT_EQ(spool.update()->header.payload_size(), 7);
  EXPECT_EQ(spool.update()->bytes->bytes(), "payloadmore");
  EXPECT_EQ(spool.update()->if_taken, update_.if_taken);
  EXPECT_EQ(spool.update()->if_refused, update_.if_refused);
  spool.Remove();
  EXPECT_FALSE(spool.update());
  EXPECT_FALSE(Spool(folder_).update());
}

// A process killed between any two writes leaves all but the header, which comes last; a bad disk damages
// anything.
TEST_F(SpoolTest, TakesDamageForNothing) {
  for (const char* part : {"bytes", "taken", "refused", "header"}) {
    ASSERT_TRUE(Spool(folder_).Put("fed", 5, 2, update_).ok());
    const std::string path = absl::StrCat(folder_, "/update.", part);
    std::filesystem::resize_file(path, std::filesystem::file_size(path) - 1);
    EXPECT_FALSE(Spool(folder_).update()) << part;
    ASSERT_TRUE(Spool(folder_).Put("fed", 5, 2, update_).ok());
    std::filesystem::remove(path);
    EXPECT_FALSE(Spool(folder_).update()) << part;
  }
}

}  // namespace
}  // namespace muster::edge
