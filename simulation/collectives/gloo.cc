// Collectives between CPUs: LibTorch's ProcessGroupGloo.
#include <pthread.h>
#include <sched.h>

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <cstdlib>
#include <list>
#include <mutex>
#include <set>
#include <thread>
#include <torch/csrc/distributed/c10d/PrefixStore.hpp>
#include <torch/csrc/distributed/c10d/ProcessGroupGloo.hpp>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "simulation/collective.h"
#include "simulation/tcp_store_handle.h"

namespace muster {
namespace {

using Clock = std::chrono::steady_clock;
// Only a concrete group is ever named: its bases differ between LibTorch 1.13 and 2.x.
using Group = c10d::ProcessGroupGloo;

// Threads that are started meanwhile yield to others: they do not drive a thread off its processor when they
// wake up. Gloo's thread spins for as long as somebody else holds a connection's lock; if it has just driven
// away that somebody, in the middle of sending, it spins until its time slice is over.
class StartsYieldingThreads {
 public:
  StartsYieldingThreads() {
    ::pthread_getschedparam(::pthread_self(), &policy_, &parameters_);
    if (policy_ == SCHED_OTHER) ::pthread_setschedparam(::pthread_self(), SCHED_BATCH, &parameters_);
  }
  ~StartsYieldingThreads() { ::pthread_setschedparam(::pthread_self(), policy_, &parameters_); }
  StartsYieldingThreads(const StartsYieldingThreads&) = delete;
  StartsYieldingThreads& operator=(const StartsYieldingThreads&) = delete;

 private:
  int policy_ = SCHED_OTHER;
  sched_param parameters_{};
};

// Where peers reach this process: the interface that GLOO_SOCKET_IFNAME names, the loopback for a group on
// one machine, or the address of the host's name.
auto MakeDevice(const std::string& store_host) {
  const StartsYieldingThreads its_own;
  const char* interface = std::getenv("GLOO_SOCKET_IFNAME");
  if (interface != nullptr && *interface != '\0') return Group::createDeviceForInterface(interface);
  if (store_host == "localhost" || store_host.starts_with("127.")) {
    return Group::createDeviceForHostname("127.0.0.1");
  }
  return Group::createDefaultDevice();
}

// Borrows; Gloo neither keeps nor, for what is sent, changes it.
template <typename T>
at::Tensor Borrow(const T* data, size_t size, at::ScalarType type) {
  return at::from_blob(const_cast<T*>(data), {static_cast<int64_t>(size)}, at::TensorOptions(type));
}

// Gloo takes a deadline that passes in one call for the end of the whole group. Here it shall cost one peer
// only: a thread aborts the one call instead. And a send to a process that has died may never end by itself:
// whoever finds out that it is gone abandons it.
class Deadlines {
 public:
  explicit Deadlines(double seconds) : seconds_(seconds), thread_([this] { Run(); }) {}
  ~Deadlines() {
    {
      const std::lock_guard lock(mutex_);
      done_ = true;
    }
    changed_.notify_all();
    thread_.join();
  }

  // Waits for `work`, a send to `peer` or a receive from it. Whether it was finished: false if it was
  // aborted. Throws what Gloo throws.
  template <typename Work>
  bool Wait(int peer, const Work& work) {
    constexpr std::chrono::hours kNever(24 * 365);
    std::list<Call>::iterator call;
    {
      const std::lock_guard lock(mutex_);
      const auto abort = [work] { work->abort(); };
      if (aborted_ || abandoned_.contains(peer)) abort();
      calls_.push_back(
          {peer, Clock::now() + std::chrono::milliseconds(static_cast<int64_t>(seconds_ * 1e3)), abort});
      call = std::prev(calls_.end());
    }
    struct Leave {
      ~Leave() {
        const std::lock_guard lock(self->mutex_);
        self->calls_.erase(call);
      }
      Deadlines* self;
      std::list<Call>::iterator call;
    } leave{this, call};
    return work->wait(kNever);
  }
  // Ends every call with the peer, likewise.
  void Abandon(int peer) {
    const std::lock_guard lock(mutex_);
    abandoned_.insert(peer);
    for (const Call& call : calls_) {
      if (call.peer == peer) call.abort();
    }
  }
  bool HasAbandoned(int peer) {
    const std::lock_guard lock(mutex_);
    return abandoned_.contains(peer);
  }
  // Ends every call, also those that are still to come.
  void AbortAll() {
    const std::lock_guard lock(mutex_);
    aborted_ = true;
    for (const Call& call : calls_) call.abort();
  }

 private:
  struct Call {
    int peer;
    Clock::time_point end;
    std::function<void()> abort;
  };

  void Run() {
    std::unique_lock lock(mutex_);
    while (!done_) {
      changed_.wait_for(lock, std::chrono::milliseconds(50));
      for (const Call& call : calls_) {
        if (call.end <= Clock::now()) call.abort();
      }
    }
  }

  const double seconds_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::list<Call> calls_;
  std::set<int> abandoned_;
  bool aborted_ = false;
  bool done_ = false;
  std::thread thread_;
};

class GlooCollective final : public Collective {
 public:
  static absl::StatusOr<std::unique_ptr<Collective>> Create(const NoOptions& /*options*/,
                                                            const Context& context) {
    try {
      // A little later than the deadlines of single messages, which tell who it is that is silent.
      constexpr double kLaterSeconds = 1;
      auto options = Group::Options::create(
          std::chrono::milliseconds(static_cast<int64_t>((context.deadline_seconds + kLaterSeconds) * 1e3)));
      const auto& store = context.store->handle().store;
      options->devices.push_back(MakeDevice(store->getHost()));
      auto group = c10::make_intrusive<Group>(c10::make_intrusive<c10d::PrefixStore>(context.prefix, store),
                                              context.rank, context.size, options);
      return std::unique_ptr<Collective>(new GlooCollective(std::move(group), context));
    } catch (const std::exception& error) {
      return absl::UnavailableError(absl::StrCat("gloo: cannot connect all workers: ", FirstLine(error)));
    }
  }
  ~GlooCollective() override { Close(); }

  int rank() const override { return rank_; }
  int size() const override { return size_; }

  // By single messages: Gloo's own broadcast waits for the whole deadline if a process dies in its course.
  absl::Status Broadcast(std::span<char> bytes) override {
    if (rank_ != 0) return ReceiveBytes(0, bytes.data(), bytes.size(), kBroadcastTag);
    std::vector<std::thread> sending;  // to all at the same time
    std::vector<absl::Status> sent(static_cast<size_t>(size_));
    for (int to = 1; to < size_; ++to) {
      sending.emplace_back([&, to] { sent[to] = SendBytes(to, bytes.data(), bytes.size(), kBroadcastTag); });
    }
    for (std::thread& thread : sending) thread.join();
    absl::Status status;
    for (const absl::Status& one : sent) status.Update(one);
    return status;
  }
  // A message is a frame of fixed length, its own length and as much of it as there is room for, and then the
  // rest: one transfer where it is short.
  absl::Status Send(int to, std::string_view bytes) override {
    Frame frame{.length = static_cast<int64_t>(bytes.size())};
    const std::string_view begin = bytes.substr(0, sizeof frame.begin);
    std::copy(begin.begin(), begin.end(), frame.begin);
    const std::string_view rest = bytes.substr(begin.size());
    Channel& channel = sending_[static_cast<size_t>(to)];
    const std::lock_guard in_order(channel.mutex);
    MUSTER_RETURN_IF_ERROR(channel.broken);
    absl::Status status = SendBytes(to, reinterpret_cast<const char*>(&frame), sizeof frame);
    if (status.ok() && !rest.empty()) status = SendBytes(to, rest.data(), rest.size());
    channel.broken = status;
    return status;
  }
  absl::StatusOr<std::string> Receive(int from) override {
    Frame frame;
    MUSTER_RETURN_IF_ERROR(ReceiveBytes(from, reinterpret_cast<char*>(&frame), sizeof frame));
    if (frame.length < 0 || frame.length > kMaxMessage) {
      return InternalError(absl::StrCat("a message of ", frame.length, " bytes"));
    }
    const auto length = static_cast<size_t>(frame.length);
    std::string bytes(frame.begin, std::min(length, sizeof frame.begin));
    if (const size_t begin = bytes.size(); begin < length) {
      bytes.resize(length);
      MUSTER_RETURN_IF_ERROR(ReceiveBytes(from, bytes.data() + begin, length - begin));
    }
    return bytes;
  }
  void Close() override {
    std::unique_lock lock(mutex_);
    closed_ = true;
    deadlines_.AbortAll();
    left_.wait(lock, [this] { return inside_ == 0; });
    group_.reset();
  }

 private:
  static constexpr int kTag = 1;
  static constexpr int kBroadcastTag = 2;
  static constexpr int64_t kMaxMessage = int64_t{1} << 40;
  struct Channel {
    std::mutex mutex;
    absl::Status broken;  // by the first message that failed
  };
  struct Frame {
    int64_t length = 0;
    char begin[4096 - sizeof(int64_t)] = {};
  };

  GlooCollective(c10::intrusive_ptr<Group> group, const Context& context)
      : rank_(context.rank),
        size_(context.size),
        deadlines_(context.deadline_seconds),
        sending_(static_cast<size_t>(context.size)),
        group_(std::move(group)) {}

  absl::Status SendBytes(int to, const char* data, size_t size, int tag = kTag) {
    return WithPeer(to, [&](Group& group) {
      std::vector<at::Tensor> tensors = {Borrow(data, size, at::kChar)};
      return deadlines_.Wait(to, group.send(tensors, to, tag));
    });
  }
  absl::Status ReceiveBytes(int from, char* data, size_t size, int tag = kTag) {
    absl::Status status = WithPeer(from, [&](Group& group) {
      std::vector<at::Tensor> tensors = {Borrow(data, size, at::kChar)};
      return deadlines_.Wait(from, group.recv(tensors, from, tag));
    });
    if (absl::IsUnavailable(status)) deadlines_.Abandon(from);
    return status;
  }
  template <typename Use>
  absl::Status WithPeer(int peer, const Use& use) {
    const absl::Status status = Call(use);
    if (!absl::IsDeadlineExceeded(status) || !deadlines_.HasAbandoned(peer)) return status;
    return absl::UnavailableError("gloo: the process is gone");
  }

  // `use` tells whether it went through; Gloo's exceptions end here.
  template <typename Use>
  absl::Status Call(const Use& use) {
    {
      const std::lock_guard lock(mutex_);
      if (closed_) return absl::UnavailableError("gloo: the group is closed");
      ++inside_;
    }
    absl::Status status;
    try {
      if (!use(*group_)) status = absl::DeadlineExceededError("gloo: no answer within the deadline");
    } catch (const std::exception& error) {
      const std::string why = absl::StrCat("gloo: ", FirstLine(error));
      // A collective that takes too long takes all connections with it.
      status = why.find("timeout") != why.npos ? absl::AbortedError(why) : absl::UnavailableError(why);
    }
    const std::lock_guard lock(mutex_);
    --inside_;
    left_.notify_all();
    return status;
  }

  const int rank_;
  const int size_;
  Deadlines deadlines_;
  std::vector<Channel> sending_;  // by receiver
  std::mutex mutex_;
  std::condition_variable left_;
  int inside_ = 0;  // calls in flight
  bool closed_ = false;
  c10::intrusive_ptr<Group> group_;
};

MUSTER_REGISTER(Collective, Plugin<>("gloo", "Between CPUs, over TCP: LibTorch's ProcessGroupGloo")
                                .Make<GlooCollective>());

}  // namespace
}  // namespace muster
