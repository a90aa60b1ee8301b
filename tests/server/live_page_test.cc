#include "server/monitoring/live_page.h"

#include <gmock/gmock.h>
#include <httplib.h>

#include <nlohmann/json.hpp>
#include <thread>

#include "absl/strings/str_cat.h"
#include "core/file.h"
#include "server/monitoring/http_server.h"
#include "server/monitoring/monitoring_endpoint.h"

namespace muster {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using Json = nlohmann::json;

RoundRecord Committed(int64_t round, bool tested = true) {
  RoundRecord record;
  record.round = round;
  record.reason = "fixed";
  record.cohort = {1, 2, 3};
  record.accepted = 2;
  record.train_loss = 1.0 / static_cast<double>(round + 1);
  record.totals.upload_bytes = 100 * (round + 1);
  if (tested) record.test = Evaluation{.samples = 10, .loss = 0.5, .accuracy = 0.25, .class_recall = {0.25}};
  return record;
}

void Start(LivePage& page, int64_t first_round = 0) {
  page.On(RunStarted{
      .name = "fed", .first_round = first_round, .rounds = 9, .clients = 5, .parameters = 7, .totals = {}});
}

ClientFinished Accepted(ClientId client) {
  ClientFinished event;
  event.client = client;
  event.accepted = true;
  return event;
}
ClientFinished Failed(ClientId client, const std::string& message) {
  ClientFinished event;
  event.client = client;
  event.failure = {.client = client, .stage = "train", .code = "INTERNAL", .message = message};
  return event;
}

Json Whole(const LivePage& page) {
  PageCursor cursor;
  return Json::parse(page.Changes(cursor));
}

TEST(LivePage, ANewReaderGetsTheWholeState) {
  LivePage page("1.2", /*steerable=*/false);
  Start(page);
  page.On(RoundStarted{0, 3, "warm-up", {1, 2, 3}});
  page.On(Accepted(2));
  page.On(Failed(3, "no memory"));
  const Json state = Whole(page);
  EXPECT_EQ(state["whole"], true);
  EXPECT_EQ(state["run"]["name"], "fed");
  EXPECT_EQ(state["run"]["rounds"], 9);
  EXPECT_EQ(state["run"]["steerable"], false);
  EXPECT_EQ(state["now"]["phase"], "train");
  EXPECT_EQ(state["now"]["round"], 1);
  EXPECT_EQ(state["now"]["reason"], "warm-up");
  EXPECT_EQ(state["now"]["states"], Json({{"training", 1}, {"accepted", 1}, {"failed", 1}}));
  EXPECT_EQ(state["now"]["clients"], Json::parse(R"([[1,"training"],[2,"accepted"],[3,"failed"]])"));
  EXPECT_EQ(state["failures"]["total"], 1);
  EXPECT_EQ(state["failures"]["last"][0]["message"], "no memory");
  for (const char* part : {"search", "rounds", "tests"}) EXPECT_FALSE(state.contains(part)) << part;
}

TEST(LivePage, AReaderIsToldOnlyWhatChanged) {
  LivePage page("1", false);
  Start(page);
  page.On(RoundStarted{0, 3, "fixed", {1, 2, 3}});
  page.On(RoundCommitted{Committed(0)});
  PageCursor cursor;
  page.Changes(cursor);
  EXPECT_EQ(page.Changes(cursor), "");
  page.On(RoundStarted{1, 3, "fixed", {1, 2, 3}});
  Json change = Json::parse(page.Changes(cursor));
  EXPECT_TRUE(change.contains("now"));
  EXPECT_EQ(change.size(), 1) << change;
  page.On(RoundCommitted{Committed(1, /*tested=*/false)});
  change = Json::parse(page.Changes(cursor));
  EXPECT_EQ(change["rounds"]["from"], 1);
  EXPECT_EQ(change["rounds"]["points"], Json::parse("[[2.0, 200.0, 0.5, 3.0, 2.0]]"));
  EXPECT_FALSE(change.contains("tests"));
  EXPECT_FALSE(change.contains("run"));
}

// What a reader that follows `cursor` has after each message is what a new one is given.
TEST(LivePage, CurvesStayBoundedAndEveryReaderHasTheSame) {
  LivePage page("1", false);
  Start(page);
  PageCursor cursor;
  Json held = Json::array();
  Json last;
  for (int64_t round = 0; round < 5000; ++round) {
    page.On(RoundCommitted{Committed(round)});
    if (round % 7 != 0 && round < 4990) continue;
    const Json change = Json::parse(page.Changes(cursor));
    const Json& tests = change["tests"];
    if (tests["from"] == 0) held = Json::array();
    ASSERT_EQ(tests["from"], held.size()) << round;
    for (const Json& point : tests["points"]) held.push_back(point);
    last = tests["last"];
  }
  const Json whole = Whole(page)["tests"];
  EXPECT_EQ(whole["points"], held);
  EXPECT_EQ(whole["last"], last);
  EXPECT_EQ(last[0], 5000);
  EXPECT_LE(held.size(), 1024);
  EXPECT_GE(held.size(), 512);
  EXPECT_EQ(held[0][0], 1);
}

TEST(LivePage, ClientsOfALargeRoundAreOnlyCounted) {
  LivePage page("1", false);
  Start(page);
  std::vector<ClientId> cohort(10'000);
  for (size_t i = 0; i < cohort.size(); ++i) cohort[i] = static_cast<ClientId>(i);
  page.On(RoundStarted{0, 10'000, "fixed", cohort});
  page.On(Accepted(4));
  const Json now = Whole(page)["now"];
  EXPECT_TRUE(now["clients"].empty());
  EXPECT_EQ(now["states"]["training"], 9999);
  EXPECT_EQ(now["states"]["accepted"], 1);
}

TEST(LivePage, ConnectedClientsSayWhatTheyDo) {
  LivePage page("1", false);
  Start(page);
  page.On(RoundStarted{0, 3, "fixed", {1, 2, 3}});
  page.On(Accepted(1));
  page.SetMoment([] {
    return Moment{.phase = "train",
                  .connected = {{"uploading", 1}},
                  .clients = {{1, "idle"}, {2, "uploading"}, {3, "gone"}}};
  });
  const Json now = Whole(page)["now"];
  EXPECT_EQ(now["clients"], Json::parse(R"([[1,"accepted"],[2,"uploading"],[3,"gone"]])"));
  EXPECT_EQ(now["connected"], Json({{"uploading", 1}}));
}

TEST(LivePage, ARunThatGoesOnShowsTheRoundsOfEarlierProcesses) {
  const std::vector<RoundRecord> earlier = {Committed(0), Committed(1)};
  LivePage page("1", false, earlier);
  Start(page, /*first_round=*/2);
  const Json state = Whole(page);
  EXPECT_EQ(state["rounds"]["points"].size(), 2);
  EXPECT_EQ(state["now"]["committed"], 2);
}

TEST(LivePage, APeersWordsAreCutShortAndKeptAsText) {
  LivePage page("1", false);
  Start(page);
  page.On(RoundStarted{0, 3, "fixed", {1, 2, 3}});
  page.On(Failed(1, "<script>alert(1)</script>\xff\n"));
  page.On(Failed(2, std::string(100'000, 'x')));
  for (int i = 0; i < 1000; ++i) page.On(Failed(3, "again"));
  const Json failures = Whole(page)["failures"];
  EXPECT_EQ(failures["total"], 1002);
  EXPECT_EQ(failures["last"].size(), 40);
  LivePage other("1", false);
  Start(other);
  other.On(Failed(1, "<script>alert(1)</script>\xff"));
  other.On(Failed(2, std::string(100'000, 'x')));
  const Json last = Whole(other)["failures"]["last"];
  EXPECT_EQ(last[0]["message"].get<std::string>().size(), 300);
  EXPECT_EQ(last[1]["message"], "<script>alert(1)</script>\xEF\xBF\xBD");
}

TEST(LivePage, TheLogIsATail) {
  LivePage page("1", false);
  PageCursor cursor;
  page.Changes(cursor);
  for (int i = 0; i < 500; ++i) page.Add({.name = "x", .message = absl::StrCat("line ", i)});
  const Json late = Json::parse(page.Changes(cursor))["log"];
  EXPECT_EQ(late.size(), 200);
  EXPECT_EQ(late.back()[2], "line 499");
  page.Add({.severity = Severity::kWarning, .name = "x", .message = "one\nmore", .round = 3, .client = 7});
  const Json next = Json::parse(page.Changes(cursor))["log"];
  ASSERT_EQ(next.size(), 1);
  EXPECT_EQ(next[0][1], "warning");
  EXPECT_EQ(next[0][2], "round 4, client 7: one more");
}

TEST(LivePage, NextWaitsForNewsAndEndsWithTheLast) {
  LivePage page("1", false);
  Start(page);
  PageCursor cursor;
  ASSERT_TRUE(page.Next(cursor).has_value());
  std::optional<std::string> news;
  std::thread reader([&] { news = page.Next(cursor); });
  page.On(RoundCommitted{Committed(0)});
  reader.join();
  ASSERT_TRUE(news.has_value());
  EXPECT_THAT(*news, HasSubstr("\"rounds\""));
  page.On(RunFinished{1, "rounds"});
  page.Close();
  const std::optional<std::string> last = page.Next(cursor);
  ASSERT_TRUE(last.has_value());
  EXPECT_EQ(Json::parse(*last)["run"]["finished"], "rounds");
  EXPECT_EQ(page.Next(cursor), std::nullopt);
}

TEST(ServerSentEvent, EveryLineOfAMessageIsData) {
  EXPECT_EQ(ServerSentEvent("a"), "data: a\n\n");
  EXPECT_EQ(ServerSentEvent("a\nid: 7\r\n"), "data: a\ndata: id: 7\ndata: \n\n");
}

class PageEndpoint : public ::testing::Test {
 protected:
  void Open(const std::string& token = "") {
    PageOptions page{.run_directory = ::testing::TempDir() + "no-such-run", .token = token};
    page.control = [this](const PageCommand& command) -> absl::Status {
      commands_.push_back(command.action);
      return command.action == "stop" ? absl::UnavailableError("no engine") : absl::OkStatus();
    };
    auto opened = MonitoringEndpoint::Open("127.0.0.1:0", "fed", "1", &page);
    ASSERT_TRUE(opened.ok()) << opened.status();
    endpoint_ = *std::move(opened);
    Start(*endpoint_->page());
  }
  httplib::Client Client() const {
    return httplib::Client(endpoint_->url().substr(0, endpoint_->url().size() - 1));
  }
  int Post(const std::string& authorization, const std::string& body) const {
    const auto answer =
        Client().Post("/control", httplib::Headers{{"Authorization", authorization}}, body, "text/plain");
    return answer ? answer->status : 0;
  }

  std::vector<std::string> commands_;
  std::unique_ptr<MonitoringEndpoint> endpoint_;
};

TEST_F(PageEndpoint, ServesThePageWithAStrictPolicy) {
  Open();
  const auto page = Client().Get("/");
  ASSERT_TRUE(page);
  EXPECT_EQ(page->status, 200);
  EXPECT_THAT(page->get_header_value("Content-Security-Policy"),
              HasSubstr("default-src 'none'; script-src 'self'"));
  EXPECT_EQ(page->body.find("http"), std::string::npos) << "nothing from elsewhere";
  for (const char* path : {"/live.js", "/plots.js", "/chart.js", "/pages.css", "/metrics", "/healthz"}) {
    EXPECT_EQ(Client().Get(path)->status, 200) << path;
  }
  EXPECT_EQ(Json::parse(Client().Get("/state")->body)["run"]["name"], "fed");
  EXPECT_EQ(Client().Get("/report")->status, 503);  // there is no run directory yet
}

TEST_F(PageEndpoint, ReadersHearEventsUntilTheEnd) {
  Open();
  std::string heard;
  std::atomic<bool> greeted{false};
  std::thread reader([&] {
    Client().Get("/events", [&](const char* data, size_t size) {
      heard.append(data, size);
      greeted = true;
      return true;
    });
  });
  while (!greeted) std::this_thread::yield();
  endpoint_->On(RoundCommitted{Committed(0)});
  endpoint_->On(RunFinished{1, "rounds"});
  endpoint_.reset();
  reader.join();
  EXPECT_THAT(heard, ::testing::StartsWith("data: {\"whole\":true"));
  EXPECT_THAT(heard, HasSubstr("\"finished\":\"rounds\""));
  EXPECT_THAT(heard, ::testing::EndsWith("\n\n"));
}

// Readers that open the stream and take nothing: the engine, other readers and the end go on without them.
TEST_F(PageEndpoint, ReadersThatStallHinderNobodyAndAreBounded) {
  Open();
  const auto stalled = [this] {
    const int fd = socket(AF_INET, SOCK_STREAM, 0);
    const int small = 1024;
    setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof(small));
    sockaddr_in address{};
    address.sin_family = AF_INET;
    const std::string& url = endpoint_->url();
    address.sin_port = htons(static_cast<uint16_t>(std::stoi(url.substr(url.rfind(':') + 1))));
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    EXPECT_EQ(connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof(address)), 0);
    const std::string request = "GET /events HTTP/1.1\r\nHost: x\r\n\r\n";
    EXPECT_EQ(send(fd, request.data(), request.size(), 0), static_cast<ssize_t>(request.size()));
    return fd;
  };
  std::vector<int> readers;
  for (int i = 0; i < 16; ++i) readers.push_back(stalled());
  // Once all sixteen are served, a further one is told to come later.
  int status = 200;
  while (status == 200) {
    status = 0;
    const auto late = Client().Get(
        "/events",
        [&](const httplib::Response& response) {
          status = response.status;
          return false;
        },
        [](const char*, size_t) { return false; });
  }
  EXPECT_EQ(status, 503);
  for (int64_t round = 0; round < 20'000; ++round) endpoint_->On(RoundCommitted{Committed(round)});
  EXPECT_EQ(Client().Get("/metrics")->status, 200);
  EXPECT_EQ(Json::parse(Client().Get("/state")->body)["now"]["committed"], 20'000);
  endpoint_.reset();
  for (const int fd : readers) close(fd);
}

TEST_F(PageEndpoint, OnlyTheTokenSteers) {
  const std::string token = "0123456789abcdef";
  Open(token);
  EXPECT_EQ(Json::parse(Client().Get("/state")->body)["run"]["steerable"], true);
  EXPECT_EQ(Post("", R"({"action":"pause"})"), 401);
  EXPECT_EQ(Post("Bearer 0123456789abcdee", R"({"action":"pause"})"), 401);
  EXPECT_EQ(Post(token, R"({"action":"pause"})"), 401);
  EXPECT_THAT(commands_, ElementsAre());
  const std::string good = absl::StrCat("Bearer ", token);
  EXPECT_EQ(Post(good, R"({"action":"pause"})"), 200);
  EXPECT_EQ(Post(good, R"({"action":"stop"})"), 409);
  EXPECT_EQ(Post(good, "pause"), 400);
  EXPECT_EQ(Post(good, R"({"action":7})"), 400);
  EXPECT_THAT(commands_, ElementsAre("pause", "stop"));
}

TEST_F(PageEndpoint, WithoutATokenThereIsNothingToSteer) {
  Open();
  EXPECT_EQ(Post("Bearer ", R"({"action":"pause"})"), 404);
  EXPECT_THAT(commands_, ElementsAre());
}

}  // namespace
}  // namespace muster
