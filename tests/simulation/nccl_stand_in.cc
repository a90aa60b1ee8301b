#include "tests/simulation/nccl_stand_in.h"

#include <cstdlib>
#include <cstring>
#include <deque>
#include <functional>
#include <map>
#include <mutex>
#include <set>
#include <string>
#include <vector>

namespace muster {
namespace {

std::mutex mutex;  // one for everything
thread_local int current_device = -1;

// The processes that have one id.
struct Meeting {
  std::map<int, int> device_of;  // by rank: those that have come
  // Of the n-th call: what each process gave.
  std::map<int, std::map<int, std::vector<char>>> given;
};

std::map<std::string, Meeting>& Meetings() {
  static auto* const meetings = new std::map<std::string, Meeting>;
  return *meetings;
}

}  // namespace
}  // namespace muster

// NCCL's and CUDA's own names for what they do not show.
struct ncclComm {
  muster::Meeting* meeting;
  int rank;
  int size;
  int device;
  int calls = 0;
  bool starting = false;  // the next question is answered with: in progress
  bool broken = false;
  bool aborted = false;
};
struct CUstream_st {
  std::deque<std::function<bool()>> queue;  // each tells whether it is done
};

namespace muster {
namespace {

NcclStandIn& State() { return NcclStandIn::Get(); }

ncclResult_t NewId(ncclUniqueId* id) {
  static int made = 0;
  const std::lock_guard lock(mutex);
  std::memset(id->internal, 0, sizeof id->internal);
  const std::string text = std::to_string(++made);
  std::copy(text.begin(), text.end(), id->internal);
  return ncclSuccess;
}

ncclResult_t Connect(ncclComm_t* made, int size, ncclUniqueId id, int rank, ncclConfig_t* config) {
  const std::lock_guard lock(mutex);
  if (config->blocking != 0) return ncclInvalidArgument;
  Meeting& meeting = Meetings()[id.internal];
  meeting.device_of[rank] = current_device;
  // Never freed: a use after its end shall be noticed.
  static auto* const communicators = new std::deque<ncclComm>;
  *made = &communicators->emplace_back(
      ncclComm{.meeting = &meeting, .rank = rank, .size = size, .device = current_device});
  ++State().communicators;
  return ncclInProgress;
}

ncclResult_t Ask(ncclComm_t communicator, ncclResult_t* state) {
  const std::lock_guard lock(mutex);
  State().used_after_abort += communicator->aborted ? 1 : 0;
  std::set<int> devices;
  for (const auto& [rank, device] : communicator->meeting->device_of) devices.insert(device);
  const auto came = static_cast<int>(communicator->meeting->device_of.size());
  if (came < communicator->size || communicator->starting) {
    *state = ncclInProgress;
    communicator->starting = false;
  } else if (static_cast<int>(devices.size()) < communicator->size) {
    *state = ncclInvalidUsage;
  } else if (communicator->broken ||
             (communicator->calls > 0 && communicator->rank == State().breaking_rank)) {
    *state = ncclRemoteError;
  } else {
    *state = ncclSuccess;
  }
  return ncclSuccess;
}

ncclResult_t Abort(ncclComm_t communicator) {
  const std::lock_guard lock(mutex);
  State().used_after_abort += communicator->aborted ? 1 : 0;
  communicator->aborted = true;
  --State().communicators;
  return ncclSuccess;
}

// Queues a call that ends, with `finish` of what everybody gave, once everybody has called.
template <typename Finish>
ncclResult_t Call(const void* give, size_t bytes, ncclComm_t communicator, cudaStream_t stream,
                  const Finish& finish) {
  const std::lock_guard lock(mutex);
  State().used_after_abort += communicator->aborted ? 1 : 0;
  State().used_on_another_device += current_device == communicator->device ? 0 : 1;
  communicator->starting = true;
  stream->queue.push_back([=, call = communicator->calls++] {
    std::map<int, std::vector<char>>& given = communicator->meeting->given[call];
    const char* data = static_cast<const char*>(give);
    given.try_emplace(communicator->rank, data, data + bytes);
    if (static_cast<int>(given.size()) < communicator->size) return false;
    finish(given);
    return true;
  });
  return ncclInProgress;
}

ncclResult_t Broadcast(const void* give, void* take, size_t count, ncclDataType_t type, int root,
                       ncclComm_t communicator, cudaStream_t stream) {
  if (type != ncclChar) return ncclInvalidArgument;
  return Call(give, count, communicator, stream, [=](const std::map<int, std::vector<char>>& given) {
    std::memcpy(take, given.at(root).data(), count);
  });
}

ncclResult_t Reduce(const void* give, void* take, size_t count, ncclDataType_t type, ncclRedOp_t operation,
                    int root, ncclComm_t communicator, cudaStream_t stream) {
  if (type != ncclInt64 || operation != ncclSum) return ncclInvalidArgument;
  communicator->broken = State().reduces != nullptr && !State().reduces(communicator->rank);
  const bool takes = communicator->rank == root;
  return Call(give, count * sizeof(int64_t), communicator, stream,
              [=](const std::map<int, std::vector<char>>& given) {
                if (!takes) return;
                auto* sums = static_cast<uint64_t*>(take);
                std::fill(sums, sums + count, 0);
                for (const auto& [rank, bytes] : given) {
                  const auto* values = reinterpret_cast<const uint64_t*>(bytes.data());
                  for (size_t i = 0; i < count; ++i) sums[i] += values[i];
                }
              });
}

cudaError_t CountDevices(int* count) {
  *count = State().devices;
  return *count > 0 ? cudaSuccess : cudaErrorNoDevice;
}
cudaError_t SetDevice(int device) {
  current_device = device;
  return cudaSuccess;
}
cudaError_t NewStream(cudaStream_t* stream, unsigned /*flags*/) {
  ++State().memory;
  *stream = new CUstream_st;
  return cudaSuccess;
}
cudaError_t QueryStream(cudaStream_t stream) {
  const std::lock_guard lock(mutex);
  while (!stream->queue.empty()) {
    if (!stream->queue.front()()) return cudaErrorNotReady;
    stream->queue.pop_front();
  }
  return cudaSuccess;
}
cudaError_t EndStream(cudaStream_t stream) {
  --State().memory;
  delete stream;
  return cudaSuccess;
}
cudaError_t Allocate(void** memory, size_t bytes) {
  ++State().memory;
  *memory = std::malloc(bytes);
  return cudaSuccess;
}
cudaError_t AllocateOnHost(void** memory, size_t bytes, unsigned /*flags*/) {
  return Allocate(memory, bytes);
}
cudaError_t Free(void* memory) {
  --State().memory;
  std::free(memory);
  return cudaSuccess;
}
cudaError_t Copy(void* to, const void* from, size_t bytes, cudaMemcpyKind kind, cudaStream_t stream) {
  const std::lock_guard lock(mutex);
  (kind == cudaMemcpyHostToDevice ? State().bytes_up : State().bytes_down) += static_cast<int64_t>(bytes);
  stream->queue.push_back([=] {
    std::memcpy(to, from, bytes);
    return true;
  });
  return cudaSuccess;
}

}  // namespace

NcclStandIn& NcclStandIn::Get() {
  static auto* const state = new NcclStandIn;
  return *state;
}

const NcclApi& NcclStandIn::Api() {
  static const NcclApi api = {
      .ncclGetVersion =
          [](int* version) {
            *version = NCCL_VERSION_CODE;
            return ncclSuccess;
          },
      .ncclGetUniqueId = NewId,
      .ncclCommInitRankConfig = Connect,
      .ncclCommGetAsyncError = Ask,
      .ncclCommAbort = Abort,
      .ncclBroadcast = Broadcast,
      .ncclReduce = Reduce,
      .ncclGetErrorString =
          [](ncclResult_t result) {
            return result == ncclInvalidUsage ? "invalid usage" : "remote process exited";
          },
      .ncclGetLastError = [](ncclComm_t) { return "first line\nsecond line"; },
      .cudaGetDeviceCount = CountDevices,
      .cudaSetDevice = SetDevice,
      .cudaStreamCreateWithFlags = NewStream,
      .cudaStreamQuery = QueryStream,
      .cudaStreamDestroy = EndStream,
      .cudaMalloc = Allocate,
      .cudaFree = Free,
      .cudaHostAlloc = AllocateOnHost,
      .cudaFreeHost = Free,
      .cudaMemcpyAsync = Copy,
      .cudaGetErrorString = [](cudaError_t) { return "no device is there"; },
  };
  return api;
}

namespace {

// Makes every test of collectives a test of this one, too.
class NcclOnStandIn {
 public:
  using Interface = Collective;
  static absl::StatusOr<std::unique_ptr<Collective>> Create(const NoOptions& /*options*/,
                                                            const Collective::Context& context) {
    Collective::Context own = context;
    own.local_rank = context.rank;
    return MakeNcclCollective(NcclStandIn::Api(), own);
  }
};

MUSTER_REGISTER(Collective, Plugin<>("nccl_stand_in", "nccl without GPUs").Make<NcclOnStandIn>());

}  // namespace
}  // namespace muster
