// A coordinator's service on a free port of the loopback, with a clock that the test holds, and rounds
// without an engine.
#ifndef MUSTER_TESTS_SERVICE_FIXTURE_H_
#define MUSTER_TESTS_SERVICE_FIXTURE_H_

#include <unistd.h>

#include <atomic>
#include <chrono>
#include <filesystem>
#include <functional>
#include <future>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <variant>
#include <vector>

#include "absl/strings/str_cat.h"
#include "compression/compressor.h"
#include "core/exact_sum.h"
#include "core/mutex.h"
#include "gtest/gtest.h"
#include "server/service/remote_client_pool.h"
#include "server/service/server.h"
#include "tests/service/test_client.h"

namespace muster::test {

class ServiceTest : public ::testing::Test {
 protected:
  void SetUp() override {
    folder_ = absl::StrCat(::testing::TempDir(), "/muster_service_", ::getpid(), "_",
                           ::testing::UnitTest::GetInstance()->current_test_info()->name());
    std::filesystem::remove_all(folder_);
    std::filesystem::create_directories(folder_);
    layout_.Add("weight", {40, 50}, true);
    auto journal = Journal::Create(folder_, Durability::kProcess);
    ASSERT_TRUE(journal.ok()) << journal.status();
    journal_ = *std::move(journal);
    options_.federation = "run-1";
    options_.name = "test";
    options_.clients = 1000;
    options_.now = [this] { return now_.load(); };
    Start();
  }
  void TearDown() override {
    Stop();
    journal_ = nullptr;
    std::filesystem::remove_all(folder_);
  }

  void Start(std::span<const RoundRecord> records = {}) {
    auto spool = UpdateSpool::Open(folder_ + "/journal/spool", Durability::kProcess);
    ASSERT_TRUE(spool.ok()) << spool.status();
    auto pool = RemoteClientPool::Start(options_, layout_, *journal_, *std::move(spool), records);
    ASSERT_TRUE(pool.ok()) << pool.status();
    pool_ = *std::move(pool);
    auto server = CoordinatorServer::Start("127.0.0.1:0", nullptr, *pool_, [](std::string_view) {});
    ASSERT_TRUE(server.ok()) << server.status();
    server_ = *std::move(server);
  }
  // Ends a round that is still in flight.
  void Stop() {
    if (pool_) pool_->Abandon();
    if (running_.valid()) running_.wait();
    running_ = {};
    server_ = nullptr;
    pool_ = nullptr;
  }

  std::unique_ptr<TestClient> Client(const std::string& identity) const {
    return std::make_unique<TestClient>(server_->address(), identity);
  }
  // One that has joined with this number.
  std::unique_ptr<TestClient> Joined(int64_t number) const {
    auto client = Client(absl::StrCat("client-", number));
    client->Join(number);
    return client;
  }

  Task MakeTask(int64_t round = 0) const {
    Task task;
    task.round = round;
    task.seed = 7;
    task.model = std::make_shared<const std::vector<float>>(static_cast<size_t>(layout_.size), 0.25F);
    return task;
  }
  // Runs the round in a thread. What the sink takes is what could be folded into a sum.
  void StartRound(const Task& task, const std::vector<ClientId>& cohort) {
    outcomes_.clear();
    running_ = std::async(std::launch::async, [this, task, cohort] {
      ExactSum sum(layout_.size, 1e6);
      return pool_->Run(
          task, cohort,
          [&](Outcome outcome) {
            const auto* update = std::get_if<Update>(&outcome);
            const absl::Status taken = update == nullptr ? absl::CancelledError("no update")
                                                         : FoldPayload(update->payload, 1, layout_, sum);
            const ClientId client =
                update != nullptr ? update->client : std::get<ClientFailure>(outcome).client;
            const MutexLock lock(&mutex_);
            EXPECT_FALSE(outcomes_.contains(client)) << "two answers of client " << client;
            taken_[client] = taken.ok();
            if (update != nullptr) folded_[client] = std::string(update->payload.view());
            outcomes_.emplace(client, std::move(outcome));
            return taken;
          },
          [] { return false; });
    });
  }
  absl::Status FinishRound() {
    const absl::Status status = running_.get();
    running_ = {};
    return status;
  }
  // The failure of `client`; one with empty stage if there is none.
  ClientFailure FailureOf(ClientId client) {
    const MutexLock lock(&mutex_);
    const auto found = outcomes_.find(client);
    if (found == outcomes_.end() || !std::holds_alternative<ClientFailure>(found->second)) return {};
    return std::get<ClientFailure>(found->second);
  }
  // The payload of `client` that was folded.
  std::string Folded(ClientId client) {
    const MutexLock lock(&mutex_);
    return folded_[client];
  }
  bool Taken(ClientId client) {
    const MutexLock lock(&mutex_);
    const auto found = taken_.find(client);
    return found != taken_.end() && found->second;
  }

  // Time goes by, and the pool looks at the clock.
  void Pass(double seconds) {
    now_ = now_ + seconds;
    pool_->Tick();
  }
  // Until what another thread is doing is done.
  static void Await(const std::function<bool()>& done) {
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(30);
    while (!done()) {
      ASSERT_LT(std::chrono::steady_clock::now(), end) << "it never happened";
      std::this_thread::yield();
    }
  }
  void AwaitConnected(int64_t clients) {
    Await([&] { return pool_->connected() == clients; });
  }
  std::string StateOf(ClientId client) const {
    v1::Status status;
    pool_->Describe(/*clients=*/true, status);
    for (const v1::ClientStatus& one : status.clients()) {
      if (one.client() == client) return one.state();
    }
    return "";
  }
  bool InRound() const {
    v1::Status status;
    pool_->Describe(/*clients=*/false, status);
    return status.cohort() > 0;
  }

  // An honest update: every element of the delta is `value`.
  std::string Bytes(float value) const {
    std::string bytes = PayloadHeader(/*codec=*/1, layout_);
    const std::vector<float> delta(static_cast<size_t>(layout_.size), value);
    bytes.append(reinterpret_cast<const char*>(delta.data()), delta.size() * sizeof(float));
    return bytes;
  }

  std::string folder_;
  Layout layout_;
  std::unique_ptr<Journal> journal_;
  PoolOptions options_;
  std::atomic<double> now_{1000};
  std::unique_ptr<RemoteClientPool> pool_;
  std::unique_ptr<CoordinatorServer> server_;
  std::future<absl::Status> running_;
  Mutex mutex_;
  std::map<ClientId, Outcome> outcomes_;
  std::map<ClientId, bool> taken_;
  std::map<ClientId, std::string> folded_;  // payloads as the sink saw them
};

}  // namespace muster::test

#endif  // MUSTER_TESTS_SERVICE_FIXTURE_H_
