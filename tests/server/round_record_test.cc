#include "server/rounds/round_record.h"

#include <cmath>
#include <limits>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace muster {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

RoundRecord FullRecord() {
  RoundRecord record;
  record.round = 12;
  record.reason = "probe";
  record.cohort = {1, 5, int64_t{1} << 60};
  record.accepted = 2;
  record.failures = {{5, "upload", "UNAVAILABLE", "line one\nline \"two\"", 77}};
  record.train_loss = 0.1 + 0.2;
  record.upload_bytes = 123456789012345;
  record.download_bytes = 3;
  record.learning_rate_factor = 1.0 / 3;
  record.update_norm = 5e-324;
  record.trust_loss = std::nextafter(2.0, 3.0);
  record.search = SearchRecord{.reference_loss = 1e300,
                               .candidates = {{1, 0.7}, {3, 1.0 / 7}},
                               .found = 3,
                               .chosen = 4,
                               .previous = 9};
  record.test = Evaluation{.samples = 100,
                           .loss = 2.302585092994046,
                           .accuracy = 0.9,
                           .macro_f1 = 0.88,
                           .class_recall = {0.5, std::nan(""), 1.0}};
  record.clients = {{1, {.samples = 4, .loss = 0.25, .accuracy = 0.75, .macro_f1 = 0.5, .class_recall = {}}}};
  record.seconds = {{"select", 0.001}, {"train", 1.5}};
  record.totals = {
      .client_trainings = 1, .uploads = 2, .upload_bytes = 3, .download_bytes = 4, .samples_trained = 5};
  return record;
}

TEST(RoundRecord, NumbersSurviveTheRoundTripExactly) {
  const RoundRecord record = FullRecord();
  const auto read = RoundRecordFromJson(ToJson(record));
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_EQ(read->round, 12);
  EXPECT_EQ(read->reason, "probe");
  EXPECT_EQ(read->cohort, record.cohort);
  EXPECT_EQ(read->accepted, 2);
  ASSERT_EQ(read->failures.size(), 1U);
  EXPECT_EQ(read->failures[0].client, 5);
  EXPECT_EQ(read->failures[0].stage, "upload");
  EXPECT_EQ(read->failures[0].code, "UNAVAILABLE");
  EXPECT_EQ(read->failures[0].message, record.failures[0].message);
  EXPECT_EQ(read->failures[0].download_bytes, 77);
  EXPECT_EQ(read->train_loss, record.train_loss);
  EXPECT_EQ(read->upload_bytes, record.upload_bytes);
  EXPECT_EQ(read->download_bytes, 3);
  EXPECT_EQ(read->learning_rate_factor, record.learning_rate_factor);
  EXPECT_EQ(read->update_norm, record.update_norm);
  EXPECT_EQ(read->trust_loss, record.trust_loss);
  ASSERT_TRUE(read->search.has_value());
  EXPECT_EQ(read->search->reference_loss, 1e300);
  ASSERT_EQ(read->search->candidates.size(), 2U);
  EXPECT_EQ(read->search->candidates[1].clients, 3);
  EXPECT_EQ(read->search->candidates[1].loss, 1.0 / 7);
  EXPECT_EQ(read->search->found, 3);
  EXPECT_EQ(read->search->chosen, 4);
  EXPECT_EQ(read->search->previous, 9);
  ASSERT_TRUE(read->test.has_value());
  EXPECT_EQ(read->test->samples, 100);
  EXPECT_EQ(read->test->loss, record.test->loss);
  EXPECT_EQ(read->test->accuracy, 0.9);
  EXPECT_EQ(read->test->macro_f1, 0.88);
  ASSERT_EQ(read->test->class_recall.size(), 3U);
  EXPECT_EQ(read->test->class_recall[0], 0.5);
  EXPECT_TRUE(std::isnan(read->test->class_recall[1]));
  ASSERT_EQ(read->clients.size(), 1U);
  EXPECT_EQ(read->clients[0].client, 1);
  EXPECT_EQ(read->clients[0].evaluation.loss, 0.25);
  EXPECT_EQ(read->seconds, record.seconds);
  EXPECT_EQ(read->totals.samples_trained, 5);
  EXPECT_EQ(read->totals.client_trainings, 1);
  EXPECT_EQ(ToJson(*read), ToJson(record));
}

TEST(RoundRecord, IsOneLineThatStartsWithTheRound) {
  const std::string json = ToJson(FullRecord());
  EXPECT_THAT(json, ::testing::StartsWith("{\"round\":12,\"reason\":\"probe\",\"cohort\":[1,5,"));
  EXPECT_THAT(json, Not(HasSubstr("\n")));
  EXPECT_THAT(json, HasSubstr("[0.5,null,1.0]"));
}

TEST(RoundRecord, WhatWasNotMeasuredIsLeftOut) {
  const std::string json = ToJson(RoundRecord{});
  for (const char* key : {"train_loss", "trust_loss", "search", "test", "clients"}) {
    EXPECT_THAT(json, Not(HasSubstr(std::string("\"") + key + "\":"))) << json;
  }
  const auto read = RoundRecordFromJson(json);
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_FALSE(read->train_loss || read->trust_loss || read->search || read->test);
}

TEST(RoundRecord, DivergedLossIsNullAndReadAsNan) {
  RoundRecord record;
  record.test = Evaluation{.samples = 1, .loss = std::numeric_limits<double>::infinity(), .class_recall = {}};
  const auto read = RoundRecordFromJson(ToJson(record));
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_TRUE(std::isnan(read->test->loss));
}

TEST(RoundRecord, ClientsWordsNeedNotBeUtf8) {
  RoundRecord record;
  record.failures = {{1, "train", "INTERNAL", "bad \xff bytes", 0}};
  EXPECT_TRUE(RoundRecordFromJson(ToJson(record)).ok());
}

TEST(RoundRecord, DamagedJsonIsRefused) {
  for (const char* json : {"", "{", "[]", "3", "{}", "{\"round\":\"one\"}",
                           "{\"round\":1,\"reason\":\"x\",\"cohort\":[\"a\"]}"}) {
    const auto read = RoundRecordFromJson(json);
    EXPECT_EQ(read.status().code(), absl::StatusCode::kInvalidArgument) << json;
    EXPECT_THAT(Message(read.status()), HasSubstr("round record: "));
  }
}

}  // namespace
}  // namespace muster
