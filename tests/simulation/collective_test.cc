// Every registered collective, between threads that stand for processes.
#include "simulation/collective.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <barrier>
#include <csignal>
#include <functional>
#include <latch>
#include <numeric>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "simulation/tcp_store.h"

namespace muster {
namespace {

using ::testing::HasSubstr;

std::unique_ptr<TcpStore> MakeKeeper() {
  auto store = TcpStore::Open({.host = "127.0.0.1", .port = 0, .keeper = true, .deadline_seconds = 20});
  EXPECT_TRUE(store.ok()) << store.status();
  return *std::move(store);
}

class CollectiveTest : public ::testing::TestWithParam<std::string> {
 protected:
  // Runs `body` as every process of a group of `size`, once all are connected; all stay until all are done,
  // for who leaves may take along what others have not read yet. Skips where the machine has no GPUs for it.
  void RunGroup(int size, const std::function<void(Collective&)>& body, double deadline = 20) {
    const std::unique_ptr<TcpStore> keeper = MakeKeeper();
    std::vector<std::thread> processes;
    std::vector<std::string> lacks(static_cast<size_t>(size));
    std::barrier all(size);
    for (int rank = 0; rank < size; ++rank) {
      processes.emplace_back([&, rank] {
        auto store = TcpStore::Open({.host = "127.0.0.1", .port = keeper->port(), .deadline_seconds = 20});
        ASSERT_TRUE(store.ok()) << store.status();
        auto made = Registry<Collective>::Get().Create({.name = GetParam(), .options = {}},
                                                       {.store = store->get(),
                                                        .prefix = "test",
                                                        .rank = rank,
                                                        .size = size,
                                                        .local_rank = rank,
                                                        .deadline_seconds = deadline});
        all.arrive_and_wait();
        if (made.ok()) {
          EXPECT_EQ((*made)->rank(), rank);
          EXPECT_EQ((*made)->size(), size);
          body(**made);
        } else if (GetParam() == "nccl" && absl::IsInvalidArgument(made.status())) {
          lacks[static_cast<size_t>(rank)] = Message(made.status());
        } else {
          ADD_FAILURE() << made.status();
        }
        all.arrive_and_wait();
      });
    }
    for (std::thread& process : processes) process.join();
    if (!lacks[0].empty()) GTEST_SKIP() << lacks[0];
  }
};

TEST_P(CollectiveTest, BroadcastsTheBytesOfTheFirst) {
  RunGroup(3, [](Collective& collective) {
    std::string bytes(100000, collective.rank() == 0 ? 'x' : '.');
    bytes[7] = static_cast<char>('0' + collective.rank());
    EXPECT_TRUE(collective.Broadcast(bytes).ok());
    EXPECT_EQ(bytes[7], '0');
    EXPECT_EQ(bytes.find_first_not_of('x', 8), bytes.npos);
  });
}

TEST_P(CollectiveTest, SumsIntegersExactly) {
  RunGroup(3, [](Collective& collective) {
    constexpr int64_t kLarge = int64_t{1} << 53;  // one more is no double
    std::vector<int64_t> values(1000);
    std::iota(values.begin(), values.end(), collective.rank() == 0 ? kLarge : -collective.rank());
    const std::vector<int64_t> own = values;
    const absl::Status status = collective.ReduceSum(values, /*on_device=*/false);
    if (!collective.Reduces()) {
      EXPECT_TRUE(absl::IsUnimplemented(status)) << status;
      return;
    }
    EXPECT_TRUE(status.ok()) << status;
    for (size_t i = 0; i < 1000; ++i) {
      EXPECT_EQ(values[i], collective.rank() == 0 ? kLarge - 3 + 3 * static_cast<int64_t>(i) : own[i]);
    }
  });
}

TEST_P(CollectiveTest, MessagesOfAnyLengthArriveInOrder) {
  RunGroup(3, [](Collective& collective) {
    constexpr size_t kLengths[] = {0, 1, 100000, 3};
    if (collective.rank() != 0) {
      for (const size_t length : kLengths) {
        EXPECT_TRUE(collective.Send(0, std::string(length, static_cast<char>('0' + collective.rank()))).ok());
      }
      return;
    }
    for (const int from : {2, 1}) {
      for (const size_t length : kLengths) {
        const auto received = collective.Receive(from);
        ASSERT_TRUE(received.ok()) << received.status();
        EXPECT_EQ(*received, std::string(length, static_cast<char>('0' + from)));
      }
    }
  });
}

TEST_P(CollectiveTest, SeveralThreadsMaySendToOneProcess) {
  RunGroup(2, [](Collective& collective) {
    constexpr int kThreads = 4, kEach = 50;
    if (collective.rank() == 1) {
      std::vector<std::thread> senders;
      for (int t = 0; t < kThreads; ++t) {
        senders.emplace_back([&collective, t] {
          for (int i = 0; i < kEach; ++i) EXPECT_TRUE(collective.Send(0, absl::StrCat(t, "/", i)).ok());
        });
      }
      for (std::thread& sender : senders) sender.join();
      return;
    }
    std::vector<int> next(kThreads);
    for (int i = 0; i < kThreads * kEach; ++i) {
      const auto received = collective.Receive(1);
      ASSERT_TRUE(received.ok()) << received.status();
      const int thread = (*received)[0] - '0';
      EXPECT_EQ(*received, absl::StrCat(thread, "/", next[static_cast<size_t>(thread)]++));
    }
  });
}

TEST_P(CollectiveTest, OneThatLeavesIsNoticedAndTheOthersGoOnTalking) {
  RunGroup(3, [](Collective& collective) {
    if (collective.rank() == 1) return collective.Close();
    if (collective.rank() == 0) {
      EXPECT_TRUE(absl::IsUnavailable(collective.Receive(1).status()));
      EXPECT_TRUE(collective.Send(2, "still there?").ok());
      const auto answer = collective.Receive(2);
      ASSERT_TRUE(answer.ok()) << answer.status();
      EXPECT_EQ(*answer, "yes");
    } else {
      const auto question = collective.Receive(0);
      ASSERT_TRUE(question.ok()) << question.status();
      EXPECT_TRUE(collective.Send(0, "yes").ok());
    }
  });
}

TEST_P(CollectiveTest, SilenceEndsWithTheDeadlineForOnePeerOnly) {
  std::latch noticed(1), done(2);
  RunGroup(
      3,
      [&](Collective& collective) {
        if (collective.rank() == 1) return done.wait();  // says nothing
        if (collective.rank() == 0) {
          EXPECT_TRUE(absl::IsDeadlineExceeded(collective.Receive(1).status()));
          noticed.count_down();
          EXPECT_TRUE(collective.Send(2, "go on").ok());
        } else {
          noticed.wait();
          const auto word = collective.Receive(0);
          EXPECT_TRUE(word.ok()) << word.status();
        }
        done.count_down();
      },
      /*deadline=*/0.5);
}

TEST_P(CollectiveTest, ClosingEndsACallThatWaits) {
  RunGroup(2, [](Collective& collective) {
    if (collective.rank() == 1) {
      EXPECT_FALSE(collective.Receive(0).ok());
      return;
    }
    std::thread waiting([&collective] { EXPECT_FALSE(collective.Receive(1).ok()); });
    collective.Close();
    waiting.join();
    EXPECT_TRUE(absl::IsUnavailable(collective.Send(1, "late")));
  });
}

INSTANTIATE_TEST_SUITE_P(Every, CollectiveTest, ::testing::ValuesIn(Registry<Collective>::Get().Names()),
                         [](const auto& info) { return info.param; });

TEST(TcpStoreTest, KeepsValuesForAll) {
  const std::unique_ptr<TcpStore> keeper = MakeKeeper();
  const auto store = TcpStore::Open({.host = "127.0.0.1", .port = keeper->port(), .deadline_seconds = 20});
  ASSERT_TRUE(store.ok()) << store.status();
  EXPECT_FALSE(*keeper->Has("key"));
  ASSERT_TRUE((*store)->Set("key", std::string("a\0b", 3)).ok());
  EXPECT_EQ(*keeper->Get("key", 20), std::string("a\0b", 3));
  EXPECT_TRUE(*keeper->Has("key"));
  EXPECT_TRUE(absl::IsDeadlineExceeded(keeper->Get("other", 0.01).status()));
  EXPECT_EQ(*keeper->Count("counter"), 1);
  EXPECT_EQ(*(*store)->Count("counter"), 2);
}

TEST(TcpStoreTest, WhoEntersAGroupSurvivesPeersThatDieWhileItWrites) {
  MakeKeeper();
  EXPECT_EQ(raise(SIGPIPE), 0);  // what the write of a library that does not ask for EPIPE brings about
}

TEST(TcpStoreTest, SaysWhatIsWrongInOneLine) {
  const std::unique_ptr<TcpStore> keeper = MakeKeeper();
  const auto second = TcpStore::Open({.host = "127.0.0.1", .port = keeper->port(), .keeper = true});
  ASSERT_FALSE(second.ok());
  EXPECT_EQ(second.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(Message(second.status()), HasSubstr("choose another port"));
  EXPECT_EQ(Message(second.status()).find('\n'), std::string::npos);
}

TEST(TcpStoreTest, AKeeperThatIsNotThereIsWaitedForNoLongerThanTold) {
  int port = 0;
  { port = MakeKeeper()->port(); }
  const auto store = TcpStore::Open({.host = "127.0.0.1", .port = port, .deadline_seconds = 1});
  ASSERT_TRUE(absl::IsUnavailable(store.status())) << store.status();
  EXPECT_THAT(Message(store.status()), HasSubstr(absl::StrCat("127.0.0.1:", port)));
  EXPECT_EQ(Message(store.status()).find('\n'), std::string::npos);
}

}  // namespace
}  // namespace muster
