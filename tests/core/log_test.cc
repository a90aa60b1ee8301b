#include "core/log.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"

namespace muster {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

const LogEvent kEvent{.severity = Severity::kWarning,
                      .name = "client_failed",
                      .message = "no \"memory\"\n\x1b[2Jleft",
                      .round = 3,
                      .client = 7};

TEST(Log, AJsonLineHasEveryField) {
  const auto time = std::chrono::system_clock::time_point(std::chrono::milliseconds(1'767'225'599'042));
  const std::string line = ToJsonLine(kEvent, "fed", time);
  EXPECT_EQ(std::count(line.begin(), line.end(), '\n'), 1);
  const auto json = nlohmann::json::parse(line);
  EXPECT_EQ(json["time"], "2025-12-31T23:59:59.042Z");
  EXPECT_EQ(json["level"], "warning");
  EXPECT_EQ(json["event"], "client_failed");
  EXPECT_EQ(json["federation"], "fed");
  EXPECT_EQ(json["round"], 3);
  EXPECT_EQ(json["client"], 7);
  EXPECT_EQ(json["message"], kEvent.message);
  EXPECT_FALSE(nlohmann::json::parse(ToJsonLine({.name = "x", .message = ""}, "", time)).contains("round"));
}

TEST(Log, ATextLineIsForPeopleAndSteersNoTerminal) {
  EXPECT_EQ(ToTextLine(kEvent), "WARNING: round 4, client 7: no \"memory\"  [2Jleft\n");
  EXPECT_EQ(ToTextLine({.name = "x", .message = "listening"}), "listening\n");
}

TEST(Log, BytesThatAreNoTextStillMakeALine) {
  const std::string line = ToJsonLine({.name = "x", .message = "\xff\xfe"}, "", {});
  EXPECT_TRUE(nlohmann::json::accept(line));
}

struct Lines {
  std::vector<std::string> lines;
  LogOptions Options() {
    return {.write = [this](std::string_view line) { lines.emplace_back(line); }};
  }
};

TEST(Log, LevelsLeaveOutWhatIsLessSevere) {
  Lines written;
  LogOptions options = written.Options();
  options.least = Severity::kWarning;
  Log log(std::move(options));
  std::vector<std::string> heard;
  log.SetListener([&](const LogEvent& event) { heard.push_back(event.name); });
  for (const Severity severity : {Severity::kDebug, Severity::kInfo, Severity::kWarning, Severity::kError}) {
    log.Write({.severity = severity, .name = std::string(SeverityName(severity)), .message = "m"});
  }
  EXPECT_THAT(written.lines, ElementsAre("WARNING: m\n", "ERROR: m\n"));
  EXPECT_THAT(heard, ElementsAre("info", "warning", "error"));
}

TEST(Log, WhatTheProgressLineTellsIsNotSaidTwice) {
  const LogEvent event{.name = "round_committed", .message = "m", .in_progress_line = true};
  Lines plain, asked, without, json;
  Log(plain.Options()).Write(event);
  EXPECT_THAT(plain.lines, IsEmpty());
  LogOptions options = asked.Options();
  options.least = Severity::kInfo;
  Log(std::move(options)).Write(event);
  EXPECT_EQ(asked.lines.size(), 1);
  options = without.Options();
  options.progress_line = false;
  Log(std::move(options)).Write(event);
  EXPECT_EQ(without.lines.size(), 1);
  options = json.Options();
  options.format = LogFormat::kJson;
  Log(std::move(options)).Write(event);
  EXPECT_EQ(json.lines.size(), 1);
}

TEST(Log, ABurstIsCutShort) {
  Lines written;
  Log log(written.Options());
  for (int i = 0; i < 100'000; ++i) log.Write({.name = "x", .message = "m"});
  EXPECT_GE(written.lines.size(), 100);
  EXPECT_LT(written.lines.size(), 50'000);
}

TEST(Log, LevelsHaveNames) {
  for (const char* name : {"debug", "info", "warning", "error"}) {
    const auto severity = SeverityNamed(name);
    ASSERT_TRUE(severity.ok());
    EXPECT_EQ(SeverityName(*severity), name);
  }
  EXPECT_FALSE(SeverityNamed("loud").ok());
}

}  // namespace
}  // namespace muster
