// The collective between GPUs: on a stand-in of GPUs everywhere, with the real libraries where they are, on
// real GPUs where there are some. collective_test.cc asks of it what it asks of all.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <barrier>
#include <functional>
#include <numeric>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "simulation/tcp_store.h"
#include "simulation/worker_group.h"
#include "tests/simulation/nccl_stand_in.h"

namespace muster {
namespace {

using ::testing::HasSubstr;

constexpr double kLongEnough = 120;  // no test waits for this deadline

// A group of threads that stand for processes of one machine.
class NcclGroup {
 public:
  explicit NcclGroup(const NcclApi& api, double deadline = kLongEnough)
      : api_(api),
        deadline_(deadline),
        keeper_(*TcpStore::Open({.host = "127.0.0.1", .port = 0, .keeper = true, .deadline_seconds = 20})) {}

  using Body = std::function<void(Collective&)>;
  // `body` gets the collective where it could be made, once all have tried; all stay until all are done. What
  // came of making it, by rank.
  std::vector<absl::Status> Run(int size, const Body& body) {
    std::vector<absl::Status> tried(static_cast<size_t>(size));
    std::vector<std::thread> processes;
    std::barrier all(size);
    for (int rank = 0; rank < size; ++rank) {
      processes.emplace_back([&, rank] {
        const auto store =
            TcpStore::Open({.host = "127.0.0.1", .port = keeper_->port(), .deadline_seconds = 20});
        ASSERT_TRUE(store.ok()) << store.status();
        const auto made = MakeNcclCollective(api_, {.store = store->get(),
                                                    .prefix = "group",
                                                    .rank = rank,
                                                    .size = size,
                                                    .local_rank = rank,
                                                    .deadline_seconds = deadline_});
        tried[static_cast<size_t>(rank)] = made.status();
        all.arrive_and_wait();
        if (made.ok()) body(**made);
        all.arrive_and_wait();
      });
    }
    for (std::thread& process : processes) process.join();
    return tried;
  }

 private:
  const NcclApi& api_;
  const double deadline_;
  const std::unique_ptr<TcpStore> keeper_;
};

class NcclTest : public ::testing::Test {
 protected:
  void SetUp() override { stand_in_.used_after_abort = stand_in_.used_on_another_device = 0; }
  void TearDown() override {
    stand_in_.devices = 8;
    stand_in_.breaking_rank = -1;
    stand_in_.reduces = nullptr;
    EXPECT_EQ(stand_in_.memory, 0);
    EXPECT_EQ(stand_in_.communicators, 0);
    EXPECT_EQ(stand_in_.used_after_abort, 0);
    EXPECT_EQ(stand_in_.used_on_another_device, 0);
  }
  NcclStandIn& stand_in_ = NcclStandIn::Get();
};

void ExpectAllMade(const std::vector<absl::Status>& made) {
  for (const absl::Status& status : made) EXPECT_TRUE(status.ok()) << status;
}

TEST_F(NcclTest, VectorsOfManyPiecesArriveWhole) {
  constexpr size_t kValues = 5'000'000;  // three pieces, the last of them short
  ExpectAllMade(NcclGroup(NcclStandIn::Api()).Run(2, [](Collective& collective) {
    std::vector<int64_t> values(kValues);
    std::iota(values.begin(), values.end(), collective.rank());
    ASSERT_TRUE(collective.ReduceSum(values, /*on_device=*/false).ok());
    size_t wrong = 0;
    for (size_t i = 0; i < kValues; ++i) {
      wrong += values[i] == static_cast<int64_t>(collective.rank() == 0 ? 2 * i + 1 : i + 1) ? 0 : 1;
    }
    EXPECT_EQ(wrong, 0U);
    std::string bytes(3 * (size_t{1} << 24) + 5, collective.rank() == 0 ? 'x' : '.');
    ASSERT_TRUE(collective.Broadcast(bytes).ok());
    EXPECT_EQ(bytes.find_first_not_of('x'), bytes.npos);
    EXPECT_TRUE(collective.Broadcast({}).ok());
  }));
}

TEST_F(NcclTest, WhatLiesOnADeviceIsReducedFromThere) {
  stand_in_.bytes_up = stand_in_.bytes_down = 0;
  ExpectAllMade(NcclGroup(NcclStandIn::Api()).Run(3, [](Collective& collective) {
    std::vector<int64_t> values = {1, 2, int64_t{1} << 60};
    ASSERT_TRUE(collective.ReduceSum(values, /*on_device=*/collective.rank() > 0).ok());
    const int64_t times = collective.rank() == 0 ? 3 : 1;
    EXPECT_THAT(values, ::testing::ElementsAre(times, 2 * times, times << 60));
  }));
  EXPECT_EQ(stand_in_.bytes_up, 24);  // process 0's
  EXPECT_EQ(stand_in_.bytes_down, 24);
}

TEST_F(NcclTest, AnErrorOfOneProcessEndsTheCallsOfAllAtOnce) {
  stand_in_.breaking_rank = 1;
  ExpectAllMade(NcclGroup(NcclStandIn::Api()).Run(3, [](Collective& collective) {
    std::vector<int64_t> values(10);
    const absl::Status status = collective.ReduceSum(values, /*on_device=*/false);
    if (collective.rank() == 1) {
      EXPECT_TRUE(absl::IsUnavailable(status)) << status;
      EXPECT_THAT(Message(status), HasSubstr("remote process exited (first line)"));
    } else {
      EXPECT_TRUE(absl::IsAborted(status)) << status;
      EXPECT_THAT(Message(status), HasSubstr("remote process exited"));
    }
    EXPECT_FALSE(collective.Broadcast({}).ok());  // it stays broken
  }));
}

TEST_F(NcclTest, WhoDoesNotComeIsNotWaitedForBeyondTheDeadline) {
  ExpectAllMade(NcclGroup(NcclStandIn::Api(), /*deadline=*/3).Run(2, [](Collective& collective) {
    std::string bytes = "model";
    if (collective.rank() == 0) {
      EXPECT_TRUE(absl::IsDeadlineExceeded(collective.Broadcast(bytes)));
      EXPECT_TRUE(absl::IsAborted(collective.Broadcast(bytes)));
    }
  }));
}

TEST_F(NcclTest, WhoIsLostToMessagesIsNotWaitedFor) {
  ExpectAllMade(NcclGroup(NcclStandIn::Api()).Run(3, [](Collective& collective) {
    if (collective.rank() == 2) return collective.Close();
    std::string bytes = "model";
    if (collective.rank() == 0) {
      EXPECT_TRUE(absl::IsUnavailable(collective.Receive(2).status()));
    }
    EXPECT_FALSE(collective.Broadcast(bytes).ok());
  }));
}

TEST_F(NcclTest, ClosingEndsACallThatWaits) {
  ExpectAllMade(NcclGroup(NcclStandIn::Api()).Run(2, [](Collective& collective) {
    if (collective.rank() == 0) {
      std::thread waiting([&collective] {
        std::string bytes = "model";
        EXPECT_TRUE(absl::IsUnavailable(collective.Broadcast(bytes)));
      });
      collective.Close();
      waiting.join();
    }
  }));
}

TEST_F(NcclTest, TwoProcessesOnOneDeviceAreRefusedByBoth) {
  stand_in_.devices = 1;
  const std::vector<absl::Status> made = NcclGroup(NcclStandIn::Api()).Run(2, [](Collective&) {});
  for (const absl::Status& status : made) {
    EXPECT_TRUE(absl::IsInvalidArgument(status)) << status;
    EXPECT_THAT(Message(status),
                HasSubstr("invalid usage (first line); every process needs a GPU of its own"));
  }
}

TEST_F(NcclTest, AMachineWithoutADeviceIsToldInOneLine) {
  stand_in_.devices = 0;
  const std::vector<absl::Status> made = NcclGroup(NcclStandIn::Api()).Run(1, [](Collective&) {});
  EXPECT_TRUE(absl::IsInvalidArgument(made[0])) << made[0];
  EXPECT_EQ(Message(made[0]),
            "nccl: no GPU was found on this machine (CUDA: no device is there); start every process where "
            "there is one for it, or use --collective gloo");
}

TEST_F(NcclTest, AWorkerWithoutADeviceEndsAllWithItsReason) {
  const auto options = [](int rank, int port) {
    WorkerGroupOptions options;
    options.place = {.rank = rank, .size = 2, .local_rank = rank, .host = "127.0.0.1", .port = port};
    options.collective = "nccl_stand_in";
    return options;
  };
  const auto zero = WorkerGroup::Open(options(0, 0));
  ASSERT_TRUE(zero.ok()) << zero.status();
  stand_in_.devices = 0;
  const auto one = WorkerGroup::Open(options(1, (*zero)->place().port));
  ASSERT_TRUE(one.ok()) << one.status();
  std::thread worker([&one] {
    const absl::Status formed = (*one)->Form();
    EXPECT_TRUE(absl::IsInvalidArgument(formed)) << formed;
    EXPECT_THAT(Message(formed), HasSubstr("no GPU was found"));
  });
  const absl::Status formed = (*zero)->Form();
  EXPECT_TRUE(absl::IsInvalidArgument(formed)) << formed;
  EXPECT_THAT(Message(formed), ::testing::StartsWith("worker 1 (on "));
  EXPECT_THAT(Message(formed), HasSubstr("no GPU was found"));
  worker.join();
}

// The libraries that are installed.
class InstalledNcclTest : public ::testing::Test {
 protected:
  void SetUp() override {
    const auto loaded = LoadNccl();
    if (!loaded.ok()) GTEST_SKIP() << Message(loaded.status());
    api_ = *loaded;
    if (api_->cudaGetDeviceCount(&devices_) != cudaSuccess) devices_ = 0;
  }
  const NcclApi* api_ = nullptr;
  int devices_ = 0;
};

TEST_F(InstalledNcclTest, HasNonBlockingCommunicators) {
  int version = 0;
  ASSERT_EQ(api_->ncclGetVersion(&version), ncclSuccess);
  EXPECT_GE(version, NCCL_VERSION(2, 14, 0));
}

TEST_F(InstalledNcclTest, ProcessesAgreeOnAnId) {
  const auto keeper =
      TcpStore::Open({.host = "127.0.0.1", .port = 0, .keeper = true, .deadline_seconds = 20});
  ASSERT_TRUE(keeper.ok()) << keeper.status();
  std::vector<std::string> ids(3);
  std::vector<std::thread> processes;
  for (int rank = 0; rank < 3; ++rank) {
    processes.emplace_back([&, rank] {
      const auto store =
          TcpStore::Open({.host = "127.0.0.1", .port = (*keeper)->port(), .deadline_seconds = 20});
      ASSERT_TRUE(store.ok()) << store.status();
      const auto id = ExchangeUniqueId(
          *api_, {.store = store->get(), .prefix = "group", .rank = rank, .size = 3, .deadline_seconds = 20});
      ASSERT_TRUE(id.ok()) << id.status();
      ids[static_cast<size_t>(rank)] = std::string(id->internal, sizeof id->internal);
    });
  }
  for (std::thread& process : processes) process.join();
  EXPECT_THAT(ids, ::testing::Each(ids[0]));
  EXPECT_NE(ids[0], std::string(sizeof(ncclUniqueId), '\0'));
  const auto other = ExchangeUniqueId(
      *api_,
      {.store = keeper->get(), .prefix = "another group", .rank = 0, .size = 1, .deadline_seconds = 20});
  ASSERT_TRUE(other.ok()) << other.status();
  EXPECT_NE(std::string(other->internal, sizeof other->internal), ids[0]);
}

TEST_F(InstalledNcclTest, WithoutAGpuSaysWhatToDo) {
  if (devices_ > 0) GTEST_SKIP() << "this machine has a GPU";
  const std::vector<absl::Status> made = NcclGroup(*api_).Run(2, [](Collective&) {});
  for (const absl::Status& status : made) {
    EXPECT_TRUE(absl::IsInvalidArgument(status)) << status;
    EXPECT_THAT(Message(status), HasSubstr("no GPU was found on this machine (CUDA: "));
    EXPECT_THAT(Message(status), HasSubstr("or use --collective gloo"));
    EXPECT_EQ(Message(status).find('\n'), std::string::npos);
  }
}

TEST_F(InstalledNcclTest, WhatItCannotConnectIsToldInOneLine) {
  if (devices_ > 0) GTEST_SKIP() << "this machine has a GPU";
  NcclApi api = NcclStandIn::Api();  // devices that the real NCCL does not see
  api.ncclGetUniqueId = api_->ncclGetUniqueId;
  api.ncclCommInitRankConfig = api_->ncclCommInitRankConfig;
  api.ncclCommGetAsyncError = api_->ncclCommGetAsyncError;
  api.ncclCommAbort = api_->ncclCommAbort;
  api.ncclGetErrorString = api_->ncclGetErrorString;
  api.ncclGetLastError = api_->ncclGetLastError;
  for (const absl::Status& status : NcclGroup(api).Run(2, [](Collective&) {})) {
    EXPECT_FALSE(status.ok());
    EXPECT_THAT(Message(status), ::testing::StartsWith("nccl: "));
    EXPECT_EQ(Message(status).find('\n'), std::string::npos) << status;
  }
  EXPECT_EQ(NcclStandIn::Get().memory, 0);
}

// Real GPUs: one process for each.
class GpuTest : public InstalledNcclTest {
 protected:
  void SetUp() override {
    InstalledNcclTest::SetUp();
    if (!IsSkipped() && devices_ == 0) GTEST_SKIP() << "this machine has no GPU";
  }
};

TEST_F(GpuTest, VectorsGoThroughTheDevices) {
  constexpr size_t kValues = 5'000'000;
  constexpr int64_t kLarge = int64_t{1} << 53;  // one more is no double
  ExpectAllMade(NcclGroup(*api_).Run(devices_, [this](Collective& collective) {
    std::vector<int64_t> values(kValues, kLarge + 1);
    ASSERT_TRUE(collective.ReduceSum(values, /*on_device=*/false).ok());
    EXPECT_THAT(values, ::testing::Each((collective.rank() == 0 ? devices_ : 1) * (kLarge + 1)));
    const size_t bytes_of_values = kValues * sizeof(int64_t);
    void* there = nullptr;
    ASSERT_EQ(api_->cudaMalloc(&there, bytes_of_values), cudaSuccess);
    ASSERT_EQ(api_->cudaMemcpyAsync(there, values.data(), bytes_of_values, cudaMemcpyHostToDevice, nullptr),
              cudaSuccess);
    while (api_->cudaStreamQuery(nullptr) == cudaErrorNotReady) std::this_thread::yield();
    const bool first = collective.rank() == 0;
    const std::span<int64_t> lying(static_cast<int64_t*>(there), kValues);
    ASSERT_TRUE(collective.ReduceSum(first ? std::span(values) : lying, /*on_device=*/!first).ok());
    if (first) {
      EXPECT_THAT(values, ::testing::Each((2 * devices_ - 1) * (kLarge + 1)));
    }
    ASSERT_EQ(api_->cudaFree(there), cudaSuccess);
    std::string bytes(3 * (size_t{1} << 24) + 5, collective.rank() == 0 ? 'x' : '.');
    ASSERT_TRUE(collective.Broadcast(bytes).ok());
    EXPECT_EQ(bytes.find_first_not_of('x'), bytes.npos);
  }));
}

TEST_F(GpuTest, TwoProcessesOnOneDeviceAreRefused) {
  const std::vector<absl::Status> made = NcclGroup(*api_).Run(devices_ + 1, [](Collective&) {});
  EXPECT_THAT(Message(made[0]), HasSubstr("every process needs a GPU of its own"));
}

}  // namespace
}  // namespace muster
