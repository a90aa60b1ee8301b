// The client against a coordinator that misbehaves on request, with a trainer that does as the test tells it.
#ifndef MUSTER_TESTS_EDGE_FIXTURE_H_
#define MUSTER_TESTS_EDGE_FIXTURE_H_

#include <gtest/gtest.h>

#include <atomic>
#include <condition_variable>
#include <deque>
#include <filesystem>
#include <mutex>
#include <thread>

#include "absl/strings/str_cat.h"
#include "client/edge/edge_client.h"
#include "tests/edge/fake_coordinator.h"

namespace muster {

inline Layout MakeLayout(int64_t size) {
  Layout layout;
  layout.Add("weight", {size}, true);
  return layout;
}

// delta = learning_rate_factor * (1, 2, 3, ...) - global; remembers how many of its updates were accepted.
class FakeTrainer final : public Trainer {
 public:
  explicit FakeTrainer(int64_t size) : layout_(MakeLayout(size)) {}

  const Layout& layout() const override { return layout_; }
  int64_t num_samples() const override { return 5; }
  std::vector<int64_t> label_histogram() const override { return {2, 3}; }
  absl::StatusOr<TrainingResult> Train(const TrainingJob& job, ConstParameters global, std::span<float> delta,
                                       State& memory) override {
    {
      std::unique_lock lock(mutex_);
      jobs_.push_back(job);
      changed_.notify_all();
      if (held_) {
        while (held_ && !job.cancelled()) changed_.wait_for(lock, std::chrono::milliseconds(1));
        if (job.cancelled()) return absl::CancelledError("cancelled");
      }
      if (!failure_.ok()) return failure_;
    }
    for (size_t i = 0; i < global.size(); ++i) {
      delta[i] = static_cast<float>(job.learning_rate_factor * static_cast<double>(i + 1)) - global[i];
    }
    {
      const std::lock_guard lock(mutex_);
      remembered_.push_back(memory.numbers["accepted"]);
    }
    memory.numbers["accepted"] += 1;
    TrainingResult result;
    result.num_samples = 5;
    result.steps = 3;
    result.train_loss = 0.25;
    result.numbers["groups"] = {1, 2};
    result.extras["control"] = {4, 5, 6};
    return result;
  }

  void Hold() {
    const std::lock_guard lock(mutex_);
    held_ = true;
  }
  void Release() {
    const std::lock_guard lock(mutex_);
    held_ = false;
    changed_.notify_all();
  }
  void FailWith(const absl::Status& status) {
    const std::lock_guard lock(mutex_);
    failure_ = status;
  }
  void WaitForJobs(size_t count) {
    std::unique_lock lock(mutex_);
    EXPECT_TRUE(changed_.wait_for(lock, kHang, [&] { return jobs_.size() >= count; }));
  }
  std::vector<TrainingJob> jobs() {
    const std::lock_guard lock(mutex_);
    return jobs_;
  }
  // What the memory said at each training that ran to its end.
  std::vector<double> remembered() {
    const std::lock_guard lock(mutex_);
    return remembered_;
  }

 private:
  const Layout layout_;
  std::mutex mutex_;
  std::condition_variable changed_;
  bool held_ = false;
  absl::Status failure_;
  std::vector<TrainingJob> jobs_;
  std::vector<double> remembered_;
};

class EdgeClientTest : public ::testing::Test {
 protected:
  static constexpr int64_t kSize = 5000;

  void SetUp() override {
    state_ = absl::StrCat(::testing::TempDir(), "edge-", getpid(), "-",
                          ::testing::UnitTest::GetInstance()->current_test_info()->name());
    std::filesystem::remove_all(state_);
  }
  void TearDown() override {
    static_cast<void>(Stop());
    std::filesystem::remove_all(state_);
  }

  EdgeOptions Options(const std::string& address) {
    EdgeOptions options;
    options.coordinator = address;
    options.identity = "tester";
    options.client = 3;
    options.state_dir = state_;
    options.first_backoff_seconds = 0.01;
    options.most_backoff_seconds = 0.05;
    options.on_event = [this](const EdgeEvent& event) {
      const std::lock_guard lock(events_mutex_);
      events_.push_back(event);
      events_changed_.notify_all();
    };
    return options;
  }
  void Start(const EdgeOptions& options) {
    auto client = EdgeClient::Create(trainer_, *feedback_, options);
    ASSERT_TRUE(client.ok()) << client.status();
    client_ = *std::move(client);
    runner_ = std::thread([this] { result_ = client_->Run(); });
  }
  // Stops the client if it runs, and gives what Run returned.
  absl::Status Stop() {
    if (client_) client_->Stop();
    return Join();
  }
  absl::Status Join() {
    if (runner_.joinable()) runner_.join();
    client_.reset();
    return result_;
  }
  v1::ClientMessage Expect(v1::ClientMessage::MessageCase which) {
    v1::ClientMessage message = coordinator_->Next();
    EXPECT_EQ(message.message_case(), which) << message.ShortDebugString();
    return message;
  }
  template <typename Event>
  Event WaitFor() {
    std::unique_lock lock(events_mutex_);
    std::optional<Event> found;
    EXPECT_TRUE(events_changed_.wait_for(lock, kHang, [&] {
      while (!events_.empty() && !found) {
        if (const auto* event = std::get_if<Event>(&events_.front())) found = *event;
        events_.pop_front();
      }
      return found.has_value();
    }));
    return found.value_or(Event());
  }
  // The path of one round up to the client's Ready.
  v1::Ready TrainRound(int64_t round) {
    coordinator_->Offer(coordinator_->MakeOffer(round, model_, trainer_.layout()));
    EXPECT_EQ(Expect(v1::ClientMessage::kAccept).accept().round(), round);
    const v1::Ready ready = Expect(v1::ClientMessage::kReady).ready();
    EXPECT_EQ(ready.round(), round);
    return ready;
  }

  std::string state_;
  FakeTrainer trainer_{kSize};
  const std::unique_ptr<Compressor> compressor_ = *Registry<Compressor>::Get().Create({"identity", {}}, {});
  const std::unique_ptr<ErrorFeedback> feedback_ = *Registry<ErrorFeedback>::Get().Create(
      {"none", {}}, {.compressor = compressor_.get(), .layout = &trainer_.layout()});
  const std::vector<float> model_ = std::vector<float>(kSize, 0.5F);
  std::unique_ptr<FakeCoordinator> coordinator_ = std::make_unique<FakeCoordinator>();
  std::unique_ptr<EdgeClient> client_;
  std::thread runner_;
  absl::Status result_;
  std::mutex events_mutex_;
  std::condition_variable events_changed_;
  std::deque<EdgeEvent> events_;
};

}  // namespace muster

#endif  // MUSTER_TESTS_EDGE_FIXTURE_H_
