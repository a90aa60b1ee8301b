// Collectives between GPUs: NCCL. Vectors go through the devices; messages, which wait for their receivers
// and come from several threads, go between the CPUs, because what is queued on one communicator is done in
// order.
#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstring>
#include <optional>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/mutex.h"
#include "simulation/collectives/nccl_api.h"
#include "simulation/tcp_store.h"

namespace muster {
namespace {

using Clock = std::chrono::steady_clock;

// What goes through the device at once.
constexpr size_t kPiece = size_t{1} << 24;
// How often a call that waits looks into the store for bad news; and how long it still waits then, because
// who left may have done its share before.
constexpr std::chrono::milliseconds kLook(50);
constexpr std::chrono::milliseconds kGrace(500);

Clock::duration Seconds(double seconds) {
  return std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(seconds));
}

std::string IdKey(const Collective::Context& context) { return context.prefix + "/nccl-id"; }
// Why the group is of no use any more, said by the first process that knows.
std::string EndKey(const Collective::Context& context) { return context.prefix + "/nccl-end"; }

class NcclCollective final : public Collective {
 public:
  NcclCollective(const NcclApi& api, const Context& context) : api_(api), context_(context) {}
  ~NcclCollective() override { Close(); }

  // On the libraries that this machine has.
  static absl::StatusOr<std::unique_ptr<Collective>> Create(const NoOptions& /*options*/,
                                                            const Context& context) {
    MUSTER_ASSIGN_OR_RETURN(const NcclApi* const api, LoadNccl());
    return MakeNcclCollective(*api, context);
  }
  absl::Status Connect();

  int rank() const override { return context_.rank; }
  int size() const override { return context_.size; }
  absl::Status Broadcast(std::span<char> bytes) override;
  bool Reduces() const override { return true; }
  absl::Status ReduceSum(std::span<int64_t> words, bool on_device) override;
  absl::Status Send(int to, std::string_view bytes) override { return Heard(messages_->Send(to, bytes)); }
  absl::StatusOr<std::string> Receive(int from) override {
    absl::StatusOr<std::string> bytes = messages_->Receive(from);
    Heard(bytes.status()).IgnoreError();
    return bytes;
  }
  void Close() override;

 private:
  // Who is lost to messages is lost to NCCL, which would not always notice.
  absl::Status Heard(absl::Status status) {
    if (absl::IsUnavailable(status)) lost_ = true;
    return status;
  }

  absl::Status FindDevice();
  absl::Status MakeBuffers() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status Meet() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Calls piece(offset, size) for one piece of so many bytes after the other.
  template <typename Piece>
  absl::Status InPieces(size_t bytes, const Piece& piece);
  absl::Status BroadcastPiece(std::span<char> piece) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status ReducePiece(std::span<int64_t> piece, bool on_device) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Puts the copy from the host to on_device_ on the stream.
  absl::Status Up(const void* piece, size_t size) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Waits for what is on the stream and a copy from on_device_ to the host.
  absl::Status Down(void* piece, size_t size) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Waits for a call of NCCL to have put its work on the stream.
  absl::Status Started(ncclResult_t result) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status Finished() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  // Waits until `done` says so. Every call of NCCL that is started is waited for: so nothing else blocks.
  template <typename Done>
  absl::Status WaitFor(const Done& done) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::StatusOr<bool> CommunicatorIsReady() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::StatusOr<bool> StreamIsDone() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Not OK if a process is lost or has ended the group.
  absl::Status News();
  // After `why` nothing can be done with the communicator; the others shall not wait for it.
  absl::Status GiveUp(absl::Status why) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Free() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  absl::Status FromNccl(ncclResult_t result, const char* call) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status FromCuda(cudaError_t error, const char* call) const;

  const NcclApi& api_;
  const Context context_;
  int device_ = 0;
  std::unique_ptr<Collective> messages_;
  std::atomic<bool> lost_ = false;    // some process, to messages
  std::atomic<bool> closed_ = false;  // read by a call that waits, which holds the mutex

  Mutex mutex_;                                                // no two threads use a communicator at once
  ncclComm_t communicator_ ABSL_GUARDED_BY(mutex_) = nullptr;  // nullptr: broken, or left
  cudaStream_t stream_ ABSL_GUARDED_BY(mutex_) = nullptr;
  void* pinned_ ABSL_GUARDED_BY(mutex_) = nullptr;     // kPiece bytes of the host's
  void* on_device_ ABSL_GUARDED_BY(mutex_) = nullptr;  // kPiece bytes of the device's
};

absl::Status NcclCollective::FromNccl(ncclResult_t result, const char* call) const {
  if (result == ncclSuccess || result == ncclInProgress) return absl::OkStatus();
  const char* detail = api_.ncclGetLastError(communicator_);
  std::string why = absl::StrCat("nccl: ", call, ": ", api_.ncclGetErrorString(result));
  if (detail != nullptr && *detail != '\0') {
    const std::string_view text = detail;
    absl::StrAppend(&why, " (", std::string(text.substr(0, text.find('\n'))), ")");
  }
  if (result != ncclInvalidUsage) return absl::UnavailableError(why);
  return InvalidInput(absl::StrCat(why,
                                   "; every process needs a GPU of its own: start no more on a machine than "
                                   "it has, or use --collective gloo"));
}

absl::Status NcclCollective::FromCuda(cudaError_t error, const char* call) const {
  if (error == cudaSuccess) return absl::OkStatus();
  return absl::UnavailableError(absl::StrCat("nccl: ", call, ": ", api_.cudaGetErrorString(error)));
}

absl::Status NcclCollective::Connect() {
  MUSTER_RETURN_IF_ERROR(FindDevice());
  const MutexLock lock(&mutex_);
  absl::Status status = MakeBuffers();
  if (status.ok()) status = Meet();
  if (!status.ok()) return GiveUp(status);
  Context context = context_;
  context.prefix += "/messages";
  MUSTER_ASSIGN_OR_RETURN(messages_,
                          Registry<Collective>::Get().Create({.name = "gloo", .options = {}}, context));
  return absl::OkStatus();
}

absl::Status NcclCollective::FindDevice() {
  int devices = 0;
  const cudaError_t error = api_.cudaGetDeviceCount(&devices);
  if (error != cudaSuccess || devices == 0) {
    return InvalidInput(
        absl::StrCat("nccl: no GPU was found on this machine (CUDA: ",
                     api_.cudaGetErrorString(error == cudaSuccess ? cudaErrorNoDevice : error),
                     "); start every process where there is one for it, or use --collective gloo"));
  }
  device_ = context_.device >= 0 ? context_.device : context_.local_rank % devices;
  return FromCuda(api_.cudaSetDevice(device_), "cudaSetDevice");
}

absl::Status NcclCollective::MakeBuffers() {
  MUSTER_RETURN_IF_ERROR(
      FromCuda(api_.cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking), "cudaStreamCreateWithFlags"));
  MUSTER_RETURN_IF_ERROR(
      FromCuda(api_.cudaHostAlloc(&pinned_, kPiece, cudaHostAllocDefault), "cudaHostAlloc"));
  return FromCuda(api_.cudaMalloc(&on_device_, kPiece), "cudaMalloc");
}

absl::Status NcclCollective::Meet() {
  MUSTER_ASSIGN_OR_RETURN(const ncclUniqueId id, ExchangeUniqueId(api_, context_));
  ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
  config.blocking = 0;
  MUSTER_RETURN_IF_ERROR(FromNccl(
      api_.ncclCommInitRankConfig(&communicator_, context_.size, id, context_.rank, &config), "connecting"));
  return WaitFor([this] { return CommunicatorIsReady(); });
}

template <typename Done>
absl::Status NcclCollective::WaitFor(const Done& done) {
  const Clock::time_point end = Clock::now() + Seconds(context_.deadline_seconds);
  Clock::time_point look = Clock::now() + kLook;
  std::optional<Clock::time_point> grace;
  while (true) {
    MUSTER_ASSIGN_OR_RETURN(const bool is_done, done());
    if (is_done) return absl::OkStatus();
    if (closed_) return absl::UnavailableError("nccl: the group is closed");
    const Clock::time_point now = Clock::now();
    if (now >= end) return absl::DeadlineExceededError("nccl: not done within the deadline");
    if (now >= look) {
      look = now + kLook;
      if (const absl::Status news = News(); !news.ok()) {
        if (!grace) grace = now + kGrace;
        if (now >= *grace) return news;
      }
    }
    std::this_thread::sleep_for(std::chrono::microseconds(20));
  }
}

absl::StatusOr<bool> NcclCollective::CommunicatorIsReady() {
  ncclResult_t state = ncclSuccess;
  MUSTER_RETURN_IF_ERROR(
      FromNccl(api_.ncclCommGetAsyncError(communicator_, &state), "ncclCommGetAsyncError"));
  MUSTER_RETURN_IF_ERROR(FromNccl(state, "communicating"));
  return state == ncclSuccess;
}

absl::StatusOr<bool> NcclCollective::StreamIsDone() {
  MUSTER_ASSIGN_OR_RETURN(const bool ready, CommunicatorIsReady());
  if (!ready) return false;
  const cudaError_t error = api_.cudaStreamQuery(stream_);
  if (error == cudaErrorNotReady) return false;
  MUSTER_RETURN_IF_ERROR(FromCuda(error, "cudaStreamQuery"));
  return true;
}

absl::Status NcclCollective::News() {
  if (lost_) return absl::UnavailableError("nccl: a process is lost");
  MUSTER_ASSIGN_OR_RETURN(const bool ended, context_.store->Has(EndKey(context_)));
  if (!ended) return absl::OkStatus();
  MUSTER_ASSIGN_OR_RETURN(const std::string why, context_.store->Get(EndKey(context_), 0));
  return absl::AbortedError(why);
}

absl::Status NcclCollective::Broadcast(std::span<char> bytes) {
  return InPieces(bytes.size(), [&](size_t offset, size_t size) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    return BroadcastPiece(bytes.subspan(offset, size));
  });
}

absl::Status NcclCollective::ReduceSum(std::span<int64_t> words, bool on_device) {
  return InPieces(words.size_bytes(), [&](size_t offset, size_t size) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    return ReducePiece(words.subspan(offset / sizeof(int64_t), size / sizeof(int64_t)), on_device);
  });
}

template <typename Piece>
absl::Status NcclCollective::InPieces(size_t bytes, const Piece& piece) {
  const MutexLock lock(&mutex_);
  if (closed_) return absl::UnavailableError("nccl: the group is closed");
  if (communicator_ == nullptr) return absl::AbortedError("nccl: the group broke down before");
  absl::Status status = FromCuda(api_.cudaSetDevice(device_), "cudaSetDevice");  // of this thread
  for (size_t offset = 0; status.ok() && offset < bytes; offset += kPiece) {
    status = piece(offset, std::min(kPiece, bytes - offset));
  }
  return status.ok() ? status : GiveUp(status);
}

absl::Status NcclCollective::BroadcastPiece(std::span<char> piece) {
  if (rank() == 0) MUSTER_RETURN_IF_ERROR(Up(piece.data(), piece.size()));
  MUSTER_RETURN_IF_ERROR(
      Started(api_.ncclBroadcast(on_device_, on_device_, piece.size(), ncclChar, 0, communicator_, stream_)));
  return rank() == 0 ? Finished() : Down(piece.data(), piece.size());
}

absl::Status NcclCollective::ReducePiece(std::span<int64_t> piece, bool on_device) {
  if (!on_device) MUSTER_RETURN_IF_ERROR(Up(piece.data(), piece.size_bytes()));
  const void* const give = on_device ? piece.data() : on_device_;
  MUSTER_RETURN_IF_ERROR(Started(
      api_.ncclReduce(give, on_device_, piece.size(), ncclInt64, ncclSum, 0, communicator_, stream_)));
  return rank() == 0 ? Down(piece.data(), piece.size_bytes()) : Finished();
}

absl::Status NcclCollective::Up(const void* piece, size_t size) {
  std::memcpy(pinned_, piece, size);
  return FromCuda(api_.cudaMemcpyAsync(on_device_, pinned_, size, cudaMemcpyHostToDevice, stream_),
                  "cudaMemcpyAsync");
}

absl::Status NcclCollective::Down(void* piece, size_t size) {
  MUSTER_RETURN_IF_ERROR(FromCuda(
      api_.cudaMemcpyAsync(pinned_, on_device_, size, cudaMemcpyDeviceToHost, stream_), "cudaMemcpyAsync"));
  MUSTER_RETURN_IF_ERROR(Finished());
  std::memcpy(piece, pinned_, size);
  return absl::OkStatus();
}

absl::Status NcclCollective::Started(ncclResult_t result) {
  MUSTER_RETURN_IF_ERROR(FromNccl(result, "communicating"));
  return WaitFor([this] { return CommunicatorIsReady(); });
}

absl::Status NcclCollective::Finished() {
  return WaitFor([this] { return StreamIsDone(); });
}

absl::Status NcclCollective::GiveUp(absl::Status why) {
  if (!absl::IsAborted(why)) {
    context_.store->Set(EndKey(context_), Message(why)).IgnoreError();
  }
  Free();
  return why;
}

void NcclCollective::Free() {
  if (stream_ == nullptr && communicator_ == nullptr) return;
  (void)api_.cudaSetDevice(device_);
  if (communicator_ != nullptr) (void)api_.ncclCommAbort(communicator_);
  if (on_device_ != nullptr) (void)api_.cudaFree(on_device_);
  if (pinned_ != nullptr) (void)api_.cudaFreeHost(pinned_);
  if (stream_ != nullptr) (void)api_.cudaStreamDestroy(stream_);
  communicator_ = nullptr;
  on_device_ = pinned_ = nullptr;
  stream_ = nullptr;
}

void NcclCollective::Close() {
  if (closed_.exchange(true)) return;
  if (messages_ != nullptr) messages_->Close();
  const MutexLock lock(&mutex_);
  if (communicator_ == nullptr) return;
  GiveUp(absl::UnavailableError("nccl: a process has left the group")).IgnoreError();
}

MUSTER_REGISTER(Collective,
                Plugin<>("nccl", "Between GPUs, one for each process: NVIDIA's NCCL").Make<NcclCollective>());

}  // namespace

absl::StatusOr<ncclUniqueId> ExchangeUniqueId(const NcclApi& api, const Collective::Context& context) {
  ncclUniqueId id;
  if (context.rank == 0) {
    if (const ncclResult_t result = api.ncclGetUniqueId(&id); result != ncclSuccess) {
      return absl::UnavailableError(absl::StrCat("nccl: ncclGetUniqueId: ", api.ncclGetErrorString(result),
                                                 " (NCCL_SOCKET_IFNAME names the network interface)"));
    }
    MUSTER_RETURN_IF_ERROR(context.store->Set(IdKey(context), std::string(id.internal, sizeof id.internal)));
    return id;
  }
  MUSTER_ASSIGN_OR_RETURN(const std::string bytes,
                          context.store->Get(IdKey(context), context.deadline_seconds));
  if (bytes.size() != sizeof id.internal) return InternalError("nccl: process 0 gave no id");
  std::copy(bytes.begin(), bytes.end(), id.internal);
  return id;
}

absl::StatusOr<std::unique_ptr<Collective>> MakeNcclCollective(const NcclApi& api,
                                                               const Collective::Context& context) {
  auto made = std::make_unique<NcclCollective>(api, context);
  MUSTER_RETURN_IF_ERROR(made->Connect());
  return made;
}

}  // namespace muster
